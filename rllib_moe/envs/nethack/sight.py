"""What the hero has in sight, and what disturbs an action of several keys."""

from typing import NamedTuple, Self

from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.hero import cell_of


class Sight(NamedTuple):
    """Signs of a disturbance."""

    hp: int
    hunger: int
    monsters: int
    monsters_beside: int

    @classmethod
    def of(cls, game: Game) -> Self:
        """Return what is in sight in a running game."""
        stats = game.living_blstats
        y, x = cell_of(stats)
        monsters = g.GLYPH_TABLE[game.glyphs, g.NODE_COLUMN] == g.NODE_MONSTER
        beside = monsters[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        return cls(
            int(stats[nethack.NLE_BL_HP]), int(stats[nethack.NLE_BL_HUNGER]), int(monsters.sum()), int(beside.sum())
        )

    def is_disturbed(self, before: Self) -> bool:
        """Return whether the hero was hurt since, has grown hungry or less so, or a monster has come."""
        have_come = self.monsters > before.monsters or self.monsters_beside > before.monsters_beside
        return have_come or self.hp < before.hp or self.hunger != before.hunger

"""The legal actions: those that can do something in the present state.

Judged from the eight neighboring cells and the tile under foot. Masked out: steps into walls, water and unseen
rock, diagonals through doors, monsters not to be walked into, moves found to have no effect, runs into anything,
stairs where there are none, ``<`` on the first level (it ends the game), kicks without a locked door beside the hero,
eating while not hungry (it asks for an inventory letter, which mostly is not among the 23 actions), and waiting
(searching takes the same time and finds things). SEARCH is always legal outside of questions, MORE in one, so there
is always a legal action.
"""

import numpy as np
from nle import nethack

from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.actions import (
    ACTION_KEYS,
    DIRECTION_DX,
    DIRECTION_DY,
    DOWN,
    EAT,
    FIRST_MOVE,
    FIRST_RUN,
    KICK,
    MORE,
    NUM_ACTIONS,
    NUM_DIRECTIONS,
    SEARCH,
    UP,
)
from rllib_moe.envs.nethack.hero import HUNGRY
from rllib_moe.envs.nethack.level_memory import neighbor
from rllib_moe.envs.nethack.prompts import Prompt, offered_keys
from rllib_moe.envs.nethack.state import State
from rllib_moe.runtime.numba_cache import compiled


@compiled
def mask_free_actions(state: State, mask: np.ndarray) -> None:
    """Write the mask of a state without a question.

    Args:
        state: of the game.
        mask: uint8 [A], zeros but for the 23, written.
    """
    glyphs, blstats, now, hero_y, hero_x = state.glyphs, state.blstats, state.circumstances.now, state.y, state.x
    terrain, locked, refused_until = state.memory.terrain, state.memory.locked, state.memory.refused_until
    blind = blstats[nethack.NLE_BL_CONDITION] & nethack.BL_MASK_BLIND != 0  # then unseen cells may be walkable
    mask[:] = 0
    mask[SEARCH] = 1
    mask[DOWN] = terrain[hero_y, hero_x] == g.STAIRS_DOWN
    mask[UP] = terrain[hero_y, hero_x] == g.STAIRS_UP and blstats[nethack.NLE_BL_DEPTH] > 1
    mask[EAT] = blstats[nethack.NLE_BL_HUNGER] >= HUNGRY
    here = terrain[hero_y, hero_x]
    in_door = here in (g.OPEN_DOOR, g.CLOSED_DOOR)
    for direction in range(NUM_DIRECTIONS):
        y, x = hero_y + DIRECTION_DY[direction], hero_x + DIRECTION_DX[direction]
        if y < 0 or x < 0 or y >= glyphs.shape[0] or x >= glyphs.shape[1]:
            continue
        node = g.GLYPH_TABLE[glyphs[y, x], g.NODE_COLUMN]
        if node == g.NODE_MONSTER:
            # An attack needs no walkable ground, and may go diagonally through a door.
            if not g.GLYPH_TABLE[glyphs[y, x], g.AVOID_COLUMN] and refused_until[direction, hero_y, hero_x] <= now:
                mask[FIRST_MOVE + direction] = 1
            continue
        ground = terrain[y, x]
        if ground in (g.WALL, g.HAZARD) or (ground == g.UNKNOWN and not blind):
            continue
        if locked[y, x]:
            if direction < 4:
                mask[KICK] = 1
            continue
        at_door = ground in (g.OPEN_DOOR, g.CLOSED_DOOR)
        if direction >= 4 and (in_door or at_door):
            continue
        if refused_until[direction, hero_y, hero_x] > now:
            continue
        mask[FIRST_MOVE + direction] = 1
        if ground != g.CLOSED_DOOR and node != g.NODE_PET and node != g.NODE_BOULDER:
            mask[FIRST_RUN + direction] = 1


def mask_answers(prompt: int, message: bytes, locked: np.ndarray, hero_y: int, hero_x: int) -> np.ndarray:
    """Mask of a state in which the game asks something.

    Args:
        prompt: what is asked, see ``prompts.Prompt``.
        message: the question, as shown.
        locked: uint8 [H, W], doors found locked.
        hero_y: row of the hero.
        hero_x: column of the hero.

    Returns:
        uint8 [23]. For a direction: toward locked doors if there are any, else all eight. For other questions:
        the letters offered in brackets as far as they are among the actions. MORE always cancels.
    """
    mask = np.zeros(NUM_ACTIONS, dtype=np.uint8)
    mask[MORE] = 1
    if prompt == Prompt.DIRECTION:
        toward_doors = [
            direction for direction in range(4) if (cell := neighbor(hero_y, hero_x, direction)) and locked[cell]
        ]
        for direction in toward_doors or range(NUM_DIRECTIONS):
            mask[FIRST_MOVE + direction] = 1
    elif prompt in (Prompt.EAT, Prompt.CHOICE):
        offered = offered_keys(message)
        for action, key in enumerate(ACTION_KEYS):
            if key in offered:
                mask[action] = 1
    return mask

"""Hand-drawn levels, environments, and episodes for the NetHack tests."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from nle import nethack
from nle.env.base import NLE

from rllib_moe.envs.nethack.actions import NUM_ACTIONS
from rllib_moe.envs.nethack.environment import NetHackGraphEnv, episode_seeds
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE, LevelMemory
from rllib_moe.envs.nethack.observation import ObservationBuilder
from rllib_moe.envs.nethack.state import NO_ACTION, Circumstances

CHARACTER = "mon-hum-neu-mal"
QUICK_SEED = 3
"""The scripted player finds the stairs of this game in some 20 steps."""
DEADLY_SEEDS = (16, 10, 12, 18)
"""Games in which diving kills it within some 600 steps; several, so that one version's luck does not matter."""
TOP, LEFT = 4, 20
"""Place of a drawing's upper left corner on the map."""


def monster(name: str) -> int:
    """Number of a monster."""
    return next(i for i in range(nethack.NUMMONS) if nethack.permonst(i).mname == name)


def _object(name: str) -> int:
    return next(i for i in range(nethack.NUM_OBJECTS) if nethack.OBJ_NAME(nethack.objclass(i)) == name)


_CMAP = nethack.GLYPH_CMAP_OFF
GLYPHS = {
    " ": _CMAP,
    "|": _CMAP + 1,
    "-": _CMAP + 2,
    ":": _CMAP + 12,
    "'": _CMAP + 13,
    "+": _CMAP + 15,
    ".": _CMAP + 19,
    "#": _CMAP + 21,
    "<": _CMAP + 23,
    ">": _CMAP + 24,
    "_": _CMAP + 27,
    "{": _CMAP + 31,
    "}": _CMAP + 32,
    "^": _CMAP + 42,
    "O": _CMAP + 55,
    "@": nethack.GLYPH_MON_OFF + monster("monk"),
    "d": nethack.GLYPH_MON_OFF + monster("jackal"),
    "e": nethack.GLYPH_MON_OFF + monster("floating eye"),
    "f": nethack.GLYPH_PET_OFF + monster("kitten"),
    "$": nethack.GLYPH_OBJ_OFF + _object("gold piece"),
    "%": nethack.GLYPH_OBJ_OFF + _object("food ration"),
    "0": nethack.GLYPH_OBJ_OFF + _object("boulder"),
}
""": doorway without door, ' open door, + closed door, O trap door."""


class Scene(NamedTuple):
    """A drawn level with everything an observation is built from."""

    glyphs: np.ndarray
    blstats: np.ndarray
    memory: LevelMemory
    circumstances: Circumstances

    def observe(self, max_nodes: int = 32) -> tuple[dict[str, np.ndarray], dict[str, bool], int, int]:
        return ObservationBuilder(max_nodes).build(self.glyphs, self.blstats, b"", self.memory, self.circumstances)


def play(
    env: gymnasium.Env[Any, Any], seed: int, choose: Callable[[Mapping[str, np.ndarray]], int]
) -> Iterator[tuple[Any, float, bool, bool, dict[str, Any]]]:
    """Play an episode, and yield what each step returns."""
    observation, _ = env.reset(seed=seed)
    terminated = truncated = False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, info = env.step(choose(observation))
        yield observation, float(reward), terminated, truncated, info


def play_beside(
    env: NetHackGraphEnv, reference: NLE, seed: int, choose: Callable[[Mapping[str, np.ndarray]], int], steps: int
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Play the same keys in NLE's own environment: yield what each step returns there and here, until either ends."""
    reference.seed(*episode_seeds(seed, 0), reseed=False)
    reference.reset()
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = choose(observation)
        theirs, ours = reference.step(action), env.step(action)
        yield theirs, ours
        if theirs[2] or ours[2] or ours[3]:
            return
        observation = ours[0]


def random_legal(seed: int, *, further: float = 0.0) -> Callable[[Mapping[str, np.ndarray]], int]:
    """Make a player that draws from the legal actions, from all of the 23 where there is no mask.

    Args:
        seed: of its generator.
        further: chance of drawing from the legal ones beyond the 23, where there are any.
    """
    rng = np.random.default_rng(seed)

    def choose(observation: Mapping[str, np.ndarray]) -> int:
        legal = np.flatnonzero(observation.get("action_mask", np.ones(NUM_ACTIONS)))
        beyond = legal[legal >= NUM_ACTIONS]
        return int(rng.choice(beyond if len(beyond) and rng.random() < further else legal))

    return choose


@pytest.fixture
def draw() -> Callable[..., Scene]:
    """Build a scene from lines of text; `@` is the hero."""

    def build(*lines: str, **stats: int) -> Scene:
        glyphs = np.full(MAP_SHAPE, GLYPHS[" "], dtype=np.int16)
        hero = (TOP, LEFT)
        for dy, line in enumerate(lines):
            for dx, char in enumerate(line):
                glyphs[TOP + dy, LEFT + dx] = GLYPHS[char]
                if char == "@":
                    hero = (TOP + dy, LEFT + dx)
        blstats = np.zeros(nethack.BLSTATS_SHAPE, dtype=np.int64)
        values = {"X": hero[1], "Y": hero[0], "HP": 10, "HPMAX": 10, "DEPTH": 1, "HUNGER": 1} | stats
        for name, value in values.items():
            blstats[getattr(nethack, f"NLE_BL_{name}")] = value
        memory = LevelMemory.blank()
        memory.arrive(*hero, None)
        circumstances = Circumstances(
            now=1,
            max_depth=1,
            steps_left=1.0,
            no_progress=0.0,
            clock_stands=False,
            prompt=0,
            last_action=NO_ACTION,
        )
        return Scene(glyphs, blstats, memory, circumstances)

    return build


@pytest.fixture
def make_env(tmp_path: Any) -> Iterator[Callable[..., NetHackGraphEnv]]:
    """Environments with their temporary files under the test's own directory, closed at the end."""
    made: list[NetHackGraphEnv] = []

    def make(**arguments: Any) -> NetHackGraphEnv:
        made.append(NetHackGraphEnv(**({"temp_root": str(tmp_path)} | arguments)))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def start_game(tmp_path: Any) -> Iterator[Callable[[int], Game]]:
    """Games at their first move, by seed, closed at the end."""
    made: list[Game] = []

    def start(seed: int) -> Game:
        made.append(Game(character=CHARACTER, temp_root=str(tmp_path)))
        made[-1].start(seed, seed)
        return made[-1]

    yield start
    for game in made:
        game.close()

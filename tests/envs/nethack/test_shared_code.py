"""Games whose code is shared: the memory is the same, and what is played too."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from nle.nethack.nethack import DLPATH

from rllib_moe.envs.nethack import game as game_module
from rllib_moe.envs.nethack.actions import ACTION_KEYS
from rllib_moe.envs.nethack.game import Game
from rllib_moe.envs.nethack.prompts import open_prompt, settle
from tests.envs.nethack.conftest import CHARACTER

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="code is shared on Linux alone")


@contextmanager
def games(number: int) -> Iterator[list[Game]]:
    made = [Game(character=CHARACTER) for _ in range(number)]
    try:
        for seed, game in enumerate(made):
            game.start(seed, seed)
        yield made
    finally:
        for game in made:
            game.close()


def bytes_mapped(inode: int, permissions: str) -> int:
    """Bytes of this process's memory that lie in a file, with these permissions."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, mode, _, _, found, *_ = line.split()
        if mode == permissions and int(found) == inode:
            begin, end = addresses.split("-")
            total += int(end, 16) - int(begin, 16)
    return total


def play(game: Game, seed: int, num_keys: int = 150) -> list[bytes]:
    """Random keys with questions closed: what the game shows after each."""
    seen = []
    game.start(seed, seed)
    for key in np.random.default_rng(seed).choice(ACTION_KEYS, num_keys).tolist():
        before = open_prompt(game)
        over = game.press(key) or settle(game, before=before, dismiss=True)[2]
        seen.append(game.glyphs.tobytes() + game.blstats.tobytes() + game.message.tobytes())
        if over:
            break
    return seen


@linux_only
def test_all_games_run_the_same_code() -> None:
    original = Path(DLPATH).stat().st_ino
    before = bytes_mapped(original, "r-xp")
    with games(3) as made:
        shared = bytes_mapped(original, "r-xp") - before
        assert shared > 3_000_000, "NetHack's code is more than a megabyte a game"
        for game in made:
            assert game._library is not None
            assert bytes_mapped(Path(game._library.dlpath).stat().st_ino, "r-xp") == 0
        made[0].start(7, 7)  # loads the library anew
        assert bytes_mapped(original, "r-xp") - before == shared
    assert bytes_mapped(original, "r-xp") == before


def test_plays_as_with_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with games(2) as made:
        shared = [play(game, seed) for seed, game in enumerate(made)]
    monkeypatch.setattr(game_module, "share_code", lambda _: 0)
    with games(2) as made:
        own = [play(game, seed) for seed, game in enumerate(made)]
    assert shared == own
    assert shared[0] != shared[1]
    assert min(len(steps) for steps in shared) > 20

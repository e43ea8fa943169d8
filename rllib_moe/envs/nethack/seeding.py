"""Seeds of NetHack games: each episode's seeds are a hash of the environment's seed and the episode's number."""

import numpy as np


def episode_seeds(seed: int, episode: int) -> tuple[int, int]:
    """Seeds of one episode.

    Args:
        seed: the environment's seed, 0 or greater.
        episode: number of episodes since that seed was set.

    Returns:
        Seeds of the game's main generator and of its display generator, each in [0, 2^63).
    """
    core, display = np.random.SeedSequence([seed, episode]).generate_state(2, np.uint64)
    return int(core >> np.uint64(1)), int(display >> np.uint64(1))


def fresh_seed() -> int:
    """A seed from the operating system, for an environment that was given none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])

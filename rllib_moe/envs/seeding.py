"""Seeds of a rollout worker's episodes: a sequence of its own for every place in the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from rllib_moe.config import FIRST_TRAINING_SEED, MAX_SEED


class EpisodeSeeds(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Seeds every reset from its own sequence of seeds from `FIRST_TRAINING_SEED` up.

    RLlib seeds neighboring workers alike (environment 1 of worker 1 gets the seed of environment 0 of worker 2) and
    only their first episode, so the seed it passes is not used.

    Args:
        env: The environment.
        place: Whole numbers, 0 or more, that tell this sequence from all others: run seed, worker, environment, ...
    """

    def __init__(self, env: gymnasium.Env[Any, Any], place: Sequence[int]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, place=tuple(place))
        super().__init__(env)
        self._generator = np.random.default_rng(np.random.SeedSequence(tuple(place)))

    def get_state(self) -> dict[str, Any]:
        """Return the state of the sequence (see `saved_state.Saveable`)."""
        return {"generator": self._generator.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state by `get_state`."""
        self._generator.bit_generator.state = state["generator"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the sequence; `seed` is ignored."""
        del seed
        drawn = 0
        while drawn < FIRST_TRAINING_SEED:
            drawn = int(self._generator.integers(MAX_SEED + 1))
        return self.env.reset(seed=drawn, options=options)

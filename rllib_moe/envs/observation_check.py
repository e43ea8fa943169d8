"""A check of graph observations that is cheap enough for every step.

Owns what must never reach the network: leaves of another name, dtype or shape, numbers that are not finite, and
categories that are out of range. Relations between leaves are the subject of
:func:`rllib_moe.envs.graph_space.check_observation`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_moe.envs.graph_space import check_observation


class ObservationCheck:
    """Checks observations one at a time for their form, and a batch at a time for what they hold.

    Args:
        space: Space of one observation: a flat Dict of Boxes.
    """

    def __init__(self, space: spaces.Dict) -> None:
        self._space = space
        boxes: dict[str, Any] = dict(space.spaces)
        self._names = list(boxes)
        self._dtypes = [box.dtype for box in boxes.values()]
        self._shapes = [box.shape for box in boxes.values()]
        self._floats = [name for name, box in boxes.items() if np.issubdtype(box.dtype, np.floating)]
        # Only what a dtype can hold and the leaf may not is looked for.
        ranges = {name: np.iinfo(box.dtype) for name, box in boxes.items() if name not in self._floats}
        self._highs = [
            (name, boxes[name].high) for name, range_ in ranges.items() if boxes[name].high.min() < range_.max
        ]
        self._lows = [(name, boxes[name].low) for name, range_ in ranges.items() if boxes[name].low.max() > range_.min]

    def write(self, observation: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], row: int) -> None:
        """Copy an observation into a row of a batch.

        Args:
            observation: Leaf name to array.
            batch: Leaf name to array [E, *shape].
            row: Index within E.

        Raises:
            ValueError: A leaf is missing, unknown, or of another dtype or shape; the message names all of them.
        """
        for name, array in zip(self._names, self._arrays(observation), strict=True):
            batch[name][row] = array

    def bad_rows(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return which observations hold what the space does not allow, bool [E].

        Args:
            batch: Leaf name to array [E, *shape], of the dtypes and shapes of the space.
        """
        bad = [
            *(~np.isfinite(batch[name]) for name in self._floats),
            *(batch[name] > high for name, high in self._highs),
            *(batch[name] < low for name, low in self._lows),
        ]
        rows: np.ndarray = np.any([flags.reshape(len(flags), -1).any(1) for flags in bad], axis=0)
        return rows

    def check(self, observation: Mapping[str, np.ndarray]) -> None:
        """Check one observation.

        Raises:
            ValueError: Naming every leaf that is wrong, and where.
        """
        arrays = self._arrays(observation)
        if self.bad_rows({name: array[None] for name, array in zip(self._names, arrays, strict=True)})[0]:
            check_observation(observation, self._space)

    def _arrays(self, observation: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the leaves in the order of the space; the thorough check tells what is wrong with their form."""
        try:
            arrays = [observation[name] for name in self._names]
            if (
                len(observation) == len(arrays)
                and [array.dtype for array in arrays] == self._dtypes
                and [array.shape for array in arrays] == self._shapes
            ):
                return arrays
        except (KeyError, TypeError, AttributeError):
            pass
        check_observation(observation, self._space)
        return [observation[name] for name in self._names]

"""A check of packed observations that is cheap enough for every step.

Owns what must never reach the network: numbers that are not finite, and categories that are out of range. Shapes and
dtypes are checked when an observation is packed (:mod:`rllib_moe.envs.packing`); relations between leaves are the
subject of :func:`rllib_moe.envs.graph_space.check_observation`.
"""

import math
from itertools import groupby

import numpy as np

from rllib_moe.envs.graph_space import check_observation
from rllib_moe.envs.packing import LeafLayout, PackedSpace


class PackedCheck:
    """Finds rows that hold what the space does not allow.

    Args:
        space: Space of the packed observations.
    """

    def __init__(self, space: PackedSpace) -> None:
        self._space = space
        self._floats: list[tuple[slice, np.dtype]] = []
        self._categories: list[tuple[slice, np.dtype, np.ndarray, np.ndarray | None]] = []
        # Leaves of one dtype lie side by side: few comparisons for all of them.
        for dtype, group in groupby(space.layout.leaves, key=lambda leaf: leaf.dtype):
            leaves = list(group)
            where = slice(leaves[0].offset, leaves[-1].offset + leaves[-1].num_bytes)
            if np.issubdtype(dtype, np.floating):
                self._floats.append((where, dtype))
            else:
                low, high = self._bounds(leaves, "low"), self._bounds(leaves, "high")
                self._categories.append((where, dtype, high, low if (low > np.iinfo(dtype).min).any() else None))

    def _bounds(self, leaves: list[LeafLayout], name: str) -> np.ndarray:
        boxes = self._space.graph_space.spaces
        return np.concatenate([getattr(boxes[leaf.name], name).ravel() for leaf in leaves])

    def bad_rows(self, packed: np.ndarray) -> np.ndarray:
        """Which observations are not allowed, bool [E].

        Args:
            packed: uint8 [E, num_bytes].
        """
        bad = np.zeros(len(packed), bool)
        for where, dtype in self._floats:
            numbers = packed[:, where].view(dtype)
            # A sum is finite only where every term is (and where it is not, it may still be): one pass in place of two.
            with np.errstate(over="ignore", invalid="ignore"):
                total = numbers.sum()
            if not math.isfinite(total):
                bad |= ~np.isfinite(numbers).all(1)
        for where, dtype, high, low in self._categories:
            values = packed[:, where].view(dtype)
            above = values > high
            if above.any():
                bad |= above.any(1)
            if low is not None:
                bad |= (values < low).any(1)
        return bad

    def check(self, packed: np.ndarray) -> None:
        """Check one observation.

        Args:
            packed: uint8 [num_bytes].

        Raises:
            ValueError: Naming every leaf that is at fault, and where.
        """
        if self.bad_rows(packed[None])[0]:
            check_observation(self._space.layout.unpack(packed), self._space.graph_space)
            raise ValueError("not a valid graph observation")

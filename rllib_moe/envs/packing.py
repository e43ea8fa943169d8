"""One flat byte vector per observation: how a graph observation travels through RLlib.

RLlib's sample collectors pay for every leaf of a nested observation at every step, and its preprocessor turns
categories into float32. So the environment hands out one uint8 vector and the model takes the leaves back as
views, each with its own dtype and bit for bit the same. Owns the layout, both directions and the wrapper; the
meaning of the leaves is :mod:`rllib_moe.envs.graph_space`'s. torch is imported only by
:meth:`ObservationLayout.unpack_torch`, so environments run without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 8
"""Bytes: the widest dtype's size. A vector is padded to it, so rows of a batch stay aligned as well."""


@dataclass(frozen=True, kw_only=True)
class LeafLayout:
    """Where one leaf lies in the vector."""

    name: str
    """Leaf name."""

    offset: int
    """First byte; a multiple of the dtype's size."""

    dtype: np.dtype[Any]
    """Element type."""

    shape: tuple[int, ...]
    """Shape without batch dimensions."""

    @property
    def num_bytes(self) -> int:
        """Length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class ObservationLayout:
    """Places the leaves of a Dict of Boxes in one byte vector.

    Leaves go in order of decreasing element size, then by name: so each is aligned, without gaps between.

    Args:
        space: A flat ``spaces.Dict`` whose leaves are all Boxes.

    Raises:
        ValueError: A leaf is not a Box, or its elements are wider than 8 bytes.
    """

    leaves: tuple[LeafLayout, ...]
    """The leaves in order of their offsets."""

    num_bytes: int
    """Length of the packed vector, a multiple of 8."""

    def __init__(self, space: spaces.Dict) -> None:
        boxes: list[LeafLayout] = []
        faults = []
        for name, box in space.spaces.items():
            dtype = np.dtype(box.dtype)
            if not isinstance(box, spaces.Box):
                faults.append(f"leaf '{name}' must be a Box, got {box}")
            elif dtype.itemsize > _ALIGNMENT:
                faults.append(f"leaf '{name}' has elements of {dtype.itemsize} bytes, at most {_ALIGNMENT} fit")
            else:
                boxes.append(LeafLayout(name=name, offset=0, dtype=dtype, shape=tuple(box.shape)))
        if faults:
            raise ValueError("cannot pack this space: " + "; ".join(faults))
        leaves = []
        offset = 0
        for leaf in sorted(boxes, key=lambda leaf: (-leaf.dtype.itemsize, leaf.name)):
            leaves.append(replace(leaf, offset=offset))
            offset += leaf.num_bytes
        self.leaves = tuple(leaves)
        self.num_bytes = -(-offset // _ALIGNMENT) * _ALIGNMENT
        # What `pack` compares and joins on every environment step, laid out once.
        self._names = [leaf.name for leaf in leaves]
        self._dtypes = [leaf.dtype for leaf in leaves]
        self._shapes = [leaf.shape for leaf in leaves]
        self._padding = bytes(self.num_bytes - offset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObservationLayout) and self.leaves == other.leaves

    def __hash__(self) -> int:
        return hash(self.leaves)

    def __repr__(self) -> str:
        return f"ObservationLayout({self.num_bytes} bytes: {', '.join(self._names)})"

    def pack(self, observation: Mapping[str, np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        """Copy an observation into one vector.

        Args:
            observation: Leaf name to array, exactly the leaves, dtypes and shapes of the space.
            out: uint8 [num_bytes] to write into; a new array when None.

        Returns:
            uint8 [num_bytes], writable; ``out`` when given.

        Raises:
            ValueError: A leaf is missing, unknown, or of another dtype or shape.
        """
        try:
            arrays: list[Any] = [observation[name] for name in self._names]
            right = (
                len(observation) == len(arrays)
                and [array.dtype for array in arrays] == self._dtypes
                and [array.shape for array in arrays] == self._shapes
            )
        except (KeyError, AttributeError):
            right = False
        if not right:
            raise ValueError("cannot pack this observation: " + "; ".join(self._faults(observation)))
        try:
            packed = bytearray().join((*arrays, self._padding))
        except TypeError:  # joining needs contiguous memory; a transposed or strided leaf is copied first
            packed = bytearray().join((*(array.tobytes() for array in arrays), self._padding))
        if out is None:
            return np.frombuffer(packed, np.uint8)
        if out.dtype != np.uint8 or out.shape != (self.num_bytes,):
            raise ValueError(f"out must be uint8 [{self.num_bytes}], got {out.dtype} {list(out.shape)}")
        out[:] = packed
        return out

    def unpack(self, packed: np.ndarray) -> dict[str, np.ndarray]:
        """Take the leaves back as views: nothing is copied, and writing to a leaf writes to ``packed``.

        Args:
            packed: uint8 [..., num_bytes], the last axis contiguous.

        Returns:
            Leaf name to array [..., *shape].

        Raises:
            ValueError: ``packed`` has another dtype or last dimension, or its last axis is strided.
        """
        if packed.dtype != np.uint8 or packed.shape[-1:] != (self.num_bytes,):
            raise ValueError(f"expected uint8 [..., {self.num_bytes}], got {packed.dtype} {list(packed.shape)}")
        lead = packed.shape[:-1]
        return {
            leaf.name: packed[..., leaf.offset : leaf.offset + leaf.num_bytes]
            .view(leaf.dtype)
            .reshape(*lead, *leaf.shape)
            for leaf in self.leaves
        }

    def unpack_torch(self, packed: torch.Tensor) -> dict[str, torch.Tensor]:
        """Take the leaves back from a tensor: views where the memory is aligned, of one copy where it is not.

        Args:
            packed: uint8 [..., num_bytes] on any device, for example [B, num_bytes].

        Returns:
            Leaf name to tensor [..., *shape].

        Raises:
            ValueError: ``packed`` has another dtype or last dimension.
        """
        import torch

        if packed.dtype != torch.uint8 or packed.shape[-1:] != (self.num_bytes,):
            raise ValueError(f"expected uint8 [..., {self.num_bytes}], got {packed.dtype} {list(packed.shape)}")
        # torch refuses to view bytes as a wider type unless offset and strides are multiples of its size
        # (https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html).
        *strides, last = packed.stride()
        if last != 1 or packed.storage_offset() % _ALIGNMENT or any(s % _ALIGNMENT for s in strides):
            packed = packed.clone(memory_format=torch.contiguous_format)
        lead = packed.shape[:-1]
        return {
            leaf.name: packed[..., leaf.offset : leaf.offset + leaf.num_bytes]
            .view(getattr(torch, leaf.dtype.name))
            .view(*lead, *leaf.shape)
            for leaf in self.leaves
        }

    def _faults(self, observation: Mapping[str, Any]) -> list[str]:
        """What keeps an observation from being packed."""
        faults = [f"leaf '{name}' is not in the space" for name in observation if name not in self._names]
        for leaf in self.leaves:
            if leaf.name not in observation:
                faults.append(f"leaf '{leaf.name}' is missing")
                continue
            value = observation[leaf.name]
            expected = f"{leaf.dtype} {list(leaf.shape)}"
            actual = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            if actual != expected:
                faults.append(f"leaf '{leaf.name}' must be {expected}, got {actual}")
        return faults


class PackedSpace(spaces.Box):
    """The space of packed observations: uint8 [num_bytes], which remembers what lies in the bytes.

    Args:
        graph_space: Space of the observation before packing.
        seed: Seed of :meth:`sample`.
    """

    graph_space: spaces.Dict
    """Space of the observation before packing."""

    layout: ObservationLayout
    """Where each leaf lies."""

    def __init__(self, graph_space: spaces.Dict, seed: int | None = None) -> None:
        self.graph_space = graph_space
        self.layout = ObservationLayout(graph_space)
        super().__init__(0, 255, (self.layout.num_bytes,), np.uint8)
        if seed is not None:
            self.seed(seed)

    def seed(self, seed: int | None = None) -> Any:
        """Seed :meth:`sample`."""
        return self.graph_space.seed(seed)

    def sample(self, mask: None = None, probability: None = None) -> np.ndarray:
        """Pack a sample of the graph space: bytes drawn at random would hold NaN and unknown categories."""
        return self.layout.pack(self.graph_space.sample(mask, probability))

    def contains(self, x: Any) -> bool:
        """Whether ``x`` has the dtype and shape; every byte value is possible."""
        return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.shape == self.shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedSpace) and self.graph_space == other.graph_space

    __hash__ = None  # type: ignore[assignment]  # as gymnasium's Box and Dict

    def __repr__(self) -> str:
        return f"PackedSpace({self.layout.num_bytes} bytes, {self.graph_space})"


class PackObservation(
    gymnasium.ObservationWrapper[np.ndarray, Any, dict[str, np.ndarray]],
    gymnasium.utils.RecordConstructorArgs,
):
    """Wraps an environment with a flat Dict observation so that it hands out packed vectors.

    Args:
        env: Environment whose observation space is a flat ``spaces.Dict`` of Boxes.

    Raises:
        ValueError: The observation space cannot be packed.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        if not isinstance(env.observation_space, spaces.Dict):
            raise ValueError(f"can pack a Dict observation space only, got {env.observation_space}")
        packed_space = PackedSpace(env.observation_space)
        self.observation_space = packed_space
        self._pack = packed_space.layout.pack

    def observation(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Pack one observation into a vector of its own."""
        return self._pack(observation)

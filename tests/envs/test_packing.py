"""Packed observations: the same bits back, by views, whatever the layout."""

import copy
import pickle
import re
import subprocess
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rllib_moe.envs.graph_space import GraphShape, graph_space
from rllib_moe.envs.packing import ObservationLayout, PackedSpace, PackObservation
from rllib_moe.envs.regimes import RegimesEnv

_DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")


def _box(dtype: str, shape: tuple[int, ...]) -> spaces.Box:
    dtype = np.dtype(dtype)
    if np.issubdtype(dtype, np.floating):
        return spaces.Box(-np.inf, np.inf, shape, dtype)
    if dtype == np.bool_:
        return spaces.Box(0, 1, shape, dtype)
    info = np.iinfo(dtype)
    return spaces.Box(info.min, info.max - 1, shape, dtype)


def _small_space() -> spaces.Dict:
    return spaces.Dict({"a": _box("uint8", (3,)), "b": _box("float32", (2,)), "c": _box("int64", (1,))})


@st.composite
def _batches(draw):
    """A random space, and a batch of 1..3 observations in it with any bits."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)
    space = {name: (draw(st.sampled_from(_DTYPES)), draw(shapes)) for name in names}
    batch = [
        {name: draw(arrays.arrays(dtype, shape)) for name, (dtype, shape) in space.items()}
        for _ in range(draw(st.integers(1, 3)))
    ]
    return spaces.Dict({name: _box(*leaf) for name, leaf in space.items()}), batch


def _same_bits(actual, expected) -> bool:
    actual, expected = np.asarray(actual), np.asarray(expected)
    same_kind = actual.dtype == expected.dtype and actual.shape == expected.shape
    return same_kind and actual.tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(_batches())
def test_any_layout_comes_back_bit_for_bit(case):
    space, batch = case
    layout = ObservationLayout(space)
    packed = np.stack([layout.pack(observation) for observation in batch])
    assert packed.shape == (len(batch), layout.num_bytes)
    assert layout.num_bytes % 8 == 0
    from_numpy = layout.unpack(packed)
    from_torch = layout.unpack_torch(torch.from_numpy(packed))
    for name in space.spaces:
        expected = np.stack([observation[name] for observation in batch])
        assert _same_bits(from_numpy[name], expected)
        assert np.shares_memory(from_numpy[name], packed)
        assert _same_bits(from_torch[name].numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(_batches())
def test_leaves_are_aligned_and_do_not_overlap(case):
    layout = ObservationLayout(case[0])
    end = 0
    for leaf in layout.leaves:
        assert leaf.offset == end
        assert leaf.offset % leaf.dtype.itemsize == 0
        end = leaf.offset + leaf.num_bytes
    assert end <= layout.num_bytes < end + 8


def test_offsets_by_hand():
    # int64 [1] takes bytes 0..7, float32 [2] 8..15, uint8 [3] 16..18; 19 is padded to 24.
    layout = ObservationLayout(_small_space())
    assert [(leaf.name, leaf.offset) for leaf in layout.leaves] == [("c", 0), ("b", 8), ("a", 16)]
    assert layout.num_bytes == 24


def test_bytes_by_hand():
    observation = {
        "a": np.array([1, 2, 3], np.uint8),
        "b": np.array([1.0, -2.0], np.float32),
        "c": np.array([-1], np.int64),
    }
    # Little endian: -1 is eight bytes 255; 1.0 is 0x3F800000, -2.0 is 0xC0000000.
    expected = [255] * 8 + [0, 0, 128, 63] + [0, 0, 0, 192] + [1, 2, 3] + [0] * 5
    assert ObservationLayout(_small_space()).pack(observation).tolist() == expected


def test_packing_into_a_given_array_and_into_a_new_one_agree():
    layout = ObservationLayout(_small_space())
    observation = _small_space().sample()
    rows = np.full((2, layout.num_bytes), 9, np.uint8)
    assert layout.pack(observation, out=rows[1]) is not None
    assert (rows[0] == 9).all()
    assert (rows[1] == layout.pack(observation)).all()
    with pytest.raises(ValueError, match=r"out must be uint8 \[24\], got uint8 \[23\]"):
        layout.pack(observation, out=np.zeros(23, np.uint8))


def test_packed_vectors_are_writable_and_share_nothing():
    layout = ObservationLayout(_small_space())
    observation = {"a": np.zeros(3, np.uint8), "b": np.zeros(2, np.float32), "c": np.zeros(1, np.int64)}
    first, second = layout.pack(observation), layout.pack(observation)
    first[:] = 7
    assert not second.any()
    assert not observation["a"].any()


def test_strided_leaves_are_packed_by_value():
    space = spaces.Dict({"a": _box("int16", (3, 2)), "b": _box("uint8", (2,))})
    layout = ObservationLayout(space)
    strided = {"a": np.arange(6, dtype=np.int16).reshape(2, 3).T, "b": np.arange(4, dtype=np.uint8)[::2]}
    unpacked = layout.unpack(layout.pack(strided))
    assert unpacked["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert unpacked["b"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros(3, np.int8)}, "leaf 'a' must be uint8 [3], got int8 [3]"),
        ({"a": np.zeros((1, 3), np.uint8)}, "leaf 'a' must be uint8 [3], got uint8 [1, 3]"),
        ({"b": [0.0, 0.0]}, "leaf 'b' must be float32 [2], got list"),
        ({"d": np.zeros(1)}, "leaf 'd' is not in the space"),
        ({"c": None}, "leaf 'c' must be int64 [1], got NoneType"),
    ],
)
def test_an_observation_of_another_layout_is_refused(change, message):
    layout = ObservationLayout(_small_space())
    with pytest.raises(ValueError, match=re.escape(message)):
        layout.pack(_small_space().sample() | change)
    with pytest.raises(ValueError, match="leaf 'c' is missing"):
        layout.pack({"a": np.zeros(3, np.uint8), "b": np.zeros(2, np.float32)})


def test_spaces_that_cannot_be_packed_are_refused():
    with pytest.raises(ValueError, match="leaf 'x' must be a Box, got Discrete"):
        ObservationLayout(spaces.Dict({"x": spaces.Discrete(2)}))
    with pytest.raises(ValueError, match="can pack a Dict observation space only"):
        PackObservation(gymnasium.make("CartPole-v1"))


def test_vectors_of_another_dtype_or_length_are_refused():
    layout = ObservationLayout(_small_space())
    for wrong in (np.zeros(24, np.float32), np.zeros((2, 23), np.uint8)):
        expected = re.escape(f"expected uint8 [..., 24], got {wrong.dtype} {list(wrong.shape)}")
        with pytest.raises(ValueError, match=expected):
            layout.unpack(wrong)
        with pytest.raises(ValueError, match=r"expected uint8 \[\.\.\., 24\]"):
            layout.unpack_torch(torch.from_numpy(wrong))


def test_aligned_tensors_are_viewed_and_unaligned_ones_copied():
    layout = ObservationLayout(_small_space())
    observations = [_small_space().sample() for _ in range(4)]
    packed = torch.from_numpy(np.stack([layout.pack(observation) for observation in observations]))

    rows = packed[1::2]  # stride 48, offset 24: aligned
    for leaf in layout.unpack_torch(rows).values():
        assert leaf.untyped_storage().data_ptr() == packed.untyped_storage().data_ptr()

    shifted = torch.zeros(4, layout.num_bytes + 3, dtype=torch.uint8)  # stride 27 and offset 3: not aligned
    shifted[:, 3:] = packed
    transposed = packed.T.contiguous().T  # last axis strided
    for unaligned in (shifted[:, 3:], transposed):
        leaves = layout.unpack_torch(unaligned)
        for name, leaf in leaves.items():
            assert _same_bits(leaf.numpy(), np.stack([observation[name] for observation in observations]))
            assert leaf.untyped_storage().data_ptr() != unaligned.untyped_storage().data_ptr()


def test_leading_dimensions_are_kept():
    layout = ObservationLayout(_small_space())
    assert layout.unpack(np.zeros((5, 0, 24), np.uint8))["b"].shape == (5, 0, 2)
    assert layout.unpack(np.zeros(24, np.uint8))["c"].shape == (1,)
    assert layout.unpack_torch(torch.zeros(5, 2, 24, dtype=torch.uint8))["a"].shape == (5, 2, 3)
    assert layout.unpack_torch(torch.zeros(0, 24, dtype=torch.uint8))["a"].shape == (0, 3)


def test_packed_space_survives_pickling_and_compares_by_what_is_in_it():
    space = PackedSpace(_small_space())
    for other in (pickle.loads(pickle.dumps(space)), cloudpickle.loads(cloudpickle.dumps(space)), copy.deepcopy(space)):
        assert other == space
        assert type(other) is PackedSpace
        assert other.graph_space == space.graph_space
        assert other.layout == space.layout
        assert other.contains(space.sample())
    # 24 bytes as well, but not the same ones.
    renamed = PackedSpace(spaces.Dict({"x" if k == "a" else k: v for k, v in _small_space().items()}))
    assert renamed.shape == space.shape
    assert renamed != space
    plain = spaces.Box(0, 255, space.shape, np.uint8)
    assert space != plain
    assert plain != space


def test_packed_space_samples_and_contains():
    space = PackedSpace(_small_space(), seed=5)
    assert isinstance(space, spaces.Box)
    assert (space.shape, space.dtype) == ((24,), np.uint8)
    sample = space.sample()
    assert space.contains(sample)
    assert space.graph_space.contains(space.layout.unpack(sample))
    assert (PackedSpace(_small_space(), seed=5).sample() == sample).all()
    assert not space.contains(sample[:-1])
    assert not space.contains(sample.astype(np.int64))


def test_sizes_are_read_through_a_packed_space():
    space = graph_space(max_nodes=3, node_features=2, features=4, num_edge_types=2, num_actions=5)
    assert GraphShape.from_space(PackedSpace(space)) == GraphShape.from_space(space)


def test_wrapped_environment_packs_every_observation():
    plain, packed = RegimesEnv(max_steps=4), PackObservation(RegimesEnv(max_steps=4))
    space = packed.observation_space
    assert isinstance(space, PackedSpace)
    expected, _ = plain.reset(seed=3)
    vector, _ = packed.reset(seed=3)
    kept = [vector]
    for step in range(5):
        assert space.contains(vector)
        for name, leaf in space.layout.unpack(vector).items():
            assert _same_bits(leaf, expected[name])
        if step < 4:
            expected, *_ = plain.step(0)
            vector, *_ = packed.step(0)
            assert not any(np.shares_memory(vector, before) for before in kept)
            kept.append(vector)


def test_environments_do_not_import_torch():
    code = "import sys, rllib_moe.envs.registry as r, rllib_moe.envs.packing; r.make_env('regimes');"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'nle')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

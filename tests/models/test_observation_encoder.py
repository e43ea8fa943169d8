"""All leaves to one state: each leaf counts, none is required but the contract's, any extra is taken."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import ExtraLeaf, GraphShape, graph_space
from rllib_moe.models.observation_encoder import CategoryGrid, ObservationEncoder
from tests.models.graph_batches import box, random_observation, rows, zeros_like

CONFIG = ModelConfig(hidden_size=12, num_heads=3, trunk_size=10, category_size=4)
SHAPE = GraphShape.from_space(
    graph_space(
        max_nodes=6,
        node_features=3,
        features=5,
        num_edge_types=2,
        num_node_types=4,
        num_actions=7,
        extras={"crop": box(8, 3, 3), "compass": spaces.Box(-1, 1, (2, 2), np.float32)},
    )
)
BARE = GraphShape.from_space(graph_space(max_nodes=6, node_features=3, features=5, num_edge_types=2))


def encoder(shape: GraphShape = SHAPE, config: ModelConfig = CONFIG) -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(shape, config)


@pytest.mark.parametrize("shape", [SHAPE, BARE], ids=["all leaves", "required leaves"])
@pytest.mark.parametrize("batch", [1, 5, 300])
def test_shape_of_the_state(shape: GraphShape, batch: int) -> None:
    state = encoder(shape)(random_observation(shape, batch))
    assert state.z.shape == (batch, 10)
    assert state.z.isfinite().all()
    assert state.attention is None


@pytest.mark.parametrize("batch", [2, 300])
def test_attention_when_asked_for(batch: int) -> None:
    state = encoder()(random_observation(SHAPE, batch), return_attention=True)
    assert state.attention is not None
    assert state.attention.shape == (batch, 3, 6)


@pytest.mark.parametrize("shape", [SHAPE, BARE], ids=["all leaves", "required leaves"])
def test_all_zero_observation_is_finite(shape: GraphShape) -> None:
    built = encoder(shape)
    z = built(zeros_like(random_observation(shape, 4))).z
    assert z.isfinite().all()
    z.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())


@pytest.mark.parametrize("leaf", ["nodes", "node_types", "edges", "node_mask", "features", "crop", "compass"])
def test_every_leaf_counts(leaf: str) -> None:
    observation, other = random_observation(SHAPE, 20, seed=0), random_observation(SHAPE, 20, seed=1)
    for seed, each in enumerate((observation, other)):  # full graphs, so that what is on the nodes shows
        generator = torch.Generator().manual_seed(seed)
        each["nodes"].normal_(generator=generator)
        each["node_types"].random_(0, 4, generator=generator)
        each["node_mask"].fill_(1)
        each["edges"].random_(0, 3, generator=generator)
    other["node_mask"][:, 3:] = 0
    changed = {**observation, leaf: other[leaf]}
    difference = encoder()(changed).z - encoder()(observation).z
    assert (difference.abs().amax(1) > 1e-4).float().mean() > 0.8


def test_every_parameter_has_a_finite_gradient() -> None:
    built = encoder()
    built(random_observation(SHAPE, 30)).z.square().sum().backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_rows_do_not_see_each_other() -> None:
    built, observation = encoder(), random_observation(SHAPE, 300)
    alone = torch.cat([built(rows(observation, slice(index, index + 1))).z for index in range(0, 300, 30)])
    torch.testing.assert_close(built(observation).z[::30], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["type", "keys", "forward", "map.crop", "0", "with space"])
def test_any_name_of_an_extra(name: str) -> None:
    # nn.ModuleDict refuses the first four.
    space = graph_space(
        max_nodes=2, node_features=1, features=1, num_edge_types=1, extras={name: box(3, 2), "other": box(9, 4)}
    )
    shape = GraphShape.from_space(space)
    built = encoder(shape)
    assert built(random_observation(shape, 3)).z.shape == (3, 10)
    built.load_state_dict(built.state_dict())


@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", "float16"])
def test_any_extra(shape: tuple[int, ...], dtype: str) -> None:
    extra = spaces.Box(0, 5, shape, np.dtype(dtype).type)
    sizes = GraphShape.from_space(
        graph_space(max_nodes=2, node_features=1, features=1, num_edge_types=1, extras={"extra": extra})
    )
    assert sizes.extras["extra"] == ExtraLeaf(shape, dtype, 6 if "int" in dtype else 0)
    built, observation = encoder(sizes), random_observation(sizes, 4)
    assert observation["extra"].shape == (4, *shape)
    z = built(observation).z
    assert z.dtype == torch.float32
    assert z.isfinite().all()


def test_category_grid_is_an_embedding_and_a_linear_layer() -> None:
    grid = CategoryGrid(num_cells=6, num_categories=5, category_size=3, size=8)
    cells = torch.randint(0, 5, (7, 2, 3)).to(torch.uint8)
    embedded = torch.nn.functional.embedding(cells.long(), grid.table).flatten(1)
    torch.testing.assert_close(grid(cells), torch.nn.functional.elu(grid.project(embedded)))

"""Graph encoders by name: found, or refused in one sentence before anything starts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.models.attention_encoder import AttentionEncoder
from rllib_moe.models.encoder_registry import encoder_errors, make_graph_encoder
from rllib_moe.models.geometric_encoder import GeometricEncoder
from rllib_moe.validation.errors import ConfigError
from tests.models.own_encoder import Nearest

SHAPE = GraphShape(max_nodes=6, node_features=3, num_node_types=4, num_edge_types=2, features=1, num_actions=None)
OWN = "tests.models.own_encoder"


@pytest.mark.parametrize(
    ("name", "kind"), [("attention", AttentionEncoder), ("GATConv", GeometricEncoder), (f"{OWN}:Nearest", Nearest)]
)
def test_found(name: str, kind: type) -> None:
    assert not encoder_errors(name)
    assert type(make_graph_encoder(SHAPE, ModelConfig(graph_encoder=name))) is kind


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GATv3Conv", r"expected 'attention', 'mean', .*, got 'GATv3Conv' \(did you mean 'GATv2Conv'\?\)"),
        ("attenton", r"got 'attenton' \(did you mean 'attention'\?\)"),
        ("Linear", "expected 'attention', .*, got 'Linear'"),
        ("GINEConv", "torch_geometric.nn.GINEConv does not fit: .* missing 1 required positional argument: 'nn'"),
        ("GENConv", "torch_geometric.nn.GENConv does not fit: .* computes differently in training and in evaluation"),
        ("HypergraphConv", "torch_geometric.nn.HypergraphConv does not fit: "),
        ("nowhere:Encoder", r"cannot import 'nowhere:Encoder' \(No module named 'nowhere'; .*PYTHONPATH=\."),
        (f"{OWN}:Nearst", r"module 'tests.models.own_encoder' has no 'Nearst' \(did you mean 'Nearest'\?\)"),
        (f"{OWN}:torch", "does not fit .*; expected a class like rllib_moe.models.graph_encoder.GraphEncoder"),
        ("torch.nn:Linear", r"does not fit \(too many positional arguments\)"),
    ],
)
def test_refused_before_anything_starts(name: str, told: str) -> None:
    (error,) = encoder_errors(name)
    assert re.search(f"graph_encoder: .*{told}", error)


def test_training_refuses_a_wrong_name_and_writes_nothing(train: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"graph_encoder: expected .* got 'GATv3Conv'"):
        train("run", 48, "--graph-encoder", "GATv3Conv")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "told"), [("Wide", r"expected finite embeddings \[2, 64\], got \[2, 65\]"), ("Dropping", "computes diff")]
)
def test_what_shows_in_a_trial_alone_is_refused_when_it_is_made(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"graph_encoder: {told}"):
        make_graph_encoder(SHAPE, ModelConfig(graph_encoder=f"{OWN}:{name}"))


def test_a_trial_moves_no_random_state() -> None:
    config = ModelConfig(graph_encoder="SuperGATConv")
    torch.manual_seed(0)
    GeometricEncoder(SHAPE, config)
    expected = torch.rand(1)
    encoder_errors.cache_clear()
    torch.manual_seed(0)
    make_graph_encoder(SHAPE, config)
    assert torch.rand(1) == expected

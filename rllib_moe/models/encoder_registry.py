"""Graph encoders by name: `attention`, `mean`, a convolution of torch-geometric, or a class `module:Class`.

Imports torch only when it is asked for an encoder that is not built in. Refusals name the setting.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from rllib_moe.validation.imports import import_by_path
from rllib_moe.validation.words import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape

SETTING = "graph_encoder"
"""Name of the setting, for refusals."""
BUILT_IN = {
    "attention": "rllib_moe.models.attention_encoder:AttentionEncoder",
    "mean": "rllib_moe.models.node_pool:NodePool",
}


def make_graph_encoder(shape: GraphShape, config: ModelConfig) -> nn.Module:
    """Make the `GraphEncoder` that `config.graph_encoder` names, and try it out unless it is built in.

    Raises:
        ValueError: There is none of this name, or it breaks what `GraphEncoder` promises.
    """
    encoder: nn.Module = _encoder_class(config.graph_encoder)(shape, config)
    if config.graph_encoder not in BUILT_IN:
        from rllib_moe.models.graph_encoder import check_encoder

        check_encoder(encoder, shape, config)
    return encoder


@cache
def encoder_errors(name: str) -> tuple[str, ...]:
    """Return why a name is refused as `graph_encoder`; empty when it is not."""
    if name in BUILT_IN:
        return ()
    try:
        _encoder_class(name)
        if ":" not in name:
            _try_convolution(name)
    except ValueError as error:
        return (str(error),)
    return ()


def _encoder_class(name: str) -> Any:
    path = BUILT_IN.get(name, name)
    if ":" not in path:
        return _geometric_encoder(name)
    found = import_by_path(path, SETTING)
    try:
        inspect.signature(found).bind("shape", "config")
        inspect.signature(found.forward).bind("self", "nodes", "node_mask", "edges", "node_types", False)
    except (TypeError, AttributeError) as error:
        expected = "expected a class like rllib_moe.models.graph_encoder.GraphEncoder"
        raise ValueError(f"{SETTING}: {name!r} does not fit ({error}); {expected}") from error
    return found


def _geometric_encoder(name: str) -> Any:
    from rllib_moe.models.geometric_encoder import GeometricEncoder, convolution_names

    if name in (names := convolution_names()):
        return GeometricEncoder
    expected = f"{', '.join(map(repr, BUILT_IN))}, a convolution of torch_geometric.nn or module:Class"
    meant = did_you_mean(name, [*BUILT_IN, *names], otherwise="")
    raise ValueError(f"{SETTING}: expected {expected}, got {name!r}{meant}")


def _try_convolution(name: str) -> None:
    """Try a convolution of torch-geometric on two small graphs."""
    import torch

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape

    shape = GraphShape(max_nodes=5, node_features=2, num_node_types=0, num_edge_types=2, features=1, num_actions=None)
    config = ModelConfig(graph_encoder=name, hidden_size=8, num_heads=2)
    try:
        with torch.random.fork_rng(devices=[]):
            make_graph_encoder(shape, config)
    except Exception as error:  # whatever a layer of another kind runs into
        raise ValueError(f"{SETTING}: torch_geometric.nn.{name} does not fit: {error}") from error

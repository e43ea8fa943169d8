"""Graph encoders by name: `attention`, `mean`, a convolution of torch-geometric, or a class `module:Class`.

Imports torch only when it is asked for an encoder that is not built in.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from rllib_moe.validation import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape

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
        return (f"graph_encoder: {error}",)
    return ()


def _encoder_class(name: str) -> Any:
    """Return the class of an encoder. Raises ValueError in words."""
    module, _, attribute = BUILT_IN.get(name, name).rpartition(":")
    if not module:
        return _geometric_encoder(name)
    try:
        members = vars(importlib.import_module(module))
    except Exception as error:  # whatever a module of the user's raises while it is imported
        raise ValueError(
            f"cannot import {module!r} of {name!r}: {type(error).__name__}: {error} (a module in this directory is "
            "found with PYTHONPATH=. before the command)"
        ) from error
    if attribute not in members:
        classes = [each for each, value in members.items() if isinstance(value, type)]
        raise ValueError(f"{module!r} has no class {attribute!r}{did_you_mean(attribute, classes)}")
    found = members[attribute]
    try:
        inspect.signature(found).bind("shape", "config")
        inspect.signature(found.forward).bind("self", "nodes", "node_mask", "edges", "node_types", False)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{name!r} does not fit: {error}; expected a class like rllib_moe.models.graph_encoder.GraphEncoder"
        ) from error
    return found


def _geometric_encoder(name: str) -> Any:
    from rllib_moe.models.geometric_encoder import GeometricEncoder, convolution_names

    if name in (names := convolution_names()):
        return GeometricEncoder
    raise ValueError(
        f"unknown encoder {name!r}{did_you_mean(name, [*BUILT_IN, *names], otherwise='')}; expected "
        f"{', '.join(map(repr, BUILT_IN))}, a convolution of torch_geometric.nn such as 'GATv2Conv', or 'module:Class'"
    )


def _try_convolution(name: str) -> None:
    """Try a convolution of torch-geometric on two small graphs. Raises ValueError in words."""
    import torch

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape

    shape = GraphShape(max_nodes=5, node_features=2, num_node_types=0, num_edge_types=2, features=1, num_actions=None)
    try:
        with torch.random.fork_rng(devices=[]):
            # A copy: the constructor would ask for `encoder_errors` again.
            config = ModelConfig(hidden_size=8, num_heads=2).model_copy(update={"graph_encoder": name})
            make_graph_encoder(shape, config)
    except Exception as error:  # whatever a layer of another kind runs into
        raise ValueError(f"torch_geometric.nn.{name} does not fit: {error}") from error

"""Graph encoders by name: `attention`, `mean`, a convolution of torch-geometric, or a class `module:Class`.

Imports nothing heavy until it is asked for an encoder that needs it.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from typing import TYPE_CHECKING

from rllib_moe.errors import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape

BUILT_IN = {
    "attention": "rllib_moe.models.attention_encoder:AttentionEncoder",
    "mean": "rllib_moe.models.node_pool:NodePool",
}
ARGUMENTS = ("nodes", "node_mask", "edges", "node_types", "return_attention")
"""Arguments of a graph encoder's `forward`."""


def make_graph_encoder(shape: GraphShape, config: ModelConfig) -> nn.Module:
    """Make the `GraphEncoder` that `config.graph_encoder` names, and try it out unless it is built in.

    Raises:
        ValueError: There is none of this name, or it breaks what `GraphEncoder` promises.
    """
    name = config.graph_encoder
    encoder = _encoder_class(name)(shape, config)
    if name not in BUILT_IN:
        from rllib_moe.models.graph_encoder import trial_error

        if misfit := trial_error(encoder, shape, config):
            raise ValueError(f"graph_encoder: {name!r} does not fit: {misfit}")
    return encoder


@cache
def encoder_errors(name: str) -> tuple[str, ...]:
    """Return why a name is refused as `graph_encoder`; empty when it is not."""
    if name in BUILT_IN:  # torch need not be imported for it
        return ()
    try:
        _encoder_class(name)
        if ":" not in name:
            _try_convolution(name)
    except ValueError as error:
        return (f"graph_encoder: {error}",)
    return ()


def _encoder_class(name: str) -> type[nn.Module]:
    """Find an encoder's class. Raises ValueError in words."""
    module, _, attribute = BUILT_IN.get(name, name).rpartition(":")
    if not module:
        return _geometric(name)
    try:
        members = vars(importlib.import_module(module))
    except Exception as error:  # whatever a module of the user's raises while it is imported
        raise ValueError(
            f"cannot import {module!r} of {name!r}: {type(error).__name__}: {error} (a module in this directory is "
            "found with PYTHONPATH=. before the command)"
        ) from error
    if attribute not in members:
        known = [each for each, value in members.items() if isinstance(value, type)]
        raise ValueError(f"{module!r} has no class {attribute!r}{did_you_mean(attribute, known)}")
    found: type[nn.Module] = members[attribute]
    if name not in BUILT_IN and (misfit := _misfit(found)):
        raise ValueError(f"{name!r} does not fit: {misfit}; rllib_moe.models.graph_encoder.GraphEncoder shows how")
    return found


def _misfit(found: object) -> str | None:
    """Return why a user's object cannot be called as a `GraphEncoder`, or None."""
    from torch import nn

    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        return "expected a subclass of torch.nn.Module"
    try:
        inspect.signature(found).bind("shape", "config")
        inspect.signature(found.forward).bind("self", *ARGUMENTS)
    except TypeError as error:
        return f"expected __init__(shape, config) and forward({', '.join(ARGUMENTS)}): {error}"
    return None


def _geometric(name: str) -> type[nn.Module]:
    from rllib_moe.models.geometric_encoder import GeometricEncoder, convolution_names

    names = convolution_names()
    if name in names:
        return GeometricEncoder
    raise ValueError(
        f"unknown encoder {name!r}{did_you_mean(name, [*BUILT_IN, *names], otherwise='')}; expected "
        f"{', '.join(map(repr, BUILT_IN))}, a convolution of torch_geometric.nn such as 'GATv2Conv', or 'module:Class'"
    )


def _try_convolution(name: str) -> None:
    """Make an encoder of a convolution and try it out. Raises ValueError in words."""
    import torch

    from rllib_moe.config import ModelConfig
    from rllib_moe.envs.graph_space import GraphShape
    from rllib_moe.models.geometric_encoder import GeometricEncoder
    from rllib_moe.models.graph_encoder import trial_error

    shape = GraphShape(max_nodes=5, node_features=2, num_node_types=0, num_edge_types=2, features=1, num_actions=None)
    config = ModelConfig(graph_encoder=name, hidden_size=8, num_heads=2)
    try:
        with torch.random.fork_rng(devices=[]):
            misfit = trial_error(GeometricEncoder(shape, config), shape, config)
    except Exception as error:  # whatever a layer of another kind runs into
        misfit = str(error)
    if misfit:
        raise ValueError(f"torch_geometric.nn.{name} does not fit: {misfit}")

"""The adapter adds nothing to the network but what RLlib asks for."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.models.catalog import MODEL_DEFAULTS

from rllib_moe.envs.graph_space import graph_space
from rllib_moe.envs.packing import PackObservation
from rllib_moe.envs.registry import make_env
from rllib_moe.models.losses import expert_share, gate_entropy
from rllib_moe.models.rllib_model import GATMoEModel
from rllib_moe.phases import PhaseSchedule
from rllib_moe.validation import ConfigError

SIZES = {"hidden_size": 16, "trunk_size": 16, "expert_hidden_size": 16, "critic_hidden_size": 16, "num_experts": 3}


def make(env: gymnasium.Env[Any, Any], **sizes: Any) -> GATMoEModel:
    config = {**MODEL_DEFAULTS, "custom_model": GATMoEModel, "custom_model_config": {**SIZES, **sizes}}
    return GATMoEModel(env.observation_space, env.action_space, env.action_space.n, config, "model")  # type: ignore[attr-defined]


@pytest.fixture
def env() -> PackObservation:
    return PackObservation(make_env("regimes", max_steps=64))


@pytest.fixture
def model(env: PackObservation) -> GATMoEModel:
    torch.manual_seed(0)
    made = make(env)
    made.network.phase.apply_phase(PhaseSchedule.load("default").at(2000), 2000)
    return made


@pytest.fixture
def packed(env: PackObservation) -> torch.Tensor:
    """Observations [32, num_bytes]."""
    rows = [env.reset(seed=0)[0].copy()]
    rows += [env.step(env.action_space.sample())[0].copy() for _ in range(31)]
    return torch.from_numpy(np.stack(rows))


def test_outputs_are_the_networks(model: GATMoEModel, packed: torch.Tensor) -> None:
    logits, state = model({"obs": packed}, [], None)
    expected = model.network(model.layout.unpack_torch(packed))
    assert state == []
    assert torch.equal(logits, expected.logits)
    assert torch.equal(model.value_function(), expected.value)
    assert logits.shape == (32, 4)


def test_custom_loss_adds_the_weighted_losses_and_nothing_else(model: GATMoEModel, packed: torch.Tensor) -> None:
    model({"obs": packed})
    output, phase = model._cached(), model.network.phase
    _, raw = model.network.auxiliary_losses(output, None)
    weights = {name: float(getattr(phase, f"{name}_coef")) for name in raw}
    assert set(weights) == {"alpha_entropy", "load_balance", "diversity"}
    assert all(weight > 0 for weight in weights.values())
    added = sum(weights[name] * loss.item() for name, loss in raw.items())

    losses = [torch.tensor(1.5), torch.tensor(-2.0)]
    returned = model.custom_loss(losses, None)
    assert [loss.item() for loss in returned] == pytest.approx([1.5 + added, -2.0 + added], abs=1e-6)

    found = model.metrics()
    expected = {
        **{f"{name}_loss": loss.item() for name, loss in raw.items()},
        "routing_loss": added,
        "policy_objective": 1.5,
        "alpha_entropy": gate_entropy(output.gate).mean().item(),
        **{f"expert_share_{k}": share for k, share in enumerate(expert_share(output.gate).tolist())},
        "max_nonfinite_loss": 0.0,
    }
    assert found == pytest.approx(expected, abs=1e-6)
    assert all(type(value) is float for value in found.values())


def test_gradients_reach_the_router_and_the_experts(model: GATMoEModel, packed: torch.Tensor) -> None:
    model({"obs": packed})
    (loss,) = model.custom_loss([torch.zeros(())], None)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    for part in ("router", "experts", "encoder"):
        assert any(part in name and bool(gradient.abs().sum() > 0) for name, gradient in gradients.items()), part


def test_a_loss_that_is_not_finite_is_counted(model: GATMoEModel, packed: torch.Tensor) -> None:
    model({"obs": packed})
    model.custom_loss([torch.tensor(math.nan)], None)
    assert model.metrics()["max_nonfinite_loss"] == 1.0


def test_rllibs_dummy_batch_of_zeros_gives_finite_output(model: GATMoEModel, packed: torch.Tensor) -> None:
    logits, _ = model({"obs": torch.zeros_like(packed)})
    assert bool(logits.isfinite().all())
    assert bool(model.value_function().isfinite().all())


def test_state_dict_there_and_back(model: GATMoEModel, env: PackObservation, packed: torch.Tensor) -> None:
    """Weights, the router's statistics and the phase: all a rollout worker is sent."""
    model({"obs": packed})
    model.custom_loss([torch.zeros(())], None)
    other = make(env)
    other.load_state_dict(model.state_dict())
    expected, _ = model({"obs": packed})
    found, _ = other({"obs": packed})
    assert torch.equal(found, expected)
    assert other.network.phase.routing == "sparsemax"


def test_nothing_can_be_asked_before_forward(env: PackObservation) -> None:
    with pytest.raises(RuntimeError, match="forward must run before"):
        make(env).value_function()


def test_spaces_that_do_not_fit_are_refused(env: PackObservation) -> None:
    graph = graph_space(max_nodes=3, node_features=2, features=2, num_edge_types=1)
    for observation, action, told in (
        (graph, spaces.Discrete(4), "expected a PackedSpace"),
        (env.observation_space, spaces.Box(-1, 1, (2,)), "expected Discrete"),
    ):
        with pytest.raises(ValueError, match=told):
            GATMoEModel(observation, action, 4, {**MODEL_DEFAULTS, "custom_model_config": SIZES}, "model")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [({"hidden_sizes": 8}, "did you mean 'hidden_size'"), ({"num_experts": 0}, "num_experts: expected")],
)
def test_sizes_that_do_not_fit_are_refused(env: PackObservation, sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(env, **sizes)

"""The adapter adds nothing to the network but what RLlib asks for."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.models.catalog import MODEL_DEFAULTS
from ray.tune.registry import register_env
from torch import Tensor

from rllib_moe.envs.registry import make_env
from rllib_moe.models.losses import expert_share, gate_entropy
from rllib_moe.models.rllib_model import GATMoEModel
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError

SIZES = {"hidden_size": 16, "trunk_size": 16, "expert_hidden_size": 16, "critic_hidden_size": 16, "num_experts": 3}


Env = gymnasium.Env[Any, Any]


def make(env: Env, **sizes: Any) -> GATMoEModel:
    config = {**MODEL_DEFAULTS, "custom_model": GATMoEModel, "custom_model_config": {**SIZES, **sizes}}
    return GATMoEModel(env.observation_space, env.action_space, env.action_space.n, config, "model")  # type: ignore[attr-defined]


@pytest.fixture
def env() -> Env:
    return make_env("regimes", max_steps=64)


@pytest.fixture
def model(env: Env) -> GATMoEModel:
    made = make(env)
    made.network.phase.apply_phase(PhaseSchedule.load("v3").at(2000), 2000)
    return made


@pytest.fixture
def observations(env: Env) -> dict[str, Tensor]:
    """32 observations, a leaf [32, ...] by its name."""
    rows = [deepcopy(env.reset(seed=0)[0])]
    rows += [deepcopy(env.step(env.action_space.sample())[0]) for _ in range(31)]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def test_outputs_are_the_networks(model: GATMoEModel, observations: dict[str, Tensor]) -> None:
    logits, state = model({"obs": observations}, [], None)
    expected = model.network(observations)
    assert state == []
    assert torch.equal(logits, expected.logits)
    assert torch.equal(model.value_function(), expected.value)
    assert logits.shape == (32, 4)


def test_custom_loss_adds_the_weighted_losses_and_nothing_else(
    model: GATMoEModel, observations: dict[str, Tensor]
) -> None:
    model({"obs": observations})
    output, phase = model._cached(), model.network.phase
    raw = model.network.auxiliary_losses(output, {}).raw
    weights = {name: float(getattr(phase, f"{name}_coef")) for name in raw}
    assert {name for name, weight in weights.items() if weight} == {"alpha_entropy", "load_balance", "diversity"}
    added = sum(weights[name] * loss.item() for name, loss in raw.items())

    losses = [torch.tensor(1.5), torch.tensor(-2.0)]
    returned = model.custom_loss(losses, {})
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


def test_gradients_reach_the_router_and_the_experts(model: GATMoEModel, observations: dict[str, Tensor]) -> None:
    model({"obs": observations})
    (loss,) = model.custom_loss([torch.zeros(())], {})
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    for part in ("router", "experts", "encoder"):
        assert any(part in name and bool(gradient.abs().sum() > 0) for name, gradient in gradients.items()), part


def test_a_loss_that_is_not_finite_is_counted(model: GATMoEModel, observations: dict[str, Tensor]) -> None:
    model({"obs": observations})
    model.custom_loss([torch.tensor(math.nan)], {})
    assert model.metrics()["max_nonfinite_loss"] == 1.0


def test_rllibs_dummy_batch_of_zeros_gives_finite_output(model: GATMoEModel, observations: dict[str, Tensor]) -> None:
    logits, _ = model({"obs": {name: torch.zeros_like(leaf) for name, leaf in observations.items()}})
    assert bool(logits.isfinite().all())
    assert bool(model.value_function().isfinite().all())


def test_state_dict_there_and_back(model: GATMoEModel, env: Env, observations: dict[str, Tensor]) -> None:
    """Weights, the router's statistics and the phase: all a rollout worker is sent."""
    model({"obs": observations})
    model.custom_loss([torch.zeros(())], {})
    other = make(env)
    other.load_state_dict(model.state_dict())
    expected, _ = model({"obs": observations})
    found, _ = other({"obs": observations})
    assert torch.equal(found, expected)
    assert other.network.phase.routing == "sparsemax"


@pytest.mark.parametrize("is_flattened", [True, False], ids=["RLlib's preprocessor", "no preprocessor"])
def test_it_trains_under_rllibs_own_ppo(ray_session: None, is_flattened: bool) -> None:
    """In a script that knows of this project nothing but the model: any Dict environment, RLlib's own sampler."""
    del ray_session
    register_env("own", lambda _: make_env("regimes", max_steps=16))
    config = (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        .framework("torch")
        .environment("own")
        .env_runners(num_env_runners=0)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .training(model={"custom_model": GATMoEModel, "custom_model_config": SIZES})
        .experimental(_disable_preprocessor_api=not is_flattened)
    )
    algorithm = config.build_algo()
    learned = algorithm.train()["info"]["learner"]["default_policy"]
    assert math.isfinite(learned["learner_stats"]["total_loss"])
    assert math.isfinite(learned["model"]["routing_loss"])
    observation, _ = make_env("regimes", max_steps=16).reset(seed=0)
    *_, output = algorithm.compute_single_action(observation, full_fetch=True)
    leaves = {name: torch.from_numpy(leaf)[None] for name, leaf in observation.items()}
    with torch.no_grad():
        expected = algorithm.get_policy().model.network(leaves).logits[0]
    np.testing.assert_allclose(output["action_dist_inputs"], expected, atol=1e-6)
    algorithm.stop()


def test_nothing_can_be_asked_before_forward(env: Env) -> None:
    with pytest.raises(RuntimeError, match="forward must run before"):
        make(env).value_function()


def test_spaces_that_do_not_fit_are_refused(env: Env) -> None:
    for observation, action, told in (
        (spaces.Box(0, 1, (2,)), spaces.Discrete(4), "expected a gymnasium.spaces.Dict"),
        (env.observation_space, spaces.Box(-1, 1, (2,)), "expected Discrete"),
    ):
        with pytest.raises(ValueError, match=told):
            GATMoEModel(observation, action, 4, {**MODEL_DEFAULTS, "custom_model_config": SIZES}, "model")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [({"hidden_sizes": 8}, "did you mean 'hidden_size'"), ({"num_experts": 0}, "num_experts: expected")],
)
def test_sizes_that_do_not_fit_are_refused(env: Env, sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(env, **sizes)

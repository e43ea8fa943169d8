"""Fair controls: one expert with as many live parameters as several and their router."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_configured
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.studies.comparison.plan import Plan

TOLERANCE = 0.01
"""Difference in live parameters, as a share, that is no unfairness."""


def live_parameters(shape: GraphShape, num_actions: int, config: ModelConfig) -> int:
    """Return the number of parameters that actions or values depend on.

    Of the router's candidates those that are not chosen are dead, and the whole router of one expert.
    """
    network = GATMoEPolicy(shape, num_actions, config)
    router = sum(parameter.numel() for parameter in network.router.parameters())
    dead = router if config.num_experts == 1 else router - router // network.router.num_candidates
    return sum(parameter.numel() for parameter in network.parameters()) - dead


def equal_hidden_size(shape: GraphShape, num_actions: int, config: ModelConfig, number: int) -> int:
    """Return the hidden size of its one expert with which a network of `config` has `number` live parameters or so.

    Each hidden unit adds as many, D + 1 + A with trunk size D and A actions.
    """
    one, two = (live_parameters(shape, num_actions, config.replace(expert_hidden_size=size)) for size in (1, 2))
    return round(1 + (number - one) / (two - one))


def unfair_controls(plan: Plan) -> Iterator[str]:
    """Yield a line for each variant of one expert that has not the live parameters of several (the reference's)."""
    experiments = plan.experiments
    names = sorted(experiments, key=lambda name: name != plan.reference_name)
    several = next((name for name in names if experiments[name].model.num_experts > 1), None)
    single = [name for name in names if experiments[name].model.num_experts == 1]
    if several is None or not single:
        return
    environment, model = experiments[several].environment, experiments[several].model
    with closing(make_configured(environment)) as env:
        shape, num_actions = GraphShape.from_space(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    whole = live_parameters(shape, num_actions, model)
    for name in single:
        one = experiments[name].model
        number = live_parameters(shape, num_actions, one)
        if abs(number - whole) > TOLERANCE * whole:
            yield (
                f"{name}: {number} live parameters, {several} has {whole}; "
                f"expert_hidden_size={equal_hidden_size(shape, num_actions, one, whole)} has as many, "
                f"got {one.expert_hidden_size}"
            )

"""The check of an experiment against its environment: its network, its roles and what its phases give."""

from __future__ import annotations

from contextlib import closing

from rllib_moe.envs.arguments import ChangeableArguments
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_configured
from rllib_moe.experiment import Experiment
from rllib_moe.models.encoder_registry import encoder_errors
from rllib_moe.validation import collected


def fit_errors(experiment: Experiment, env: ChangeableArguments) -> list[str]:
    """Return the reasons why an experiment does not fit its environment; empty when it does."""
    phases, model = experiment.schedule.phases, experiment.model
    asking = [each.name for each in phases if each.first.role_coef or each.last.role_coef]
    shape = GraphShape.from_space(env.observation_space)
    return [
        *encoder_errors(model.graph_encoder),
        *model.errors(shape, [f"role_coef ({', '.join(asking)})"] if asking else []),
        *env.phase_errors(experiment.schedule),
    ]


def experiment_errors(experiment: Experiment) -> list[str]:
    """Return the same of an environment that is made for it, or the reasons why it cannot be made."""
    errors: list[str] = []
    with collected(errors), closing(make_configured(experiment.environment)) as env:
        errors += fit_errors(experiment, env)
    return errors

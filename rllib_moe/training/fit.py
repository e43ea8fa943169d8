"""The check of an experiment against its environment and this machine: its network, roles, phases and batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from rllib_moe.envs.description import describe
from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.registry import make_configured
from rllib_moe.experiment import Experiment
from rllib_moe.models.encoder_registry import encoder_errors
from rllib_moe.sampling.watchdog import Watchdog
from rllib_moe.validation.arguments import is_finite_number
from rllib_moe.validation.errors import ConfigError, collected


def check_fit(experiment: Experiment) -> tuple[GraphShape, int, Sequence[str]]:
    """Refuse an experiment that does not fit its environment, or whose batch does not fit into memory.

    Returns:
        Sizes of the environment's observation, its number of actions, and the names of the experts' roles, if any.

    Raises:
        ConfigError: naming every error.
    """
    model, phases, batch_size = experiment.model, experiment.schedule.phases, experiment.training.batch_size
    asking = [each.name for each in phases if each.first.role_coef or each.last.role_coef]
    with closing(make_configured(experiment.environment)) as env:
        shape, num_actions = GraphShape.from_space(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
        batch_bytes = batch_size * sum(leaf.nbytes for leaf in env.observation_space.sample().values())
        role_names = describe(env).role_names if experiment.teaches_roles else ()
        errors = [
            *encoder_errors(model.graph_encoder),
            *model.errors(shape, [f"role_coef ({', '.join(asking)})"] if asking else []),
            *env.phase_errors(experiment.schedule),
        ]
    if batch_bytes > (memory := psutil.virtual_memory().total):
        sizes = f"{memory / 1e9:.0f} GB of memory, those would take {batch_bytes / 1e9:.0f} GB"
        errors.append(f"batch_size: expected one whose observations fit into {sizes}; got {batch_size}")
    if errors:
        raise ConfigError(errors)
    return shape, num_actions, role_names


def try_environment(experiment: Experiment) -> None:
    """Begin an episode and take one step, so that an environment which cannot be played is refused before Ray starts.

    Later faults are the rollout workers' business, which replace an environment that breaks.

    Raises:
        ConfigError: The environment raises, hangs, or answers what the contract of observations does not allow.
    """
    environment = experiment.environment
    during = "reset"
    try:
        with closing(make_configured(environment)) as env, Watchdog(environment.step_timeout) as watchdog:
            space: Any = env.observation_space
            watchdog.watch()
            answer = env.reset(seed=experiment.training.seed)
            if not (isinstance(answer, tuple) and len(answer) == 2):
                raise TypeError(f"expected a pair of observation and info, got a {type(answer).__name__}")
            observation, info = answer
            check_observation(observation, space)
            _check_info(info)
            during = "the first step"
            watchdog.watch()
            observation, reward, _, _, info = env.step(np.argmax(observation.get("action_mask", 1)))
            watchdog.rest()
            check_observation(observation, space)
            _check_info(info)
            if not is_finite_number(reward := np.asarray(reward).tolist()):
                raise ValueError(f"reward: expected a finite number, got {reward!r}")
    except ConfigError:
        raise
    except Exception as error:  # whatever the environment raises
        told = f"{type(error).__name__}: {error}"
        raise ConfigError([f"env: {environment.env!r} cannot be played: {during}: {told}"]) from error


def _check_info(info: Any) -> None:
    if not isinstance(info, dict):
        raise TypeError(f"info: expected a dict, got {info!r}")


def experiment_errors(experiment: Experiment) -> list[str]:
    """Return the errors of `check_fit`, empty where there are none."""
    errors: list[str] = []
    with collected(errors):
        check_fit(experiment)
    return errors

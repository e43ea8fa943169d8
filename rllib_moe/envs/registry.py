"""The one way to make an environment from its name, checked against what a policy here can play.

Owns the short names, the outer limit on steps and the checks. Environments are imported only when asked for, so
``regimes`` runs without NetHack installed.
"""

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.arguments import ChangeableArguments, StepLimit
from rllib_moe.envs.description import name_errors
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.gym_graph import GraphObservation, holds_graph
from rllib_moe.validation.arguments import checks_arguments
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.imports import import_for
from rllib_moe.validation.words import did_you_mean

_SHORT_NAMES = {
    "nethack": "rllib_moe.envs.nethack.environment:NetHackGraphEnv",
    "regimes": "rllib_moe.envs.regimes:RegimesEnv",
}


@checks_arguments
def make_env(env_id: str, *, max_steps: StepLimit | None = None, **kwargs: Any) -> ChangeableArguments:
    """Make an environment with a graph observation and discrete actions.

    Args:
        env_id: A short name (``nethack``, ``regimes``), a registered gymnasium id, or ``module:id`` with a module to
            import first, which registers the id.
        max_steps: Steps after which an episode is truncated. Handed to an environment which takes an argument of
            this name, else kept by the wrapper; None keeps the environment's own limit.
        **kwargs: Arguments of the environment. ``max_nodes`` goes to :class:`GraphObservation` where the environment
            observes a ``spaces.Graph`` and does not take it itself.

    Returns:
        The environment, in a :class:`ChangeableArguments`; its observation space is one
        :meth:`GraphShape.from_space` reads.

    Raises:
        ValueError: The name or an argument is unknown (the nearest known is named), or the environment's spaces
            cannot be used; every error in one message.
        ImportError: The environment's module, or something it needs, is not installed.
    """
    creator, create = _creator(env_id)
    parameters = inspect.signature(creator).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    is_given = "max_steps" in parameters and max_steps is not None
    if is_given:
        kwargs["max_steps"] = max_steps
    wrapper_kwargs = {}
    if "max_nodes" in kwargs and "max_nodes" not in parameters:
        wrapper_kwargs["max_nodes"] = kwargs.pop("max_nodes")
    if not takes_any and (unknown := sorted(kwargs.keys() - parameters.keys())):
        known = sorted(set(parameters) | {"max_steps"})
        told = "; ".join(f"'{name}'{did_you_mean(name, known)}" for name in unknown)
        raise ValueError(f"environment '{env_id}' takes no argument {told}")
    try:
        env = create(kwargs)
    except (ValueError, TypeError, ImportError):
        raise
    except Exception as error:  # whatever a user's environment raises
        raise ValueError(f"environment '{env_id}' cannot be made: {type(error).__name__}: {error}") from error
    try:
        if holds_graph(env.observation_space):
            env = GraphObservation(env, **wrapper_kwargs)
        elif wrapper_kwargs:
            raise ValueError("max_nodes has no effect: it is not an argument, nor is the observation a spaces.Graph")
        if errors := _errors(env):
            raise ValueError("; ".join(errors))
    except ValueError as error:
        env.close()
        raise ValueError(f"environment '{env_id}' cannot be used: {error}") from error
    return ChangeableArguments(env, max_steps, is_given=is_given)


def make_configured(environment: EnvironmentConfig, **arguments: Any) -> ChangeableArguments:
    """Make the environment of an experiment; `arguments` come on top of its own.

    Raises:
        ConfigError: It cannot be made, for the reasons that :func:`make_env` gives.
    """
    try:
        return make_env(environment.env, max_steps=environment.max_steps, **environment.env_args, **arguments)
    except ConfigError as error:
        raise ConfigError(f"env_args.{each}" for each in error.errors) from None
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"env: {error}"]) from error


def prepare(env_id: str) -> None:
    """Do what is better done once before several processes make this environment: compile, clear what a crash left.

    That is the class's own ``prepare()``, a static method without arguments, where it has one. Plays nothing.

    Args:
        env_id: As for :func:`make_env`.
    """
    creator, _ = _creator(env_id)
    if isinstance(work := inspect.getattr_static(creator, "prepare", None), staticmethod):
        work()


def _creator(
    env_id: str,
) -> tuple[Callable[..., Any], Callable[[dict[str, Any]], gymnasium.Env[Any, Any]]]:
    """Source of an environment's arguments, and its maker."""
    if env_id in _SHORT_NAMES:
        creator: Callable[..., Any] = load_env_creator(_SHORT_NAMES[env_id])
        return creator, lambda kwargs: creator(**kwargs)
    module, _, name = env_id.rpartition(":")
    if module:
        import_for(module, f"environment '{env_id}': cannot import {module!r}")
    spec = gymnasium.registry.get(name)
    if spec is None or spec.entry_point is None:
        known = [*_SHORT_NAMES, *gymnasium.registry]
        raise ValueError(
            f"unknown environment '{env_id}'{did_you_mean(name, known, otherwise='')}; known are "
            f"{', '.join(_SHORT_NAMES)} and every registered gymnasium id, with its version ('module:id' "
            "imports a module first)"
        )
    entry_point = spec.entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    # The contract's own tests check environments; gymnasium's checker would do so at every step.
    return creator, lambda kwargs: gymnasium.make(name, disable_env_checker=True, **kwargs)


def _errors(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Return the reasons why an environment cannot be played."""
    errors = []
    actions = env.action_space
    if not isinstance(actions, spaces.Discrete):
        errors.append(f"the action space must be Discrete, got {actions}")
    elif actions.start != 0:
        errors.append(f"the action space must start at 0, got {actions}")
    try:
        shape = GraphShape.from_space(env.observation_space)
    except ValueError as error:
        return [*errors, str(error)]
    if isinstance(actions, spaces.Discrete) and shape.num_actions not in (None, int(actions.n)):
        errors.append(f"leaf 'action_mask' has {shape.num_actions} places for {actions.n} actions")
    if env.has_wrapper_attr("changeable"):
        unkept = [name for name in env.get_wrapper_attr("changeable") if not env.has_wrapper_attr(name)]
        errors += [f"changeable: argument '{name}' is kept in no attribute of its name" for name in unkept]
    return [*errors, *name_errors(env)]

"""Arguments of an environment that may change while it lives: the limit on steps, and those that it declares.

An environment, or a wrapper of it, declares them by an attribute ``changeable``: a mapping from an argument's name to
its type, an annotation as pydantic reads it, such as ``Annotated[float, Field(ge=0, le=1)]``. It keeps each in an
attribute of the same name, which is set between two episodes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import gymnasium
from pydantic import Field

from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.arguments import value_errors
from rllib_moe.validation.words import did_you_mean

StepLimit = Annotated[int, Field(ge=1)]
"""Type of ``max_steps``."""


@functools.cache
def _step_limit(most: int) -> Any:
    """Return the type of a limit that can only be lowered: one for all environments, so that its check is made once."""
    return Annotated[int, Field(ge=1, le=most)]


class ChangeableArguments(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Sets arguments at the next reset, and truncates episodes after ``max_steps`` where the environment does not.

    New values come by :meth:`set_arguments` or ``reset(options={"env": {...}})``.

    Args:
        env: The environment.
        max_steps: The limit on steps; None for none but the environment's own.
        is_given: Whether the environment took the limit as an argument. If it does not declare that as changeable, the
            limit can only be lowered.

    Attributes:
        changeable: Types of all arguments that may change, ``max_steps`` included.
        own_arguments: Values of these that the environment was made with.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], max_steps: int | None, *, is_given: bool) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, max_steps=max_steps, is_given=is_given)
        super().__init__(env)
        declared: Mapping[str, Any] = env.get_wrapper_attr("changeable") if env.has_wrapper_attr("changeable") else {}
        self._declared = frozenset(declared)
        limit = _step_limit(max_steps) if is_given and max_steps is not None else StepLimit
        self.changeable: Mapping[str, Any] = {"max_steps": limit, **declared}
        self.own_arguments = {"max_steps": max_steps, **{name: env.get_wrapper_attr(name) for name in declared}}
        self._limit = None if is_given else max_steps
        self._steps = 0
        self._changed: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """Values of all arguments that may change, in the present episode."""
        return {**self.own_arguments, **self._changed}

    def errors(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments that may not change, and the values that do not fit, in words."""
        known = {name: value for name, value in values.items() if name in self.changeable}
        errors = [
            f"{name}: may not change while the environment lives{did_you_mean(name, self.changeable)}"
            for name in sorted(values.keys() - known.keys())
        ]
        return [*errors, *value_errors(self.changeable, known)]

    def phase_errors(self, schedule: PhaseSchedule) -> list[str]:
        """Return the reasons why the environment cannot take what the phases give, at both ends of every ramp."""
        names = [name for name in schedule.env_names if name in self.own_arguments]
        own = {name: self.own_arguments[name] for name in names}
        ends = [(phase.name, {**own, **end.env}) for phase in schedule.phases for end in (phase.first, phase.last)]
        return list(dict.fromkeys(f"{name}.env.{error}" for name, values in ends for error in self.errors(values)))

    def phase_arguments(self, schedule: PhaseSchedule, episode: int) -> dict[str, Any]:
        """Return the arguments in an episode: those that its phase gives, and its own of those that another one gives.

        A number between the ends of a ramp is rounded where only whole ones fit.
        """
        arguments = {name: self.own_arguments[name] for name in schedule.env_names} | schedule.at(episode).env
        return {
            name: round(value) if isinstance(value, float) and value_errors(self.changeable, {name: value}) else value
            for name, value in arguments.items()
        }

    def set_arguments(self, **values: Any) -> None:
        """Take new values of arguments at the next reset.

        Raises:
            ValueError: An argument may not change, or a value does not fit; every error in one message.
        """
        if errors := self.errors(values):
            raise ValueError("arguments of the environment: " + "; ".join(errors))
        self._pending |= values

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Set the new values and begin an episode; ``options["env"]`` holds further ones."""
        options = dict(options or {})
        self.set_arguments(**options.pop("env", {}))
        self._change(self._pending)
        self._pending = {}
        self._steps = 0
        return self.env.reset(seed=seed, options=options or None)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment and cut the episode at the limit."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        return observation, reward, terminated, truncated or self._steps == self._limit, info

    def get_state(self) -> dict[str, Any]:
        """Return the steps of the episode and what was changed (see `saved_state.Saveable`)."""
        return {"steps": self._steps, "changed": self._changed, "pending": self._pending}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state by `get_state`."""
        self._steps, self._pending = state["steps"], state["pending"]
        self._change(state["changed"])

    def _change(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in self._declared:
                self.env.set_wrapper_attr(name, value)
            else:
                self._limit = value
        self._changed = {**self._changed, **values}

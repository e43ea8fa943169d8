"""The phase schedule: a pure function from the global episode count to the values that are active then.

`PhaseConfig` is the one place where a value of a phase is declared. Buffers of the network, checks, logged metrics, the
YAML form and the documentation follow from its fields; a new value needs a field here and its use in the loss. Knows
neither torch nor Ray: `callbacks/curriculum.py` carries a phase to the network and the optimizer.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from rllib_moe.validation.arguments import is_finite_number
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings
from rllib_moe.validation.words import did_you_mean
from rllib_moe.validation.yaml_files import bundled_files

GATES = ("softmax", "entmax15", "sparsemax")
"""Gates that come with the package, from soft to sparse; `models/routing.py` has the functions."""
NAME_BYTES = 128
"""Longest name of a gate: what a network's phase state has room for."""
BUNDLED = bundled_files(Path(__file__).parent)
"""Files of the schedules that come with the package, by name."""


def phase_value(*, off: float | None, unit: str = "1", required: bool = False, **bounds: Any) -> Any:
    """Declare a value of a phase.

    Args:
        off: Value of a network before any phase, and of a checkpoint or schedule that is older than the value.
        unit: Unit of the logged metric.
        required: Whether a schedule must give the value.
        **bounds: `ge`, `gt`, `le` or `lt`, as for pydantic.
    """
    return Field(default=... if required else off, json_schema_extra={"off": off, "unit": unit}, **bounds)


class PhaseConfig(Settings):
    """Values that are active at one episode."""

    name: str = Field(min_length=1)
    """Name of the phase, for people."""
    routing: str
    """Gate function: one of `GATES`, or `module:function` for one of your own (see `models/routing.py`)."""
    temperature: float = phase_value(off=1.0, required=True, gt=0)
    """Divisor of the router's logits."""
    learning_rate: float = phase_value(off=0.0, required=True, gt=0)
    """Adam's learning rate."""
    entropy_coef: float = phase_value(off=0.0, required=True, ge=0)
    """Weight of the action entropy bonus in PPO's loss."""
    alpha_entropy_coef: float = phase_value(off=0.0)
    """Weight of the alpha entropy term; below 0 it punishes an undecided gate instead of rewarding it."""
    alpha_entropy_target: float | None = phase_value(off=None, unit="nats", ge=0)
    """Alpha entropy aimed at; above ln(num_experts) it means that. None (NaN where logged): a plain bonus."""
    load_balance_coef: float = phase_value(off=0.0, ge=0)
    """Weight of the load balance loss."""
    diversity_coef: float = phase_value(off=0.0, ge=0)
    """Weight of the expert diversity loss."""
    persistence_coef: float = phase_value(off=0.0, ge=0)
    """Weight of the persistence loss, by which experts divide situations that last."""
    role_coef: float = phase_value(off=0.0, ge=0)
    """Weight of the role loss, by which experts take over the roles that the environment names."""
    env: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the environment from its next reset on; the experiment's own hold where the phase gives none."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name == "*":
            raise ValueError("expected a name other than '*', which means every phase")
        if name.endswith(".env"):
            raise ValueError(f"expected a name that does not end in '.env', got {name!r}")
        return name

    @field_validator("routing")
    @classmethod
    def _check_routing(cls, routing: str) -> str:
        if routing not in GATES and ":" not in routing:
            hint = did_you_mean(routing, GATES, otherwise="")
            raise ValueError(f"expected one of {', '.join(GATES)} or module:function, got {routing!r}{hint}")
        if len(routing.encode()) > NAME_BYTES:
            raise ValueError(f"expected at most {NAME_BYTES} bytes, got {routing!r}")
        return routing


@dataclass(frozen=True)
class PhaseValue:
    """Declaration of one value of a phase, read from a field of `PhaseConfig`."""

    name: str
    """Name of the field."""
    off: float | None
    """Value of a network before any phase."""
    unit: str
    """Unit."""
    meaning: str
    """Meaning in one sentence."""


def _values() -> Iterator[PhaseValue]:
    for name, field in PhaseConfig.model_fields.items():
        if isinstance(extra := field.json_schema_extra, dict) and "off" in extra:
            off: Any = extra["off"]
            yield PhaseValue(name, off, str(extra["unit"]), str(field.description).rstrip("."))


VALUES = {value.name: value for value in _values()}
"""The values of a phase by name; each may ramp."""
KEYS = ("name", "start", *(name for name in PhaseConfig.model_fields if name != "name"))
"""Keys of a phase in a schedule's plain form."""


@dataclass(frozen=True)
class Phase:
    """A phase of the schedule: its first episode, that of the next one, and the values at both."""

    start: int
    """First episode."""
    end: int | None
    """First episode of the next phase; None for the last phase."""
    first: PhaseConfig
    """Values at the first episode."""
    last: PhaseConfig
    """Values that the phase approaches; the same as `first` where nothing ramps."""

    @property
    def name(self) -> str:
        """Name of the phase."""
        return self.first.name

    def at(self, episode: int) -> PhaseConfig:
        """Return the values at an episode of the phase."""
        if self.end is None or self.first == self.last:
            return self.first
        fraction = (episode - self.start) / (self.end - self.start)
        values = _joined(dict(self.first), dict(self.last), lambda first, last: first + (last - first) * fraction)
        return self.first.model_copy(update=values)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form: a ramp is `[from, to]`."""
        values = _joined(self.first.to_dict(), self.last.to_dict(), lambda first, last: [first, last])
        return {"name": values.pop("name"), "start": self.start, **values}


def _joined(first: Mapping[str, Any], last: Mapping[str, Any], join: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """Return the values at both ends of a phase, joined where they differ; the environment's each by itself."""

    def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value if value == other[name] else join(value, other[name]) for name, value in one.items()}

    env = joined(first["env"], last["env"])
    return joined({**first, "env": env}, {**last, "env": env})


def _read_phases(rows: Any) -> tuple[Phase, ...]:
    """Read the phases from their plain form.

    Raises:
        ConfigError: naming every error.
    """
    if not isinstance(rows, list) or not rows:
        raise ConfigError([f"phases: expected a list of at least one phase, got {rows!r}"])
    errors: list[str] = []
    phases = [_read_phase(rows, index, errors) for index in range(len(rows))]
    errors += _order_errors([row for row in rows if isinstance(row, Mapping)])
    if errors:
        raise ConfigError(errors)
    return tuple(phase for phase in phases if phase)


def _read_phase(rows: Sequence[Any], index: int, errors: list[str]) -> Phase | None:
    """Read one phase; errors are appended to the list."""
    row, later = rows[index], rows[index + 1 :]
    if not isinstance(row, Mapping):
        errors.append(f"phases[{index}]: expected a mapping, got {row!r}")
        return None
    start, where, found = row.get("start"), str(row.get("name") or f"phases[{index}]"), []
    if not is_episode(start):
        found.append(
            f"start: expected a whole episode number, 0 or more, got {start!r}" if "start" in row else "start: missing"
        )
    values = {str(key): value for key, value in row.items() if key != "start"}
    env = values["env"] if isinstance(values.get("env"), Mapping) else {}
    ramps = {key: value for key, value in values.items() if key in VALUES and _is_ramp(value)}
    env_ramps = {name: value for name, value in env.items() if _is_ramp(value)}
    if not later:
        told = "the last phase has no end, so it can't ramp; give one number or add a phase"
        found += [f"{key}: {told}" for key in (*ramps, *(f"env.{name}" for name in env_ramps))]
    ends = []
    for side in (0, 1):
        at_end = {key: ramp[side] for key, ramp in ramps.items()}
        if env_ramps:
            at_end["env"] = {**env, **{name: ramp[side] for name, ramp in env_ramps.items()}}
        try:
            ends.append(PhaseConfig(**values | at_end))
        except ConfigError as error:
            found += error.errors
    errors += dict.fromkeys(f"{where}.{error}" if ": " in error else f"{where}: {error}" for error in found)
    end = later[0].get("start") if later and isinstance(later[0], Mapping) else None
    return None if found else Phase(row["start"], end, *ends)


def is_episode(value: Any) -> bool:
    """Return whether a value is an episode count."""
    return type(value) is int and value >= 0


def _is_ramp(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_finite_number, value))


def _order_errors(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [str(row["name"]) for row in rows if "name" in row]
    if len(set(names)) < len(names):
        yield f"names: expected each once, got {', '.join(names)}"
    starts = [(str(row.get("name")), row.get("start")) for row in rows]
    if starts and is_episode(starts[0][1]) and starts[0][1] != 0:
        yield f"{starts[0][0]}.start: the first phase must begin at episode 0, got {starts[0][1]}"
    for (before, first), (after, second) in itertools.pairwise(starts):
        if is_episode(first) and is_episode(second) and second <= first:  # type: ignore[operator]
            yield f"{after}.start: must come after {before}'s start {first}, got {second}"


class PhaseSchedule(Settings):
    """Phases in order of their first episode.

    Raises:
        ConfigError: naming every error (order, range, routing, ramps without an end).
    """

    file_kind: ClassVar[str] = "schedule"
    bundled: ClassVar[Mapping[str, Path]] = BUNDLED

    phases: Annotated[
        tuple[Phase, ...],
        PlainValidator(_read_phases),
        PlainSerializer(lambda phases: [phase.to_dict() for phase in phases]),
    ]
    """The phases."""

    def at(self, episode: int) -> PhaseConfig:
        """Return the values that are active at a global episode count.

        Args:
            episode: Episodes finished so far over the whole run, 0 or more.

        Raises:
            ValueError: `episode` is negative.
        """
        if episode < 0:
            raise ValueError(f"episode: expected 0 or more, got {episode}")
        return self.phase_at(episode).at(episode)

    def phase_at(self, episode: int) -> Phase:
        """Return the phase that is active at an episode."""
        return self.phases[bisect_right([phase.start for phase in self.phases], episode) - 1]

    @property
    def env_names(self) -> tuple[str, ...]:
        """Names of the environment's arguments that any phase gives."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.first.env))

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First episodes of all phases but the first."""
        return tuple(phase.start for phase in self.phases[1:])

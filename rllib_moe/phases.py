"""The phase schedule: what the curriculum asks for at a given episode.

A `PhaseSchedule` is a pure function from the global episode count to a `PhaseConfig` (routing, temperature, learning
rate and loss coefficients), with its YAML form. What a schedule must look like is in `phase_checks.py`. It knows
neither torch nor Ray: `callbacks/phase_curriculum.py` carries a phase to the network and the optimizer.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rllib_moe.errors import did_you_mean
from rllib_moe.phase_checks import PHASE_KEYS, VALUE_KEYS, ScheduleError, number, schedule_faults

BUNDLED = ("default", "v3")


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """What holds at one episode. Plain values, ready to be applied."""

    name: str
    """Name of the phase, for people."""
    routing: str
    """Gate function, one of `phase_checks.ROUTINGS`."""
    temperature: float
    """Divisor of the router's logits, above 0."""
    learning_rate: float
    """Adam's learning rate."""
    entropy_coef: float
    """Weight of the action entropy bonus in PPO's loss."""
    alpha_entropy_coef: float
    """Weight of the gate (alpha) entropy term."""
    alpha_entropy_target: float | None
    """Gate entropy aimed at, in nats; above ln(num_experts) it means ln(num_experts). None: a plain entropy bonus."""
    load_balance_coef: float
    """Weight of the load balance loss."""
    diversity_coef: float
    """Weight of the expert diversity loss."""


@dataclass(frozen=True)
class Ramp:
    """A line from `start` at its phase's first episode to `end` at the next phase's first episode."""

    start: float
    end: float


Value = float | Ramp


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One row of the schedule: the fields of `PhaseConfig`, each constant or a ramp, and the episode it begins at."""

    name: str
    start: int
    routing: str
    temperature: Value
    learning_rate: Value
    entropy_coef: Value
    alpha_entropy_coef: Value
    load_balance_coef: Value
    diversity_coef: Value
    alpha_entropy_target: Value | None = None

    def at(self, episode: int, end: int | None) -> PhaseConfig:
        """Values at `episode`; `end` is the next phase's first episode, None for the last phase."""
        fraction = 0.0 if end is None else (episode - self.start) / (end - self.start)
        values = {name: _interpolate(getattr(self, name), fraction) for name in VALUE_KEYS}
        return PhaseConfig(name=self.name, routing=self.routing, **values)  # type: ignore[arg-type]


def _interpolate(value: Value | None, fraction: float) -> float | None:
    if isinstance(value, Ramp):
        return value.start + (value.end - value.start) * fraction
    return value


def _value(value: Any) -> Value | None:
    """One value of a checked row: None, a number, or a ramp given as `[start, end]`."""
    if value is None:
        return None
    return Ramp(*map(number, value)) if isinstance(value, (list, tuple)) else number(value)


@dataclass(frozen=True)
class PhaseSchedule:
    """Phases in order of their first episode. Checked on construction.

    Raises:
        ScheduleError: naming every fault (order, range, routing, ramps without an end).
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if faults := schedule_faults(self.to_dict()):
            raise ScheduleError(faults)

    def at(self, episode: int) -> PhaseConfig:
        """Return what holds at the given global episode count.

        Args:
            episode: episodes finished so far over the whole run, 0 or more.

        Raises:
            ValueError: `episode` is negative.
        """
        if episode < 0:
            raise ValueError(f"episode: expected 0 or more, got {episode}")
        index = self.index_at(episode)
        return self.phases[index].at(episode, self.end_of(index))

    def index_at(self, episode: int) -> int:
        """Position of the phase that holds at `episode`."""
        return bisect_right([phase.start for phase in self.phases], episode) - 1

    def end_of(self, index: int) -> int | None:
        """First episode after the phase at `index`; None for the last one."""
        return self.phases[index + 1].start if index + 1 < len(self.phases) else None

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First episodes of all phases but the first."""
        return tuple(phase.start for phase in self.phases[1:])

    def with_boundaries(self, boundaries: Sequence[int]) -> PhaseSchedule:
        """Return the same phases beginning at 0 and at the given episodes.

        Raises:
            ScheduleError: not one boundary for each phase after the first, or out of order.
        """
        if len(boundaries) != len(self.phases) - 1:
            raise ScheduleError(
                [f"boundaries: expected {len(self.phases) - 1} for {len(self.phases)} phases, got {list(boundaries)}"]
            )
        starts = [0, *boundaries]
        return PhaseSchedule(
            tuple(dataclasses.replace(phase, start=start) for phase, start in zip(self.phases, starts, strict=True))
        )

    def with_overrides(self, overrides: Mapping[str, Any]) -> PhaseSchedule:
        """Return the schedule with single values replaced.

        Args:
            overrides: `{"transition.temperature": [1.0, 0.5], "*.load_balance_coef": 0.02}`; `*` means every phase.

        Raises:
            ScheduleError: an unknown phase or key, or a value out of range.
        """
        rows = self.to_dict()["phases"]
        names = [row["name"] for row in rows]
        faults: list[str] = []
        for path, value in overrides.items():
            name, dot, key = path.rpartition(".")  # a name may hold dots, a key holds none
            if not dot:
                faults.append(f"{path}: expected <phase>.<key>, such as {names[0]}.temperature or *.temperature")
            elif name != "*" and name not in names:
                faults.append(f"{path}: no phase {name!r}{did_you_mean(name, names)}")
            elif key not in PHASE_KEYS:
                faults.append(f"{path}: unknown key {key!r}{did_you_mean(key, PHASE_KEYS)}")
            else:
                for row in rows:
                    if name in ("*", row["name"]):
                        row[key] = value
        if faults:
            raise ScheduleError([*faults, *schedule_faults({"phases": rows})], "schedule override")
        return PhaseSchedule.from_dict({"phases": rows})

    def to_dict(self) -> dict[str, Any]:
        """Plain form, the inverse of `from_dict`: ramps are `[start, end]`."""
        return {
            "phases": [
                {
                    key: [value.start, value.end] if isinstance(value, Ramp) else value
                    for key, value in vars(phase).items()
                }
                for phase in self.phases
            ]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "schedule") -> PhaseSchedule:
        """Build from the plain form.

        Raises:
            ScheduleError: unknown or missing keys, values of the wrong kind, or any fault of the schedule itself.
        """
        if faults := schedule_faults(data):
            raise ScheduleError(faults, source)
        rows: Iterator[dict[str, Any]] = (
            {key: _value(value) if key in VALUE_KEYS else value for key, value in row.items()} for row in data["phases"]
        )
        return cls(tuple(Phase(**row) for row in rows))

    @classmethod
    def load(cls, source: str | Path) -> PhaseSchedule:
        """Read a schedule by the name of a bundled one (`BUNDLED`) or from a YAML file.

        Raises:
            ScheduleError: no such file, not YAML, or refused by `from_dict`.
        """
        try:
            if str(source) in BUNDLED:
                text = resources.files("rllib_moe").joinpath("schedules", f"{source}.yaml").read_text()
            else:
                text = Path(source).read_text()
            data = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ScheduleError(
                [f"cannot read {str(source)!r} ({reason}); expected a YAML file or one of {', '.join(BUNDLED)}"]
            ) from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
            raise ScheduleError([f"{source} is not YAML: {error}"]) from error
        return cls.from_dict(data, f"schedule {source}")

    def save(self, path: Path) -> None:
        """Write the YAML form to `path`."""
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

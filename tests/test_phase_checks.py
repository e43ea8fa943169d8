"""Every refusal of a schedule: one clear message that names each fault."""

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from rllib_moe.phase_checks import (
    PHASE_KEYS,
    POSITIVE_KEYS,
    VALUE_KEYS,
    ScheduleError,
    number,
    schedule_faults,
)
from rllib_moe.phases import Phase, PhaseSchedule

MISSING = object()


def rows(*changes: tuple[int, str, Any]) -> dict[str, Any]:
    """The plain form of v3 with `(phase, key, value)` changed; `MISSING` removes the key."""
    data = PhaseSchedule.load("v3").to_dict()
    for phase, key, value in changes:
        if value is MISSING:
            del data["phases"][phase][key]
        else:
            data["phases"][phase][key] = value
    return data


def test_v3_has_no_faults() -> None:
    assert schedule_faults(rows()) == []


class TestOneFault:
    """Each of these is refused with exactly one fault, which names the place, what was expected and what was given."""

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ((0, "start", 1), "warmup.start: the first phase must begin at episode 0, got 1"),
            ((2, "start", 1000), "fine-tune.start: must come after transition's start 1000, got 1000"),
            ((2, "start", 999), "fine-tune.start: must come after transition's start 1000, got 999"),
            ((1, "start", 0), "transition.start: must come after warmup's start 0, got 0"),
            ((0, "start", -1), "warmup.start: expected a whole episode number, 0 or more, got -1"),
            ((1, "start", 4000), "fine-tune.start: must come after transition's start 4000, got 3000"),
            ((0, "temprature", 1), "warmup: unknown key 'temprature' (did you mean 'temperature'?)"),
            ((1, "name", "warmup"), "names: expected each once, got warmup, warmup, fine-tune"),
            ((1, "name", 7), "7.name: expected a non-empty string other than '*', got 7"),
            ((1, "name", ""), "phases[1].name: expected a non-empty string other than '*', got ''"),
            ((1, "name", "*"), "*.name: expected a non-empty string other than '*', got '*'"),
            (
                (2, "temperature", [1.0, 0.5]),
                "fine-tune.temperature: the last phase has no end, so it can't ramp; give one number or add a phase",
            ),
        ],
    )
    def test_named(self, change: tuple[int, str, Any], fault: str) -> None:
        assert schedule_faults(rows(change)) == [fault]

    def test_unknown_key_with_nothing_near_lists_all(self) -> None:
        (fault,) = schedule_faults(rows((0, "zzz", 1)))
        assert fault == f"warmup: unknown key 'zzz'; expected one of {', '.join(PHASE_KEYS)}"

    @pytest.mark.parametrize("key", [5, None, True])
    def test_unknown_key_that_is_no_string(self, key: Any) -> None:
        (fault,) = schedule_faults(rows((0, key, 1)))
        assert fault.startswith(f"warmup: unknown key {key!r}")

    @pytest.mark.parametrize("key", [key for key in PHASE_KEYS if key != "alpha_entropy_target"])
    def test_missing_key(self, key: str) -> None:
        where = "phases[1]" if key == "name" else "transition"
        assert schedule_faults(rows((1, key, MISSING))) == [f"{where}.{key}: missing"]

    @pytest.mark.parametrize("key", POSITIVE_KEYS)
    @pytest.mark.parametrize("value", [0, 0.0, -1, -1e-9, [1.0, 0.0], [0.0, 1.0], "0"])
    def test_not_above_zero(self, key: str, value: Any) -> None:
        assert schedule_faults(rows((1, key, value))) == [f"transition.{key}: expected above 0, got {value!r}"]

    @pytest.mark.parametrize("key", [key for key in VALUE_KEYS if key not in POSITIVE_KEYS])
    @pytest.mark.parametrize("value", [-1, -1e-9, [-0.1, 0.1], [0.1, -0.1], "-1"])
    def test_negative_coefficient(self, key: str, value: Any) -> None:
        assert schedule_faults(rows((1, key, value))) == [f"transition.{key}: expected 0 or more, got {value!r}"]

    @pytest.mark.parametrize("key", VALUE_KEYS)
    @pytest.mark.parametrize(
        "value",
        [
            math.nan,
            math.inf,
            -math.inf,
            True,
            False,
            "warm",
            "nan",
            "inf",
            "",
            [],
            [1.0],
            [1.0, 0.5, 0.1],
            [1.0, math.nan],
            [1.0, None],
            [1.0, True],
            [[1.0, 0.5], 1.0],
            {"start": 1.0, "end": 0.5},
            pytest.param(10**400, id="huge"),
            object,
        ],
    )
    def test_no_finite_number(self, key: str, value: Any) -> None:
        expected = f"transition.{key}: expected a finite number or [start, end], got {value!r}"
        assert schedule_faults(rows((1, key, value))) == [expected]

    @pytest.mark.parametrize("key", VALUE_KEYS)
    def test_none_is_only_for_the_target(self, key: str) -> None:
        faults = schedule_faults(rows((1, key, None)))
        assert (faults == []) == (key == "alpha_entropy_target")

    @pytest.mark.parametrize("value", [-1, 1000.0, "1000", True, None, [0, 1]])
    def test_start_that_is_no_episode(self, value: Any) -> None:
        expected = f"transition.start: expected a whole episode number, 0 or more, got {value!r}"
        assert schedule_faults(rows((1, "start", value))) == [expected]

    @pytest.mark.parametrize("value", ["top2", "Softmax", None, 1, [], {}])
    def test_unknown_routing(self, value: Any) -> None:
        expected = f"transition.routing: expected one of softmax, entmax15, sparsemax, got {value!r}"
        assert schedule_faults(rows((1, "routing", value))) == [expected]


class TestShape:
    @pytest.mark.parametrize(
        "data",
        [
            None,
            [],
            "phases",
            3,
            {},
            {"phase": []},
            {"phases": {}},
            {"phases": "warmup"},
            {**rows(), "x": 1},
        ],
    )
    def test_no_list_of_phases(self, data: Any) -> None:
        assert schedule_faults(data) == ["expected one key 'phases' holding a list of phases"]

    def test_no_phase(self) -> None:
        assert schedule_faults({"phases": []}) == ["phases: expected at least one"]

    def test_phase_that_is_no_mapping(self) -> None:
        data = rows()
        data["phases"].insert(1, "transition")
        assert schedule_faults(data) == ["phases[1]: expected a mapping, got 'transition'"]


class TestMessage:
    def test_names_every_fault_at_once(self) -> None:
        data = rows(
            (0, "start", 5),
            (0, "temperature", -1),
            (1, "routing", "top2"),
            (1, "load_balnce_coef", 1),
            (1, "learning_rate", MISSING),
            (2, "start", 10),
            (2, "diversity_coef", math.nan),
        )
        with pytest.raises(ScheduleError) as refused:
            PhaseSchedule.from_dict(data, "schedule mine.yaml")
        message = str(refused.value)
        assert message.splitlines()[0] == "schedule mine.yaml refused:"
        assert len(message.splitlines()) == 1 + 7
        for word in ("warmup.start", "warmup.temperature", "top2", "load_balnce_coef", "learning_rate", "nan"):
            assert word in message

    def test_a_schedule_built_by_hand_is_checked_too(self) -> None:
        values = dict.fromkeys((key for key in VALUE_KEYS), 0.5)
        phase = Phase(name="a", start=3, routing="top2", **values)
        with pytest.raises(ScheduleError) as refused:
            PhaseSchedule((phase,))
        assert len(refused.value.faults) == 2

    def test_survives_pickling_as_ray_does_it(self) -> None:
        error = pickle.loads(pickle.dumps(ScheduleError(["one", "two"], "schedule x")))
        assert (error.errors, error.source, str(error)) == (
            ("one", "two"),
            "schedule x",
            "schedule x refused:\n  - one\n  - two",
        )


class TestFile:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ScheduleError, match=r"cannot read '.*nowhere.yaml' \(No such file.*one of default, v3"):
            PhaseSchedule.load(tmp_path / "nowhere.yaml")

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ScheduleError, match="Is a directory"):
            PhaseSchedule.load(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [b"phases: [", b"\tphases: 1", b"a: b: c", b"phases:\n  - start: 2024-99-99\n", b"{[1]: 2}", b"a\x00b"],
    )
    def test_not_yaml(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "schedule.yaml"
        path.write_bytes(content)
        with pytest.raises(ScheduleError, match="is not YAML") as refused:
            PhaseSchedule.load(path)
        assert str(path) in str(refused.value)

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "schedule.yaml"
        path.write_bytes(b"\x80\x81\xff")
        with pytest.raises(ScheduleError, match=r"cannot read .*codec can't decode"):
            PhaseSchedule.load(path)

    @pytest.mark.parametrize("content", ["", "just words", "[1, 2]", "phases: 3"])
    def test_yaml_but_no_schedule(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "schedule.yaml"
        path.write_text(content)
        with pytest.raises(ScheduleError, match="expected one key 'phases'") as refused:
            PhaseSchedule.load(path)
        assert refused.value.source == f"schedule {path}"


class TestNumber:
    @pytest.mark.parametrize(("value", "read"), [(1, 1.0), (0.5, 0.5), ("1e-4", 1e-4), (" 2 ", 2.0)])
    def test_read(self, value: Any, read: float) -> None:
        assert number(value) == read
        assert type(number(value)) is float

    @pytest.mark.parametrize("value", [True, None, [], {}, "x", math.nan, "inf", -(10**400)])
    def test_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"no number|not finite|could not convert"):
            number(value)

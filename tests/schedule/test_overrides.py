"""Overrides of a schedule by name: boundaries, values, ends of ramps, arguments of the environment."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError


def v3() -> PhaseSchedule:
    return PhaseSchedule.load("v3")


class TestBoundaries:
    @pytest.mark.parametrize("boundary", [1, 10, 77])
    def test_edges_move(self, boundary: int) -> None:
        schedule = override_schedule(v3(), {"phase_boundaries": [boundary, boundary + 100]})
        names = [schedule.at(each).name for each in (boundary - 1, boundary, boundary + 99, boundary + 100)]
        assert names == ["warmup", "transition", "transition", "fine-tune"]
        # The ramp is stretched to its phase: halfway is 0.75 again.
        assert schedule.at(boundary + 50).temperature == pytest.approx(0.75, rel=1e-12)

    def test_a_text_of_numbers_is_a_list(self) -> None:
        assert override_schedule(v3(), {"phase_boundaries": "300, 700"}).boundaries == (300, 700)

    def test_own_boundaries_change_nothing(self) -> None:
        assert override_schedule(v3(), {"phase_boundaries": list(v3().boundaries)}) == v3()

    @pytest.mark.parametrize(
        ("boundaries", "message"),
        [
            ([10], "phase_boundaries: expected 2 for 3 phases, got [10]"),
            ([10, 20, 30], "phase_boundaries: expected 2 for 3 phases, got [10, 20, 30]"),
            ([20, 20], "fine-tune.start: must come after transition's start 20, got 20"),
            ([20, 10], "fine-tune.start: must come after transition's start 20, got 10"),
            ([0, 10], "transition.start: must come after warmup's start 0, got 0"),
            ([-5, 10], "phase_boundaries: expected whole episode numbers such as 1000,3000, got [-5, 10]"),
            ([5.0, 10], "phase_boundaries: expected whole episode numbers such as 1000,3000, got [5.0, 10]"),
            ("5,b", "phase_boundaries: expected whole episode numbers such as 1000,3000, got [5, 'b']"),
            ([True, 10], "phase_boundaries: expected whole episode numbers such as 1000,3000, got [True, 10]"),
        ],
    )
    def test_refused(self, boundaries: list[Any], message: str) -> None:
        with pytest.raises(ConfigError) as refused:
            override_schedule(v3(), {"phase_boundaries": boundaries})
        assert message in refused.value.errors


class TestOverrides:
    def test_one_value(self) -> None:
        schedule = override_schedule(v3(), {"warmup.learning_rate": 3e-4, "fine-tune.routing": "entmax15"})
        assert schedule.at(0).learning_rate == 3e-4
        assert schedule.at(3000).routing == "entmax15"
        assert schedule.at(1000) == v3().at(1000)

    def test_a_ramp(self) -> None:
        schedule = override_schedule(v3(), {"transition.temperature": [2.0, 1.0]})
        assert [schedule.at(each).temperature for each in (1000, 2000, 3000)] == [2.0, 1.5, 0.5]

    def test_star_reaches_every_phase(self) -> None:
        schedule = override_schedule(v3(), {"*.load_balance_coef": 0.5, "warmup.load_balance_coef": 0.25})
        assert [schedule.at(each).load_balance_coef for each in (0, 1000, 3000)] == [0.25, 0.5, 0.5]

    def test_ends_of_a_ramp_change_the_whole_value(self) -> None:
        schedule = override_schedule(v3(), {"transition.temperature.to": 0.25, "transition.learning_rate.from": 1e-3})
        assert schedule.phases[1].to_dict()["temperature"] == [1.0, 0.25]
        assert schedule.phases[1].to_dict()["learning_rate"] == [1e-3, 5e-5]
        schedule = override_schedule(v3(), {"transition.temperature.to": 0.25, "transition.temperature": 2.0})
        assert schedule.phases[1].to_dict()["temperature"] == [2.0, 0.25]

    def test_name_with_dots(self) -> None:
        rows = v3().to_dict()["phases"]
        rows[0]["name"] = "v3.warmup"
        schedule = override_schedule(PhaseSchedule.from_dict({"phases": rows}), {"v3.warmup.temperature": 2})
        assert schedule.at(0).temperature == 2.0

    def test_nothing_changes_nothing(self) -> None:
        assert override_schedule(v3(), {}) == v3()

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("tranistion.temperature", 1, "no phase 'tranistion' (did you mean 'transition'?)"),
            ("warmup.temprature", 1, "unknown key 'temprature' (did you mean 'temperature'?)"),
            ("temperature", 1, "temperature: expected <phase>.<key>"),
            ("warmup.temperature", 0, "warmup.temperature: expected a finite number, above 0, got 0"),
            ("*.diversity_coef", -1, "transition.diversity_coef: expected a finite number, 0 or more, got -1"),
            ("fine-tune.temperature", [1, 0.5], "the last phase has no end"),
            ("*.name", "x", "*.name: unknown key 'name'"),
            ("*.start", 5, "*.start: expected the name of one phase in place of '*'"),
            ("warmup.routing.to", "softmax", "routing is no value that can ramp"),
            ("warmup.learning_rate", None, "warmup.learning_rate: expected a finite number"),
        ],
    )
    def test_refused(self, path: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigError) as refused:
            override_schedule(v3(), {path: value})
        assert message in str(refused.value)

    def test_faults_of_paths_and_of_values_in_one_message(self) -> None:
        with pytest.raises(ConfigError) as refused:
            override_schedule(v3(), {"warmup.nothing": 1, "nobody.temperature": 1, "warmup.temperature": -1})
        assert len(refused.value.errors) == 2  # the value is looked at once the paths are right


class TestEnvironment:
    def test_overrides(self) -> None:
        schedule = override_schedule(
            v3(), {"*.env.max_steps": 9, "transition.env.max_steps.to": 20, "warmup.env.wind": 1.5}
        )
        assert [row["env"] for row in schedule.to_dict()["phases"]] == [
            {"max_steps": 9, "wind": 1.5},
            {"max_steps": [9, 20]},
            {"max_steps": 9},
        ]

    def test_a_phase_whose_name_has_a_dot(self) -> None:
        data = v3().to_dict()
        data["phases"][0]["name"] = "env.a"
        schedule = override_schedule(
            PhaseSchedule.from_dict(data), {"env.a.env.max_steps": 9, "env.a.temperature": 2.0}
        )
        assert (schedule.at(0).env, schedule.at(0).temperature) == ({"max_steps": 9}, 2.0)

    @pytest.mark.parametrize(
        ("overrides", "error"),
        [
            ({"*.env": {}}, "*.env: expected an argument of the environment, such as *.env.max_steps"),
            ({"warmup.env.": 9}, "warmup.env.: expected an argument of the environment, such as warmup.env.max_steps"),
            ({"*.env.max_steps.to": 9}, "*.env.max_steps.to: expected the name of one phase in place of '*'"),
            ({"warmpu.env.max_steps": 9}, "warmpu.env.max_steps: no phase 'warmpu' (did you mean 'warmup'?)"),
            (
                {"fine-tune.env.max_steps": [9, 10]},
                "fine-tune.env.max_steps: the last phase has no end, so it can't ramp; give one number or add a phase",
            ),
        ],
    )
    def test_refused(self, overrides: dict[str, Any], error: str) -> None:
        with pytest.raises(ConfigError) as refused:
            override_schedule(v3(), overrides)
        assert refused.value.errors == (error,)

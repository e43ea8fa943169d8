"""The schedule against the user's table, at every edge and along the ramps; its plain and YAML forms, its overrides."""

import math
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_moe.phase_checks import OPTIONAL_KEYS, POSITIVE_KEYS, GATES, VALUE_KEYS, ScheduleError
from rllib_moe.phases import BUNDLED, Phase, PhaseConfig, PhaseSchedule, Ramp

LAST = 10**9
"""An episode far beyond every boundary."""


def v3() -> PhaseSchedule:
    return PhaseSchedule.load("v3")


def warmup() -> PhaseConfig:
    return PhaseConfig(
        name="warmup",
        routing="softmax",
        temperature=1.0,
        learning_rate=1e-4,
        entropy_coef=0.05,
        alpha_entropy_coef=0.1,
        alpha_entropy_target=None,
        load_balance_coef=0.02,
        diversity_coef=0.01,
    )


def transition(temperature: float) -> PhaseConfig:
    return PhaseConfig(
        name="transition",
        routing="sparsemax",
        temperature=temperature,
        learning_rate=5e-5,
        entropy_coef=0.02,
        alpha_entropy_coef=0.05,
        alpha_entropy_target=None,
        load_balance_coef=0.01,
        diversity_coef=0.01,
    )


def fine_tune() -> PhaseConfig:
    return PhaseConfig(
        name="fine-tune",
        routing="sparsemax",
        temperature=0.5,
        learning_rate=1e-5,
        entropy_coef=0.01,
        alpha_entropy_coef=0.05,
        alpha_entropy_target=None,
        load_balance_coef=0.005,
        diversity_coef=0.005,
    )


class TestV3:
    """The user's table (spec: the schedule, exactly), every number typed here."""

    @pytest.mark.parametrize("episode", [0, 1, 500, 998, 999])
    def test_warmup(self, episode: int) -> None:
        assert v3().at(episode) == warmup()

    @pytest.mark.parametrize(
        ("episode", "temperature"),
        [
            # 1.0 - 0.5 * (episode - 1000) / 2000, that is 0.00025 an episode.
            (1000, 1.0),
            (1001, 0.99975),
            (1500, 0.875),
            (2000, 0.75),
            (2500, 0.625),
            (2998, 0.5005),
            (2999, 0.50025),
        ],
    )
    def test_transition(self, episode: int, temperature: float) -> None:
        assert v3().at(episode).temperature == pytest.approx(temperature, rel=1e-12)
        assert v3().at(episode) == transition(v3().at(episode).temperature)

    @pytest.mark.parametrize("episode", [3000, 3001, 5000, LAST])
    def test_fine_tune(self, episode: int) -> None:
        assert v3().at(episode) == fine_tune()

    def test_boundaries(self) -> None:
        assert v3().boundaries == (1000, 3000)
        assert [v3().end_of(index) for index in range(3)] == [1000, 3000, None]

    @pytest.mark.parametrize(
        ("episode", "index"),
        [(0, 0), (1, 0), (999, 0), (1000, 1), (1001, 1), (2999, 1), (3000, 2), (3001, 2), (LAST, 2)],
    )
    def test_phase_in_force_at_the_edges(self, episode: int, index: int) -> None:
        assert v3().index_at(episode) == index

    def test_before_the_first_episode_is_refused(self) -> None:
        with pytest.raises(ValueError, match="episode: expected 0 or more, got -1"):
            v3().at(-1)

    def test_default_is_v3_with_entropy_targets_and_other_rates(self) -> None:
        default = PhaseSchedule.load("default")
        for each in (0, 999, 1000, 2000, 2999, 3000, LAST):
            user = v3().at(each)
            theirs = {name: getattr(user, name) for name in ("learning_rate", "entropy_coef", "alpha_entropy_target")}
            assert {**vars(default.at(each)), **theirs} == vars(user)
        # The user's expected curve: 1.385 in warmup, falling to about 0.7 in transition, 0.3 to 0.5 in fine-tune.
        targets = [default.at(each).alpha_entropy_target for each in (0, 999, 1000, 2999, 3000, LAST)]
        assert targets[:3] == pytest.approx([math.log(4)] * 3, abs=1e-4)
        assert targets[3] == pytest.approx(0.7, abs=1e-3)
        assert targets[4] == targets[5]
        assert targets[5] is not None
        assert 0.3 <= targets[5] <= 0.5


class TestForms:
    @pytest.mark.parametrize("name", BUNDLED)
    def test_bundled_round_trip(self, name: str, tmp_path: Path) -> None:
        schedule = PhaseSchedule.load(name)
        assert PhaseSchedule.from_dict(schedule.to_dict()) == schedule
        schedule.save(tmp_path / "schedule.yaml")
        assert PhaseSchedule.load(tmp_path / "schedule.yaml") == schedule
        assert PhaseSchedule.load(str(tmp_path / "schedule.yaml")) == schedule

    def test_plain_form_shares_nothing_with_the_schedule(self) -> None:
        schedule = v3()
        schedule.to_dict()["phases"][1]["temperature"][0] = 9.0
        assert schedule == v3()

    def test_ramps_are_pairs_in_the_plain_form(self) -> None:
        assert v3().to_dict()["phases"][1]["temperature"] == [1.0, 0.5]
        assert v3().phases[1].temperature == Ramp(1.0, 0.5)

    @pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "'1e-4'"])
    def test_learning_rate_as_people_write_it(self, text: str, tmp_path: Path) -> None:
        # YAML 1.1 reads 1e-4, without a dot, as a string.
        data = v3().to_dict()
        path = tmp_path / "schedule.yaml"
        path.write_text(yaml.safe_dump(data).replace("learning_rate: 1.0e-05", f"learning_rate: {text}"))
        read = PhaseSchedule.load(path).at(3000).learning_rate
        assert isinstance(read, float)
        assert read == 1e-4

    def test_strings_in_a_ramp(self) -> None:
        data = v3().to_dict()
        data["phases"][1]["learning_rate"] = ["1e-4", "2e-4"]
        # Halfway between 1e-4 and 2e-4.
        assert PhaseSchedule.from_dict(data).at(2000).learning_rate == pytest.approx(1.5e-4, rel=1e-12)

    def test_missing_target_means_none(self) -> None:
        assert all("alpha_entropy_target" not in row for row in yaml.safe_load(_bundled("v3"))["phases"])
        assert v3().at(0).alpha_entropy_target is None


def _bundled(name: str) -> str:
    return resources.files("rllib_moe").joinpath("schedules", f"{name}.yaml").read_text()


class TestBoundaries:
    @pytest.mark.parametrize("boundary", [1, 10, 77])
    def test_edges_move(self, boundary: int) -> None:
        schedule = v3().with_boundaries([boundary, boundary + 100])
        names = [schedule.at(each).name for each in (boundary - 1, boundary, boundary + 99, boundary + 100)]
        assert names == ["warmup", "transition", "transition", "fine-tune"]
        # The ramp is stretched to its phase: halfway is 0.75 again.
        assert schedule.at(boundary + 50).temperature == pytest.approx(0.75, rel=1e-12)

    def test_own_boundaries_change_nothing(self) -> None:
        assert v3().with_boundaries(v3().boundaries) == v3()

    @pytest.mark.parametrize(
        ("boundaries", "message"),
        [
            ([10], "boundaries: expected 2 for 3 phases, got [10]"),
            ([10, 20, 30], "boundaries: expected 2 for 3 phases, got [10, 20, 30]"),
            ([20, 20], "fine-tune.start: must come after transition's start 20, got 20"),
            ([20, 10], "fine-tune.start: must come after transition's start 20, got 10"),
            ([0, 10], "transition.start: must come after warmup's start 0, got 0"),
            ([-5, 10], "transition.start: expected a whole episode number, 0 or more, got -5"),
            ([5.0, 10], "transition.start: expected a whole episode number, 0 or more, got 5.0"),
            ([True, 10], "transition.start: expected a whole episode number, 0 or more, got True"),
        ],
    )
    def test_refused(self, boundaries: list[Any], message: str) -> None:
        with pytest.raises(ScheduleError) as refused:
            v3().with_boundaries(boundaries)
        assert message in refused.value.faults


class TestOverrides:
    def test_one_value(self) -> None:
        schedule = v3().with_overrides({"warmup.learning_rate": "3e-4", "fine-tune.routing": "entmax15"})
        assert schedule.at(0).learning_rate == 3e-4
        assert schedule.at(3000).routing == "entmax15"
        assert schedule.at(1000) == v3().at(1000)

    def test_a_ramp(self) -> None:
        schedule = v3().with_overrides({"transition.temperature": [2.0, 1.0]})
        assert [schedule.at(each).temperature for each in (1000, 2000, 3000)] == [2.0, 1.5, 0.5]

    def test_star_reaches_every_phase(self) -> None:
        schedule = v3().with_overrides({"*.load_balance_coef": 0.5, "warmup.load_balance_coef": 0.25})
        assert [schedule.at(each).load_balance_coef for each in (0, 1000, 3000)] == [0.25, 0.5, 0.5]

    def test_name_with_dots(self) -> None:
        schedule = v3().with_overrides({"warmup.name": "v3.warmup"}).with_overrides({"v3.warmup.temperature": 2})
        assert schedule.at(0).temperature == 2.0

    def test_nothing_changes_nothing(self) -> None:
        assert v3().with_overrides({}) == v3()

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("tranistion.temperature", 1, "no phase 'tranistion' (did you mean 'transition'?)"),
            ("warmup.temprature", 1, "unknown key 'temprature' (did you mean 'temperature'?)"),
            ("temperature", 1, "temperature: expected <phase>.<key>"),
            ("warmup.temperature", 0, "warmup.temperature: expected above 0, got 0"),
            ("*.diversity_coef", -1, "transition.diversity_coef: expected 0 or more, got -1"),
            ("fine-tune.temperature", [1, 0.5], "the last phase has no end"),
            ("*.name", "x", "names: expected each once, got x, x, x"),
            ("warmup.learning_rate", None, "warmup.learning_rate: expected a finite number"),
        ],
    )
    def test_refused(self, path: str, value: Any, message: str) -> None:
        with pytest.raises(ScheduleError) as refused:
            v3().with_overrides({path: value})
        assert message in str(refused.value)

    def test_faults_of_paths_and_of_values_in_one_message(self) -> None:
        with pytest.raises(ScheduleError) as refused:
            v3().with_overrides({"warmup.nothing": 1, "nobody.temperature": 1, "warmup.temperature": -1})
        assert len(refused.value.faults) == 3


positive = st.floats(1e-6, 1e3)
non_negative = st.floats(0, 1e3)


@st.composite
def schedules(draw: st.DrawFn) -> PhaseSchedule:
    """Any valid schedule: 1 to 5 phases, ramps anywhere but in the last."""
    starts = [0, *sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))]
    names = draw(
        st.lists(
            st.text(min_size=1, max_size=8).filter(lambda name: name != "*"),
            min_size=len(starts),
            max_size=len(starts),
            unique=True,
        )
    )
    rows = []
    for start, name in zip(starts, names, strict=True):
        row: dict[str, Any] = {"name": name, "start": start, "routing": draw(st.sampled_from(GATES))}
        for key in VALUE_KEYS:
            number = positive if key in POSITIVE_KEYS else non_negative
            value = number if start == starts[-1] else number | st.builds(Ramp, number, number)
            row[key] = draw(value | st.none() if key in OPTIONAL_KEYS else value)
        rows.append(Phase(**row))
    return PhaseSchedule(tuple(rows))


class TestAnySchedule:
    @settings(max_examples=40, deadline=None)
    @given(schedules())
    def test_plain_form_is_an_exact_inverse(self, schedule: PhaseSchedule) -> None:
        assert PhaseSchedule.from_dict(schedule.to_dict()) == schedule

    @settings(max_examples=40, deadline=None)
    @given(schedules())
    def test_yaml_is_an_exact_inverse(self, schedule: PhaseSchedule) -> None:
        text = yaml.safe_dump(schedule.to_dict(), sort_keys=False)
        assert PhaseSchedule.from_dict(yaml.safe_load(text)) == schedule

    @settings(max_examples=40, deadline=None)
    @given(schedules(), st.integers(0, 2 * 10**6))
    def test_in_force_is_the_last_phase_begun_and_values_stay_between_a_ramps_ends(
        self, schedule: PhaseSchedule, episode: int
    ) -> None:
        phase = [each for each in schedule.phases if each.start <= episode][-1]
        at = schedule.at(episode)
        assert (at.name, at.routing) == (phase.name, phase.routing)
        for key in VALUE_KEYS:
            value, now = getattr(phase, key), getattr(at, key)
            if isinstance(value, Ramp):
                low, high = sorted((value.start, value.end))
                assert low - 1e-9 <= now <= high + 1e-9
            else:
                assert now == value

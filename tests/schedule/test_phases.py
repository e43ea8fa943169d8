"""The schedule against the user's table, at every edge and along the ramps; its plain and YAML forms, its overrides."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import BUNDLED, GATES, KEYS, VALUES, PhaseConfig, PhaseSchedule
from rllib_moe.validation.errors import ConfigError

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
        assert [phase.end for phase in v3().phases] == [1000, 3000, None]

    @pytest.mark.parametrize(
        ("episode", "index"),
        [(0, 0), (1, 0), (999, 0), (1000, 1), (1001, 1), (2999, 1), (3000, 2), (3001, 2), (LAST, 2)],
    )
    def test_phase_active_at_the_edges(self, episode: int, index: int) -> None:
        assert v3().phase_at(episode) == v3().phases[index]

    def test_before_the_first_episode_is_refused(self) -> None:
        with pytest.raises(ValueError, match="episode: expected 0 or more, got -1"):
            v3().at(-1)

    def test_default_is_v3_with_persistence_and_other_rates(self) -> None:
        default = PhaseSchedule.load("default")
        for each in (0, 999, 1000, 2000, 2999, 3000, LAST):
            other = {"learning_rate", "entropy_coef", "alpha_entropy_coef", "load_balance_coef"}
            same = set(VALUES) - other - {"persistence_coef"} | {"name", "routing"}
            assert {name: getattr(default.at(each), name) for name in same} == {
                name: getattr(v3().at(each), name) for name in same
            }
            assert default.at(each).persistence_coef > 0

    def test_the_signed_one_punishes_an_undecided_gate_in_the_end(self) -> None:
        signed = PhaseSchedule.load("v3-signed")
        assert [signed.at(each).alpha_entropy_coef for each in (0, 1000, 2000, LAST)] == [0.1, 0.1, 0.05, -0.05]
        assert override_schedule(signed, {"*.alpha_entropy_coef": 0.0}) == override_schedule(
            v3(), {"*.alpha_entropy_coef": 0.0}
        )


class TestForms:
    @pytest.mark.parametrize("name", BUNDLED)
    def test_bundled_round_trip(self, name: str, tmp_path: Path) -> None:
        schedule = PhaseSchedule.load(name)
        assert PhaseSchedule.from_dict(schedule.to_dict()) == schedule
        (tmp_path / "schedule.yaml").write_text(schedule.to_yaml())
        assert PhaseSchedule.load(tmp_path / "schedule.yaml") == schedule
        assert PhaseSchedule.load(str(tmp_path / "schedule.yaml")) == schedule

    def test_plain_form_shares_nothing_with_the_schedule(self) -> None:
        schedule = v3()
        schedule.to_dict()["phases"][1]["temperature"][0] = 9.0
        assert schedule == v3()

    def test_ramps_are_pairs_in_the_plain_form(self) -> None:
        assert v3().to_dict()["phases"][1]["temperature"] == [1.0, 0.5]
        assert (v3().phases[1].first.temperature, v3().phases[1].last.temperature) == (1.0, 0.5)

    @pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001"])
    def test_learning_rate_as_people_write_it(self, text: str, tmp_path: Path) -> None:
        # YAML 1.1 reads 1e-4, without a dot, as a string.
        data = v3().to_dict()
        path = tmp_path / "schedule.yaml"
        path.write_text(yaml.safe_dump(data).replace("learning_rate: 1.0e-05", f"learning_rate: {text}"))
        read = PhaseSchedule.load(path).at(3000).learning_rate
        assert isinstance(read, float)
        assert read == 1e-4

    def test_missing_target_means_none(self) -> None:
        assert all("alpha_entropy_target" not in row for row in yaml.safe_load(BUNDLED["v3"].read_text())["phases"])
        assert v3().at(0).alpha_entropy_target is None


class TestEnvironment:
    """Arguments that a phase gives the environment."""

    def test_numbers_may_ramp_and_all_else_stays(self) -> None:
        changes = {"transition.env.max_steps": [500, 2000], "transition.env.tasks": ["score", "gold"]}
        schedule = override_schedule(v3(), {**changes, "fine-tune.env.tasks": "gold"})
        at = [schedule.at(each).env for each in (999, 1000, 2000, 3000)]
        assert at == [
            {},
            {"max_steps": 500, "tasks": ["score", "gold"]},
            {"max_steps": 1250, "tasks": ["score", "gold"]},
            {"tasks": "gold"},
        ]
        assert schedule.env_names == ("max_steps", "tasks")
        assert schedule.to_dict()["phases"][1]["env"] == {"max_steps": [500, 2000], "tasks": ["score", "gold"]}

    def test_progressive_is_the_default_over_games_that_grow(self) -> None:
        progressive = PhaseSchedule.load("progressive")
        limits = [progressive.at(each).env["max_steps"] for each in (0, 999, 1000, 2000, 2999, 3000, LAST)]
        assert limits == [500, 500, 500, 1250, 1999.25, 5000, 5000]
        for each in (0, 1000, 2000, 3000):
            assert progressive.at(each).replace(env={}) == PhaseSchedule.load("default").at(each)

    def test_no_mapping_and_a_name_that_would_be_misread(self) -> None:
        data = v3().to_dict()
        data["phases"][0] |= {"env": 5, "name": "warm.env"}
        with pytest.raises(ConfigError) as refused:
            PhaseSchedule.from_dict(data)
        assert refused.value.errors == (
            "warm.env.name: expected a name that does not end in '.env', got 'warm.env'",
            "warm.env.env: expected a mapping of names to values, got 5",
        )


class TestRefusals:
    """Each is refused with exactly one error, which names the place, what was expected and what was given."""

    @pytest.mark.parametrize(
        ("phase", "key", "value", "error"),
        [
            (0, "start", 1, "warmup.start: the first phase must begin at episode 0, got 1"),
            (2, "start", 1000, "fine-tune.start: must come after transition's start 1000, got 1000"),
            (1, "start", 4000, "fine-tune.start: must come after transition's start 4000, got 3000"),
            (1, "start", 1000.0, "transition.start: expected a whole episode number, 0 or more, got 1000.0"),
            (1, "start", None, "transition.start: expected a whole episode number, 0 or more, got None"),
            (0, "temprature", 1, "warmup: unknown key 'temprature' (did you mean 'temperature'?)"),
            (1, "name", "warmup", "names: expected each once, got warmup, warmup, fine-tune"),
            (1, "name", 7, "7.name: expected a non-empty text, got 7"),
            (1, "name", "", "phases[1].name: expected a non-empty text, got ''"),
            (1, "name", "*", "*.name: expected a name other than '*', which means every phase"),
            (1, "temperature", [1.0], "transition.temperature: expected a finite number, above 0, got [1.0]"),
            (1, "temperature", [1.0, 0.0], "transition.temperature: expected a finite number, above 0, got 0.0"),
            (
                1,
                "temperature",
                [1, math.nan],
                "transition.temperature: expected a finite number, above 0, got [1, nan]",
            ),
            (1, "temperature", math.nan, "transition.temperature: expected a finite number, above 0, got nan"),
            (1, "temperature", True, "transition.temperature: expected a finite number, above 0, got True"),
            (1, "diversity_coef", "x", "transition.diversity_coef: expected a finite number, 0 or more, got 'x'"),
            (1, "learning_rate", None, "transition.learning_rate: expected a finite number, above 0, got None"),
            (
                1,
                "routing",
                "softmx",
                "transition.routing: expected one of softmax, entmax15, sparsemax or module:function, got 'softmx' "
                "(did you mean 'softmax'?)",
            ),
            (
                1,
                "routing",
                "m:" + "x" * 127,
                f"transition.routing: expected at most 128 bytes, got 'm:{'x' * 127}'",
            ),
            (
                2,
                "temperature",
                [1.0, 0.5],
                "fine-tune.temperature: the last phase has no end, so it can't ramp; give one number or add a phase",
            ),
        ],
    )
    def test_one_error(self, phase: int, key: str, value: Any, error: str) -> None:
        data = v3().to_dict()
        data["phases"][phase][key] = value
        with pytest.raises(ConfigError) as refused:
            PhaseSchedule.from_dict(data)
        assert list(refused.value.errors) == [error]

    @pytest.mark.parametrize("key", KEYS)
    def test_missing_key(self, key: str) -> None:
        data = v3().to_dict()
        del data["phases"][1][key]
        if key in VALUES and not PhaseConfig.model_fields[key].is_required():
            assert PhaseSchedule.from_dict(data) == override_schedule(v3(), {f"transition.{key}": VALUES[key].off})
            return
        if key == "env":  # as in checkpoints that are older than it
            assert PhaseSchedule.from_dict(data) == v3()
            return
        with pytest.raises(ConfigError) as refused:
            PhaseSchedule.from_dict(data)
        (error,) = refused.value.errors
        assert error.startswith(f"{'phases[1]' if key == 'name' else 'transition'}.{key}: missing")

    @pytest.mark.parametrize("phases", [None, {}, "warmup", [], 3])
    def test_no_list_of_phases(self, phases: Any) -> None:
        with pytest.raises(ConfigError, match="phases: expected a list of at least one phase"):
            PhaseSchedule.from_dict({"phases": phases})
        with pytest.raises(ConfigError, match=r"phases\[0\]: expected a mapping, got 'warmup'"):
            PhaseSchedule.from_dict({"phases": ["warmup"]})

    def test_every_error_at_once(self) -> None:
        data = v3().to_dict()
        data["phases"][0] |= {"start": 5, "temperature": -1}
        data["phases"][1] |= {"routing": "top2", "load_balnce_coef": 1}
        del data["phases"][1]["learning_rate"]
        data["phases"][2] |= {"start": 10, "diversity_coef": math.nan}
        with pytest.raises(ConfigError) as refused:
            PhaseSchedule.from_dict(data, "schedule mine.yaml")
        assert str(refused.value).startswith("schedule mine.yaml refused:")
        assert len(refused.value.errors) == 7


positive = st.floats(1e-6, 1e3)
non_negative = st.floats(0, 1e3)


@st.composite
def schedules(draw: st.DrawFn) -> PhaseSchedule:
    """Any valid schedule: 1 to 5 phases, ramps anywhere but in the last."""
    starts = [0, *sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))]
    names = draw(
        st.lists(
            st.text(min_size=1, max_size=8).filter(lambda name: name != "*" and not name.endswith(".env")),
            min_size=len(starts),
            max_size=len(starts),
            unique=True,
        )
    )
    rows = []
    for start, name in zip(starts, names, strict=True):
        row: dict[str, Any] = {"name": name, "start": start, "routing": draw(st.sampled_from(GATES))}
        for key in VALUES:
            number = positive if key in ("temperature", "learning_rate") else non_negative
            value = number if start == starts[-1] else number | st.lists(number, min_size=2, max_size=2)
            row[key] = draw(value | st.none() if key == "alpha_entropy_target" else value)
        row["env"] = draw(
            st.dictionaries(st.text(max_size=4), value | st.text(max_size=4) | st.lists(st.text()), max_size=2)
        )
        rows.append(row)
    return PhaseSchedule.from_dict({"phases": rows})


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
    def test_active_is_the_last_phase_begun_and_values_stay_between_a_ramps_ends(
        self, schedule: PhaseSchedule, episode: int
    ) -> None:
        phase = [each for each in schedule.phases if each.start <= episode][-1]
        at = schedule.at(episode)
        assert (at.name, at.routing) == (phase.name, phase.first.routing)
        for key in VALUES:
            first, last, now = getattr(phase.first, key), getattr(phase.last, key), getattr(at, key)
            if first == last:
                assert now == first
            else:
                assert min(first, last) - 1e-9 <= now <= max(first, last) + 1e-9

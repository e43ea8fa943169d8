"""The phase in the network: buffers that travel with the weights, exact to their precision."""

import math

import pytest
import torch

from rllib_moe.models.phase_state import PhaseState
from rllib_moe.schedule.overrides import override_schedule
from rllib_moe.schedule.phases import GATES, VALUES, PhaseConfig, PhaseSchedule

NAMES = {"routing_name", "episodes", *VALUES}


def applied(episode: int, schedule: str = "default") -> tuple[PhaseState, PhaseConfig]:
    state, phase = PhaseState(), PhaseSchedule.load(schedule).at(episode)
    state.apply_phase(phase, episode)
    return state, phase


def test_everything_is_in_the_state_dict_and_nothing_is_a_parameter() -> None:
    assert set(PhaseState().state_dict()) == NAMES
    assert not list(PhaseState().parameters())


@pytest.mark.parametrize("schedule", ["v3", "default"])
@pytest.mark.parametrize("episode", [0, 999, 1000, 1337, 2999, 3000, 10**12])
def test_values_are_the_phases(episode: int, schedule: str) -> None:
    state, phase = applied(episode, schedule)
    assert state.routing == phase.routing
    assert state.episodes.dtype == torch.int64
    assert int(state.episodes) == episode
    for name in VALUES:
        value, buffer = getattr(phase, name), getattr(state, name)
        if value is None:
            assert math.isnan(buffer)
        else:  # float32: RLlib's weight sync would make that of a float64
            assert buffer.dtype == torch.float32
            assert buffer == torch.tensor(value, dtype=torch.float32)


@pytest.mark.parametrize("episode", [0, 1000, 1500, 3000])
def test_values_read_back_as_the_schedule_wrote_them(episode: int) -> None:
    state, phase = applied(episode, "v3")
    for name in VALUES:
        if name != "alpha_entropy_target":
            assert state.value(name) == getattr(phase, name), name
    assert math.isnan(state.value("alpha_entropy_target"))


@pytest.mark.parametrize("value", [1e-4, 5e-5, 3.3e-4, 0.123456, 1e-8, 250.0, 1 / 3])
def test_values_of_seven_digits_survive_float32(value: float) -> None:
    state = PhaseState()
    state.apply_phase(override_schedule(PhaseSchedule.load("v3"), {"warmup.learning_rate": value}).at(0), 0)
    assert state.value("learning_rate") == pytest.approx(value, rel=6e-8, abs=0)
    if value == float(f"{value:.6g}"):
        assert state.value("learning_rate") == value


@pytest.mark.parametrize("routing", GATES)
def test_every_routing(routing: str) -> None:
    state = PhaseState()
    state.apply_phase(override_schedule(PhaseSchedule.load("v3"), {"*.routing": routing}).at(0), 0)
    assert state.routing == routing


def test_travels_with_the_weights() -> None:
    source, _ = applied(1500)
    copy = PhaseState()
    copy.load_state_dict({name: value.clone() for name, value in source.state_dict().items()})
    assert copy.routing == source.routing
    for name in NAMES:
        torch.testing.assert_close(getattr(copy, name), getattr(source, name), rtol=0, atol=0, equal_nan=True)
        assert getattr(copy, name).dtype == getattr(source, name).dtype


def test_written_in_place() -> None:
    state = PhaseState()
    shared = dict(state.state_dict())
    places = {name: value.data_ptr() for name, value in shared.items()}
    state.apply_phase(PhaseSchedule.load("default").at(2000), 2000)
    assert {name: value.data_ptr() for name, value in state.state_dict().items()} == places
    assert int(shared["episodes"]) == 2000
    assert float(shared["temperature"]) == 0.75


def test_a_later_phase_leaves_nothing_of_the_one_before() -> None:
    state, _ = applied(2000, "default")
    state.apply_phase(PhaseSchedule.load("v3").at(0), 0)
    fresh, _ = applied(0, "v3")
    for name in NAMES:
        torch.testing.assert_close(getattr(state, name), getattr(fresh, name), equal_nan=True)


def test_before_any_phase() -> None:
    state = PhaseState()
    assert state.routing == "softmax"
    assert state.value("temperature") == 1.0
    assert math.isnan(state.value("alpha_entropy_target"))
    coefs = ("entropy_coef", "alpha_entropy_coef", "load_balance_coef", "diversity_coef")
    assert [state.value(name) for name in coefs] == [0.0] * 4


def test_a_gate_is_saved_by_its_name() -> None:
    state = PhaseState()
    state.apply_phase(override_schedule(PhaseSchedule.load("v3"), {"*.routing": "mine.gates:größte"}).at(0), 0)
    copy = PhaseState()
    copy.load_state_dict(state.state_dict())
    assert copy.routing == "mine.gates:größte"


@pytest.mark.parametrize("name", VALUES)
def test_a_state_older_than_a_value_loads_with_the_value_off(name: str) -> None:
    source, _ = applied(1500)
    older = {key: value for key, value in source.state_dict().items() if key != name}
    state, _ = applied(3000)
    state.load_state_dict(older)
    off = VALUES[name].off
    assert state.value(name) == off or (off is None and math.isnan(state.value(name)))
    assert int(state.episodes) == 1500

import math

import gymnasium
import numpy as np
import pytest
import torch

from rllib_moe.envs.description import GraphDescription
from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.regimes import RegimesEnv
from rllib_moe.evaluation.episodes import play
from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.information import (
    RANDOM_ROUTERS,
    States,
    encode,
    information,
    information_numbers,
    joined,
    labels_of_state,
    permuted_information,
    random_router_gates,
)
from rllib_moe.evaluation.report import evaluation_tables
from rllib_moe.evaluation.resolve import resolve
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.models.losses import gate_entropy
from rllib_moe.models.routing import gate_weights
from rllib_moe.validation.errors import ConfigError


def slow_sequence(rng, states, values, stay):
    """A label that keeps its value for `stay` states in the mean."""
    return np.cumsum(rng.integers(1, values, states) * (rng.random(states) < 1 / stay)) % values


def request(checkpoint, **fields):
    values = {"episodes": 40, "num_workers": 0, "envs_per_worker": 8} | fields
    return EvaluationRequest(checkpoint=str(checkpoint), **values)


@pytest.fixture(scope="module")
def numbers(checkpoint):
    return evaluate(request(checkpoint))


def test_information_of_a_known_joint_distribution():
    # Two states of label 0 with the gates (1, 0) and (1/2, 1/2), two of label 1 with (0, 1): P(expert, label) is
    # 3/8, 0 for expert 0 and 1/8, 1/2 for expert 1. Shares of the experts 3/8, 5/8; H(label) = ln 2.
    gate = np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
    codes = encode(["b", "b", "a", "a"])
    assert codes.tolist() == [0, 0, 1, 1]
    mutual = 3 / 8 * math.log(3 / 8 / (3 / 8 / 2)) + 1 / 8 * math.log(1 / 8 / (5 / 8 / 2)) + 1 / 2 * math.log(8 / 5)
    assert information(gate, codes) == pytest.approx(mutual / math.log(2))


def test_a_gate_that_is_the_label_tells_all_of_it():
    codes = slow_sequence(np.random.default_rng(0), 2000, 4, 5)
    gate = np.eye(4)[codes]
    assert information(gate, codes) == pytest.approx(1)
    assert information(gate[:, [2, 0, 3, 1]], codes) == pytest.approx(1)
    assert information(np.full((2000, 4), 0.25), codes) == pytest.approx(0, abs=1e-12)
    assert np.quantile(permuted_information(gate, codes, 20), 0.95) < 0.05
    assert math.isnan(information(gate, np.zeros(2000, int)))


def test_permuting_keeps_what_slow_sequences_agree_on_by_chance():
    above, shuffled_below = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        gate = np.eye(2)[slow_sequence(rng, 2000, 2, 50)]
        codes = slow_sequence(rng, 2000, 2, 50)  # has nothing to do with the gate
        value = information(gate, codes)
        above += value > np.quantile(permuted_information(gate, codes, 100), 0.95)
        shuffled_below += value > np.quantile([information(gate, rng.permutation(codes)) for _ in range(100)], 0.95)
    # One in twenty is meant to lie above; turned sequences are not independent, so grant some more.
    assert above <= 6
    assert shuffled_below >= 20


def test_turned_labels_leave_the_neighborhood_of_their_state():
    # One label value an episode, and a gate that knows it: a turn within the episode would still tell most of it.
    codes = np.repeat(np.arange(40) % 4, 50)
    rng = np.random.default_rng(0)
    codes = rng.permutation(codes.reshape(40, 50)).ravel()
    assert max(permuted_information(np.eye(4)[codes], codes, 50)) < 0.5


@pytest.mark.parametrize(("routing", "temperature"), [("softmax", 1.0), ("entmax15", 0.7), ("sparsemax", 0.5)])
def test_random_routers_are_as_decided_as_the_trained_one(routing, temperature):
    torch.manual_seed(0)
    rows = torch.randn(1000, 16)
    gate = gate_weights(rows @ torch.randn(16, 4) * 0.3, routing, temperature)
    gates = list(random_router_gates(rows.numpy(), gate.numpy(), routing, temperature))
    assert len(gates) == RANDOM_ROUTERS
    target = float(gate_entropy(gate).mean())
    assert 0.05 < target < 1.3
    for each in gates:
        assert float(gate_entropy(torch.from_numpy(each)).mean()) == pytest.approx(target, abs=0.01)
        assert np.allclose(each.sum(1), 1, atol=1e-5)
        assert each.mean(0).min() > 0.1  # its statistics are fitted, so no expert wins everywhere
    assert np.abs(gates[0] - gates[1]).max() > 0.5


def test_random_routers_tell_what_their_input_tells():
    rng = np.random.default_rng(0)
    codes = slow_sequence(rng, 2000, 2, 5)
    rows = rng.normal(size=(2000, 8)).astype(np.float32)
    gate = np.eye(2)[codes]
    blind = information_numbers(States(gate, rows, {"x": codes.tolist()}, 20), "softmax", 1.0)["x"]
    rows[:, :2] += 4 * gate
    seeing = information_numbers(States(gate, rows, {"x": codes.tolist()}, 20), "softmax", 1.0)["x"]
    assert blind["value"] == seeing["value"] == pytest.approx(1)
    assert blind["random_router"] < 0.02
    assert seeing["random_router"] > 0.2
    assert blind["permuted"] == seeing["permuted"] < 0.01


def test_an_untrained_network_tells_no_more_than_random_routers(numbers):
    row = numbers["information"]["regime"]
    assert row["entropy"] == pytest.approx(math.log(4), abs=0.05)
    assert (row["values"], row["states"]) == (4, 800)
    assert 0 <= row["value"] <= row["random_router_p95"]
    assert 0 < row["random_router"] < row["random_router_p95"]
    assert 0 < row["permuted"] < row["permuted_p95"] < 0.05
    # All flags of the scene together are the regime.
    assert numbers["information"]["scene"] == row
    assert {"action", *(f"scene/regime_{regime}" for regime in range(4))} < numbers["information"].keys()


def test_information_is_that_of_all_steps_played_one_by_one(checkpoint, numbers):
    """The labels belong to the states that the gate is of: written again, without anything of the evaluation."""
    resolved = resolve(request(checkpoint))
    env = RegimesEnv(max_steps=20, num_cues=4)
    actor = resolved.player.actor(env)
    assert GraphShape.from_space(env.observation_space).num_node_types == 6
    gates, regimes, actions = [], [], []
    for seed in range(1000, 1040):
        observation, _ = env.reset(seed=seed)
        memory, is_over = actor.start(seed), False
        while not is_over:
            choice = actor.act({name: leaf[None] for name, leaf in observation.items()}, [memory])
            regimes.append(env.regime_of(observation))
            actions.append(int(choice.actions[0]))
            gates.append(choice.output.gate[0].numpy())
            observation, _, _, is_over, _ = env.step(actions[-1])
    for name, values in (("regime", regimes), ("action", actions)):
        expected = information(np.stack(gates), encode(values))
        assert numbers["information"][name]["value"] == pytest.approx(expected, abs=1e-4)


def test_labels_of_a_state_are_those_of_info_roles_and_action():
    description = GraphDescription(labels=("task",), action_names=("move_N", "move_S", "wait"))
    info = {"task": np.int64(3), "scene": {"dark": np.True_}, "score": 1.0}
    labels = labels_of_state(description, info, {"roles": np.array([0.2, 0.7, 0.1])}, 2)
    assert labels == {"task": 3, "scene/dark": True, "action": 1, "role": 1}
    assert labels_of_state(description, info, {}, 1) == {"task": 3, "scene/dark": True, "action": 0}


def test_random_routers_scenes_are_kept_for_the_agreement_of_roles(numbers):
    shares = np.array([numbers["information"][f"scene/regime_{each}"]["random_router_share"] for each in range(4)])
    assert shares.shape == (4, 5, 4)
    assert shares.sum(2) == pytest.approx(1, abs=1e-4)


def test_long_evaluations_keep_states_spread_over_all_episodes(checkpoint, monkeypatch):
    monkeypatch.setattr("rllib_moe.evaluation.resolve.MOST_STATES", 90)
    resolved = resolve(request(checkpoint, episodes=12))
    assert resolved.player.keep_every == 3  # 240 states, at most 90
    kept = [each.kept for each in play(resolved.environment, resolved.player, range(1000, 1012), 5).records]
    assert set(map(len, kept)) == {6, 7}
    assert len(joined(kept).gate) == 80
    whole = resolve(request(checkpoint, episodes=4))
    records = {each.seed: each.kept for each in play(whole.environment, whole.player, range(1000, 1004), 5).records}
    for part in play(resolved.environment, resolved.player, range(1000, 1004), 5).records:
        expected = records[part.seed][part.seed % 3 :: 3]
        assert [state.labels for state in part.kept] == [state.labels for state in expected]


def test_only_a_whole_network_with_several_experts_is_measured(checkpoint):
    assert evaluate(request(checkpoint, episodes=2, remove_expert=0))["information"] is None
    baseline = evaluate(request(checkpoint, episodes=2, policy="random"))
    assert baseline["information"] is None
    assert len(list(evaluation_tables(baseline))) == 1


def test_a_label_that_never_changes_has_no_information(checkpoint):
    numbers = evaluate(request(checkpoint, episodes=1, env_args={"switch_probability": 0}))
    row = numbers["information"]["regime"]
    assert [row[key] for key in ("value", "random_router", "random_router_p95", "permuted")] == [None] * 4
    assert (row["entropy"], row["values"], row["states"]) == (0, 1, 20)
    table = list(evaluation_tables(numbers))[1]
    assert next(iter(table.columns[2].cells)) == "never changes"


class Mislabeled(RegimesEnv):
    """Labels that are none, from the first state on or from the fifth."""

    def __init__(self, *, regime=0, scene=None, after=0, **kwargs):
        super().__init__(**kwargs)
        self.wrong, self.after = {"regime": regime} | ({} if scene is None else {"scene": scene}), after

    def _info(self):
        info = super()._info() | (self.wrong if self._step >= self.after else {})
        return {name: value for name, value in info.items() if value is not None}


gymnasium.register(id="Mislabeled-v0", entry_point=Mislabeled)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (
            {"regime": None},
            r"env: info\['regime'\]: expected an int, str or bool for the label regime, which is missing",
        ),
        ({"regime": [1, 2]}, r"env: info\['regime'\]: expected an int, str or bool for the label regime, got \[1, 2\]"),
        ({"regime": 0.5}, r"got 0\.5"),
    ],
)
def test_refuses_labels_that_are_none_before_anything_is_played(checkpoint, wrong, error):
    with pytest.raises(ConfigError, match=error):
        evaluate(request(checkpoint, env="Mislabeled-v0", env_args={"num_cues": 4} | wrong))


def test_labels_that_change_their_set_are_an_error(checkpoint):
    with pytest.raises(
        ValueError, match=r"expected the same in every state, but scene/regime_1, .* is missing in some"
    ):
        evaluate(
            request(checkpoint, env="Mislabeled-v0", env_args={"num_cues": 4, "scene": {"regime_0": True}, "after": 5})
        )


@pytest.mark.parametrize("labels", [("scene",), ("role",), ("scene/a",), ("task", "task")])
def test_label_names_are_their_own(labels):
    with pytest.raises(ValueError, match="labels: expected different names, none of them scene, action, role"):
        GraphDescription(labels=labels)

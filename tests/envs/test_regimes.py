"""The regimes environment: its contract, its known best player, and what makes experts necessary."""

import hashlib

import numpy as np
import pytest

from rllib_moe.envs.graph_space import GraphShape, check_observation
from rllib_moe.envs.regimes import FIRST_BEACON_TYPE, TIE_EDGE, RegimesEnv
from rllib_moe.validation.errors import ConfigError


def _play(env, seed, choose):
    """Every (observation, info) of one episode, and its rewards."""
    observation, info = env.reset(seed=seed)
    seen, rewards, truncated = [(observation, info)], [], False
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(choose(observation))
        assert not terminated
        seen.append((observation, info))
        rewards.append(reward)
    return seen, rewards


def test_sizes():
    # Types: ego, plain, four beacons. Edges: tie and decoy.
    assert GraphShape.from_space(RegimesEnv().observation_space) == GraphShape(
        max_nodes=8, node_features=2, num_node_types=6, num_edge_types=2, features=8, num_actions=None, num_roles=4
    )
    assert RegimesEnv().action_space.n == 4


@pytest.mark.parametrize("settings", [{}, {"num_regimes": 3, "num_cues": 6, "max_nodes": 4}, {"max_nodes": 20}])
def test_every_observation_keeps_the_contract_and_info_describes_it(settings):
    env = RegimesEnv(max_steps=40, **settings)
    for seed in range(5):
        seen, rewards = _play(env, seed, lambda _: 0)
        assert len(rewards) == 40
        for step, (observation, info) in enumerate(seen):
            check_observation(observation, env.observation_space)
            assert env.observation_space.contains(observation)
            assert env.regime_of(observation) == info["regime"]
            assert info["scene"] == {f"regime_{r}": r == info["regime"] for r in range(env.num_regimes)}
            assert info["score"] == sum(rewards[:step])
            assert observation["roles"].tolist() == [r == info["regime"] for r in range(env.num_regimes)]
    assert env.description.role_names == tuple(f"regime {r}" for r in range(env.num_regimes))


def test_observations_share_no_memory():
    seen, _ = _play(RegimesEnv(max_steps=5), 0, lambda _: 0)
    leaves = [leaf for observation, _ in seen for leaf in observation.values()]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(leaves) for b in leaves[:i])


def test_the_best_player_reads_the_observation_and_gets_the_full_score():
    env = RegimesEnv(max_steps=50)

    def choose(observation):
        action = env.right_action(env.regime_of(observation), env.cue_of(observation))
        assert action == env.best_action()
        return action

    seen, rewards = _play(env, 7, choose)
    assert rewards == [1.0] * 50
    assert seen[-1][1]["score"] == 50


@pytest.mark.parametrize("num_regimes", [2, 4, 5])
def test_acting_at_random_or_always_alike_gets_one_in_the_number_of_actions(num_regimes):
    env = RegimesEnv(num_regimes=num_regimes, num_cues=num_regimes, max_steps=4000)
    rng = np.random.default_rng(0)
    for choose in (lambda _: rng.integers(num_regimes), lambda _: 0):
        _, rewards = _play(env, 1, choose)
        # In every regime each action is right for one cue of R, and cues are drawn anew each step: 4000 independent
        # draws, so 0.04 is at least five standard errors of sqrt(0.25 / 4000) = 0.008.
        assert np.mean(rewards) == pytest.approx(1 / num_regimes, abs=0.04)


def test_scarce_takes_other_sizes_where_none_are_given():
    env = RegimesEnv(scarce=True)
    assert (env.num_regimes, env.num_cues, env.max_nodes) == (7, 42, 11)
    env = RegimesEnv(scarce=True, num_cues=12)
    assert (env.num_regimes, env.num_cues, env.max_nodes) == (7, 12, 11)


def test_episodes_of_a_seed_stay_the_same():
    # Digests of the episodes as they were when roles came in (2026-11-28).
    digests = []
    for settings in ({}, {"num_regimes": 7, "num_cues": 42, "max_nodes": 11}):
        digest = hashlib.sha256()
        for observation, _ in _play(RegimesEnv(**settings), 3, lambda _: 0)[0]:
            for name in ("edges", "features", "node_mask", "node_types", "nodes"):
                digest.update(observation[name].tobytes())
        digests.append(digest.hexdigest()[:16])
    assert digests == ["4934531ccc519f62", "091776cc070b0985"]


def test_right_actions_by_hand():
    # m is 1 for cues 0..3 and 3 for cues 4..7 (the numbers below 4 coprime to 4): (m * regime + cue) mod 4.
    env = RegimesEnv()
    assert [[env.right_action(r, c) for c in range(8)] for r in range(4)] == [
        [0, 1, 2, 3, 0, 1, 2, 3],
        [1, 2, 3, 0, 3, 0, 1, 2],
        [2, 3, 0, 1, 2, 3, 0, 1],
        [3, 0, 1, 2, 1, 2, 3, 0],
    ]


@pytest.mark.parametrize(("num_regimes", "num_cues"), [(2, 2), (3, 6), (4, 8), (5, 20), (6, 12)])
def test_every_cue_is_another_one_to_one_map_from_regimes_to_actions(num_regimes, num_cues):
    env = RegimesEnv(num_regimes=num_regimes, num_cues=num_cues, max_nodes=num_regimes + 1)
    maps = {tuple(env.right_action(r, c) for r in range(num_regimes)) for c in range(num_cues)}
    assert len(maps) == num_cues
    assert all(sorted(one) == list(range(num_regimes)) for one in maps)


def _best_linear_score(env, rows):
    """Share of right actions a linear softmax head learns to give, rows [cells, inputs], one cell per case."""
    cells = [(r, c) for r in range(env.num_regimes) for c in range(env.num_cues)]
    right = np.array([env.right_action(r, c) for r, c in cells])
    weights = np.zeros((rows.shape[1], env.num_regimes))
    for _ in range(500):
        logits = rows @ weights
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        chances[np.arange(len(right)), right] -= 1
        weights -= 0.5 * rows.T @ chances
    return np.mean(np.argmax(rows @ weights + 1e-9 * np.arange(env.num_regimes), 1) == right)


def test_experts_behind_the_best_gate_may_be_linear_but_one_head_may_not():
    env = RegimesEnv()
    regime, cue = (part.ravel() for part in np.indices((4, 8)))
    regimes, cues = np.eye(4)[regime], np.eye(8)[cue]
    gated = (regimes[:, :, None] * cues[:, None, :]).reshape(32, 32)  # expert k sees the cue iff regime k rules
    assert _best_linear_score(env, gated) == 1.0
    assert _best_linear_score(env, np.hstack([regimes, cues])) <= 0.5
    # Routing by cue: four experts of two cues each, linear in regime and cue.
    shared = np.hstack([np.eye(4)[cue % 4][:, :, None] * np.hstack([regimes, cues])[:, None, :]])
    assert _best_linear_score(env, shared.reshape(32, 48)) <= 0.75


def test_only_the_edges_know_the_regime():
    # Whatever the regime, every beacon is there, so the pooled types are the same; only the ego's tie differs.
    seen, _ = _play(RegimesEnv(max_steps=300), 0, lambda _: 0)
    regimes = set()
    for observation, info in seen:
        regimes.add(info["regime"])
        types = observation["node_types"][observation["node_mask"] == 1]
        assert sorted(types[types >= FIRST_BEACON_TYPE]) == [2, 3, 4, 5]
        ties = observation["edges"] == TIE_EDGE
        beacon = int(np.argmax(observation["node_types"] == FIRST_BEACON_TYPE + info["regime"]))
        assert np.argwhere(ties).tolist() == [[0, beacon], [beacon, 0]]
        assert (observation["edges"] == observation["edges"].T).all()
    assert regimes == {0, 1, 2, 3}


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 0.0), (0.2, 0.2), (1.0, 1.0)])
def test_regimes_change_as_often_as_asked(chance, expected):
    seen, _ = _play(RegimesEnv(max_steps=3000, switch_probability=chance), 0, lambda _: 0)
    regimes = np.array([info["regime"] for _, info in seen])
    # Standard error sqrt(0.2 * 0.8 / 3000) = 0.007.
    assert np.mean(regimes[1:] != regimes[:-1]) == pytest.approx(expected, abs=0.03)


def _digest(seen):
    return [(b"".join(o[name].tobytes() for name in sorted(o)), info["regime"]) for o, info in seen]


def test_a_seed_fixes_the_episode_and_the_ones_after_it():
    runs = []
    for _ in range(2):
        env = RegimesEnv(max_steps=10)
        runs.append([_digest(_play(env, seed, lambda _: 1)[0]) for seed in (3, None, None)])
    assert runs[0] == runs[1]
    assert len({str(episode) for episode in runs[0]}) == 3
    assert _digest(_play(RegimesEnv(max_steps=10), 4, lambda _: 1)[0]) != runs[0][0]


def test_stepping_past_the_end_or_before_the_start_is_refused():
    env = RegimesEnv(max_steps=1)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(0)


def test_unfit_arguments_are_named_together():
    with pytest.raises(ConfigError) as refused:
        RegimesEnv(num_regimes=1, num_cues=1, max_steps=0, switch_probability=1.5)
    assert refused.value.errors == (
        "num_regimes: expected a whole number, 2 or more, got 1",
        "num_cues: expected a whole number, 2 or more, got 1",
        "max_steps: expected a whole number, 1 or more, got 0",
        "switch_probability: expected a finite number from 0 to 1, got 1.5",
    )
    with pytest.raises(ConfigError) as refused:
        RegimesEnv(num_cues=9, max_nodes=4)
    assert refused.value.errors == (
        "num_cues: expected at most 8 for num_regimes=4, got 9",
        "max_nodes: expected above num_regimes=4, got 4",
    )

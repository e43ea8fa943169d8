"""The row of measures of an iteration, by the keys of `metrics.py`.

Raw scores come from the environments by way of `sampling/vector_sampler.py`, routing measures from the model, timings
from RLlib. Changes nothing.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

from rllib_moe import metrics as m

if TYPE_CHECKING:
    from rllib_moe.algorithms.curriculum import CurriculumAlgorithm

ITERATIONS, WALL_SECONDS, REPLACED = "moe_iterations", "moe_wall_seconds", "moe_replaced_environments"
"""Keys in `algorithm._counters` of counts over the whole run, beside that of the episodes."""
RLLIB_RESTARTS = "total_num_restored_workers"
"""RLlib's own key of workers that came back."""

LEARNER_METRICS = {
    m.POLICY_LOSS: "policy_loss",
    m.VALUE_LOSS: "vf_loss",
    m.ACTION_ENTROPY: "entropy",
    m.EXPLAINED_VARIANCE: "vf_explained_var",
    m.WEIGHT_KEPT: "weight_kept",
}
"""Metrics that the policy's update reports."""

MODEL_METRICS = {
    m.ALPHA_ENTROPY: "alpha_entropy",
    m.ALPHA_ENTROPY_LOSS: "alpha_entropy_loss",
    m.LOAD_BALANCE_LOSS: "load_balance_loss",
    m.DIVERSITY_LOSS: "diversity_loss",
    m.PERSISTENCE_LOSS: "persistence_loss",
    m.ROLE_LOSS: "role_loss",
    m.ROUTING_LOSS: "routing_loss",
    m.GRAD_NORM: "grad_norm",
    m.NONFINITE_LOSS: "max_nonfinite_loss",
}
"""Metrics that `GATMoEModel.metrics` reports, averaged over the iteration's minibatches."""

SPEED_WINDOW = 10
"""Iterations over which speed is averaged: APPO's take what has come, nothing after a long wait or much at once."""


class IterationMeasures:
    """Takes the measures of one iteration after the other, on the driver."""

    def __init__(self) -> None:
        self._speed: deque[tuple[int, float]] = deque(maxlen=SPEED_WINDOW)
        """Environment steps and seconds of the last iterations."""

    def take(self, algorithm: CurriculumAlgorithm, result: dict[str, Any]) -> tuple[m.Row, dict[str, Any]]:
        """Return the row of an iteration that was counted, and the gate's histograms as plain data by key."""
        self._speed.append((result.get("num_env_steps_sampled_this_iter", 0), result["time_this_iter_s"]))
        shares = _shares(result)
        row = {**_episode_measures(result), **_learner_measures(result), **_phase_measures(algorithm)}
        row |= _run_measures(algorithm)
        row[m.STEPS_PER_SECOND] = sum(steps for steps, _ in self._speed) / sum(seconds for _, seconds in self._speed)
        row[m.USAGE_ENTROPY] = m.entropy(shares) if shares else math.nan
        row[m.MUTUAL_INFORMATION] = row[m.USAGE_ENTROPY] - row[m.ALPHA_ENTROPY]
        row[m.MIN_EXPERT_SHARE] = min(shares, default=math.nan)
        row |= {m.expert_share(index): share for index, share in enumerate(shares)}
        histograms = algorithm.learner_policy.model.gate_histograms()
        return m.in_order(row), {key: dataclasses.asdict(histogram) for key, histogram in histograms.items()}


def of_this_iteration(result: dict[str, Any], key: str) -> list[float]:
    """Return a measure of each of the iteration's episodes; RLlib pads the lists with older ones, in front."""
    runners = result.get("env_runners", {})
    count = runners.get("num_episodes", 0)
    return list(runners.get("hist_stats", {}).get(key, []))[-count:] if count else []


def _episode_measures(result: dict[str, Any]) -> dict[m.Metric, Any]:
    scores, measured = of_this_iteration(result, "score"), result.get("env_runners", {}).get("hist_stats", {})
    own = [*map(m.episode_measure, m.measures_of(measured)), *m.env_arguments_of(measured)]
    return {
        m.EPISODES: result.get("env_runners", {}).get("num_episodes", 0),
        m.SCORE_MEAN: m.mean_measure(scores),
        m.SCORE_STD: statistics.pstdev(scores) if scores else math.nan,
        m.SCORE_MAX: max(scores, default=math.nan),
        **{metric: m.mean_measure(of_this_iteration(result, metric.key)) for metric in own},
        m.RETURN_MEAN: m.mean_measure(of_this_iteration(result, "episode_reward")),
        m.LENGTH_MEAN: m.mean_measure(of_this_iteration(result, "episode_lengths")),
    }


def _run_measures(algorithm: CurriculumAlgorithm) -> dict[m.Metric, Any]:
    counters, group = algorithm._counters, algorithm.worker_group
    return {
        m.EPISODES_TOTAL: algorithm.episodes_total,
        m.ITERATION: counters[ITERATIONS],
        m.WALL_SECONDS: counters[WALL_SECONDS],
        m.REPLACED_ENVIRONMENTS: counters[REPLACED],
        m.ENV_STEPS_TOTAL: counters[NUM_ENV_STEPS_SAMPLED],
        m.WORKER_RESTARTS: counters[RLLIB_RESTARTS],
        m.LOST_WORKERS: group.num_remote_env_runners() - group.num_healthy_remote_env_runners(),
    }


def _learner(result: dict[str, Any]) -> dict[str, Any]:
    return result.get("info", {}).get("learner", {}).get("default_policy", {})


def _learner_measures(result: dict[str, Any]) -> dict[m.Metric, Any]:
    learner = _learner(result)
    stats, model, timers = learner.get("learner_stats", {}), learner.get("model", {}), result.get("timers", {})
    row = {metric: float(stats.get(key, math.nan)) for metric, key in LEARNER_METRICS.items()}
    row |= {metric: float(model.get(key, math.nan)) for metric, key in MODEL_METRICS.items()}
    declared = set(MODEL_METRICS.values())
    row |= {
        m.raw_loss(key): float(value) for key, value in model.items() if key.endswith("_loss") and key not in declared
    }
    # RLlib's own total_loss was taken before the routing losses were added.
    row[m.TOTAL_LOSS] = float(model.get("policy_objective", math.nan)) + row[m.ROUTING_LOSS]
    row[m.SAMPLE_SECONDS] = timers.get("sample_time_ms", math.nan) / 1000
    row[m.LEARN_SECONDS] = timers.get("learn_time_ms", math.nan) / 1000
    return row


def _phase_measures(algorithm: CurriculumAlgorithm) -> dict[m.Metric, Any]:
    policy = algorithm.learner_policy
    state, learning_rate, candidate = policy.learned_under
    row: dict[m.Metric, Any] = {metric: state.value(name) for name, metric in m.PHASE_VALUES.items()}
    row[m.ROUTER_CANDIDATE] = candidate + 1
    target, top = m.PHASE_VALUES["alpha_entropy_target"], math.log(policy.model.network.router.num_experts)
    row[target] = min(row[target], top)  # NaN stays NaN
    row[m.PHASE] = algorithm.schedule.at(int(state.episodes)).name
    row[m.ROUTING] = state.routing
    row[m.LEARNING_RATE] = learning_rate
    row[m.SKIPPED_UPDATES] = policy.skipped_updates
    return row


def _shares(result: dict[str, Any]) -> list[float]:
    model = _learner(result).get("model", {})
    count = sum(key.startswith("expert_share_") for key in model)
    return [float(model[f"expert_share_{index}"]) for index in range(count)]

"""The metrics callback: each iteration's row of measures, written into the result as `result["moe"]`.

Raw scores come from the environments by way of `sampling/vector_sampler.py`, routing measures from the model, timings
from RLlib. It changes nothing in the training.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

from rllib_moe import metrics as m
from rllib_moe.callbacks.phase_curriculum import InForce, episodes_of, policy_of, schedule_of

ITERATIONS_COUNTER = "moe_iterations"
WALL_SECONDS_COUNTER = "moe_wall_seconds"
REPLACED_COUNTER = "moe_replaced_environments"
"""Keys in `algorithm._counters` of iterations, wall time and replaced environments over the whole run."""
RESTARTS_COUNTER = "total_num_restored_workers"
"""RLlib's own key of workers that came back."""

LEARNER_METRICS = {
    m.POLICY_LOSS: "policy_loss",
    m.VALUE_LOSS: "vf_loss",
    m.ACTION_ENTROPY: "entropy",
    m.EXPLAINED_VARIANCE: "vf_explained_var",
    m.GRAD_NORM: "grad_gnorm",
    m.WEIGHT_KEPT: "weight_kept",
}
"""Metrics that the policy's update reports."""

MODEL_METRICS = {
    m.ALPHA_ENTROPY: "alpha_entropy",
    m.ALPHA_ENTROPY_LOSS: "alpha_entropy_loss",
    m.LOAD_BALANCE_LOSS: "load_balance_loss",
    m.DIVERSITY_LOSS: "diversity_loss",
    m.ROUTING_LOSS: "routing_loss",
    m.NONFINITE_LOSS: "max_nonfinite_loss",
}
"""Metrics that `GATMoEModel.metrics` reports, averaged over the iteration's minibatches."""

PHASE_METRICS = {
    m.TEMPERATURE: "temperature",
    m.ENTROPY_COEF: "entropy_coef",
    m.ALPHA_ENTROPY_COEF: "alpha_entropy_coef",
    m.ALPHA_ENTROPY_TARGET: "alpha_entropy_target",
    m.LOAD_BALANCE_COEF: "load_balance_coef",
    m.DIVERSITY_COEF: "diversity_coef",
}
"""Values of the phase, read from the model that learned under it."""


SPEED_WINDOW = 10
"""Iterations over which speed is averaged: APPO's take what has come, nothing after a long wait or much at once."""


class EpisodeMetrics(RLlibCallback):
    """Collects the row of measures on the driver."""

    def __init__(self) -> None:
        super().__init__()
        self._speed: deque[tuple[int, float]] = deque(maxlen=SPEED_WINDOW)
        """Environment steps and seconds of the last iterations."""

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any) -> None:
        """Write `result["moe"]`: a flat dict by the keys of `metrics.py`, describing the phase just played.

        Beside it `result["moe_histograms"]`, the fields of a `gate_histograms.Histogram` by key.
        """
        row = {**_episode_measures(result), **_learner_measures(result), **_phase_measures(algorithm)}
        row[m.EPISODES_TOTAL] = episodes_of(algorithm) + row[m.EPISODES]
        counters = algorithm._counters  # saved and restored; RLlib's own iteration and time begin anew on a restore
        counters[ITERATIONS_COUNTER] += 1
        counters[WALL_SECONDS_COUNTER] += result["time_this_iter_s"]
        counters[REPLACED_COUNTER] += int(sum(_this_iteration(result, "replaced_environments")))
        row[m.REPLACED_ENVIRONMENTS] = counters[REPLACED_COUNTER]
        row[m.WORKER_RESTARTS] = counters[RESTARTS_COUNTER]
        row[m.ITERATION] = counters[ITERATIONS_COUNTER]
        row[m.WALL_SECONDS] = counters[WALL_SECONDS_COUNTER]
        row[m.ENV_STEPS_TOTAL] = counters[NUM_ENV_STEPS_SAMPLED]
        self._speed.append((result.get("num_env_steps_sampled_this_iter", 0), result["time_this_iter_s"]))
        row[m.STEPS_PER_SECOND] = sum(steps for steps, _ in self._speed) / sum(seconds for _, seconds in self._speed)
        row[m.LOST_WORKERS] = _lost_workers(algorithm)
        shares = _shares(result)
        row[m.USAGE_ENTROPY] = m.entropy(shares) if shares else math.nan
        row[m.MUTUAL_INFORMATION] = row[m.USAGE_ENTROPY] - row[m.ALPHA_ENTROPY]
        row[m.MIN_EXPERT_SHARE] = min(shares, default=math.nan)
        row |= {m.expert_share(index): share for index, share in enumerate(shares)}
        result["moe"] = {metric.key: value for metric, value in row.items()}
        histograms = policy_of(algorithm).model.gate_histograms()
        result["moe_histograms"] = {key: dataclasses.asdict(histogram) for key, histogram in histograms.items()}
        super().on_train_result(algorithm=algorithm, result=result, **kwargs)


def _this_iteration(result: dict[str, Any], key: str) -> list[float]:
    """What was kept of each of the iteration's episodes; RLlib pads the lists with older ones, in front."""
    runners = result.get("env_runners", {})
    count = runners.get("num_episodes", 0)
    return list(runners.get("hist_stats", {}).get(key, []))[-count:] if count else []


def _episode_measures(result: dict[str, Any]) -> dict[m.Metric, Any]:
    scores = _this_iteration(result, "score")
    measures = m.measures_of(result.get("env_runners", {}).get("hist_stats", {}))
    return {
        m.EPISODES: result.get("env_runners", {}).get("num_episodes", 0),
        m.SCORE_MEAN: _mean(scores),
        m.SCORE_STD: statistics.pstdev(scores) if scores else math.nan,
        m.SCORE_MAX: max(scores, default=math.nan),
        **{
            (metric := m.episode_measure(name)): m.mean_measure(_this_iteration(result, metric.key))
            for name in measures
        },
        m.RETURN_MEAN: _mean(_this_iteration(result, "episode_reward")),
        m.LENGTH_MEAN: _mean(_this_iteration(result, "episode_lengths")),
    }


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _learner(result: dict[str, Any]) -> dict[str, Any]:
    return result.get("info", {}).get("learner", {}).get("default_policy", {})


def _learner_measures(result: dict[str, Any]) -> dict[m.Metric, Any]:
    learner = _learner(result)
    stats, model, timers = learner.get("learner_stats", {}), learner.get("model", {}), result.get("timers", {})
    row = {metric: float(stats.get(key, math.nan)) for metric, key in LEARNER_METRICS.items()}
    row |= {metric: float(model.get(key, math.nan)) for metric, key in MODEL_METRICS.items()}
    # RLlib's own total_loss was taken before the routing losses were added.
    row[m.TOTAL_LOSS] = float(model.get("policy_objective", math.nan)) + row[m.ROUTING_LOSS]
    row[m.SAMPLE_SECONDS] = timers.get("sample_time_ms", math.nan) / 1000
    row[m.LEARN_SECONDS] = timers.get("learn_time_ms", math.nan) / 1000
    return row


def _phase_measures(algorithm: Algorithm) -> dict[m.Metric, Any]:
    policy = policy_of(algorithm)
    # Where the learner has a thread of its own, a later phase may be in force by now.
    state, learning_rate = getattr(policy, "learned_under", None) or InForce.of(policy)
    row: dict[m.Metric, Any] = {metric: state.value(name) for metric, name in PHASE_METRICS.items()}
    top = math.log(policy.model.network.router.num_experts)
    row[m.ALPHA_ENTROPY_TARGET] = min(row[m.ALPHA_ENTROPY_TARGET], top)  # NaN stays NaN
    row[m.PHASE] = schedule_of(algorithm).at(int(state.episodes)).name
    row[m.ROUTING] = state.routing
    row[m.LEARNING_RATE] = learning_rate
    row[m.SKIPPED_UPDATES] = getattr(policy, "skipped_updates", 0)
    return row


def _lost_workers(algorithm: Algorithm) -> int:
    group = algorithm.env_runner_group
    return 0 if group is None else group.num_remote_env_runners() - group.num_healthy_remote_env_runners()


def _shares(result: dict[str, Any]) -> list[float]:
    model = _learner(result).get("model", {})
    count = sum(key.startswith("expert_share_") for key in model)
    return [float(model[f"expert_share_{index}"]) for index in range(count)]

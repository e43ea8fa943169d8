"""Every logged metric: its key, unit and meaning, declared once. Pure data; `callbacks/measures.py` measures.

A row of `progress.csv`, a TensorBoard scalar and `result["moe"]` in RLlib all use these keys.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rllib_moe.schedule.phases import VALUES

Row = dict[str, Any]
"""One iteration's measures by metric key."""


@dataclass(frozen=True)
class Metric:
    """One logged number or word, or a histogram (TensorBoard only) of the iteration's last minibatch."""

    key: str
    """Path under which it is logged."""
    unit: str
    """Unit, or what kind of value."""
    meaning: str
    """Meaning in one line."""

    @property
    def title(self) -> str:
        """Heading of a figure, such as `Policy loss`."""
        group, *_, name = self.key.split("/")
        words = _TITLES.get(self.key) or measure_heading(name).replace(" coef", " coefficient").capitalize()
        return f"{words} loss" if group == "loss" and self.key not in _TITLES else words


_TITLES = {
    "run/env_steps_per_second": "Speed",
    "run/sample_seconds": "Sampling",
    "run/learn_seconds": "Learning",
    "score/mean": "Score",
    "score/return_mean": "Return",
    "score/length_mean": "Episode length",
    "moe/min_expert_share": "Least used expert",
    "loss/action_entropy": "Action entropy",
    "loss/routing_weighted": "Routing losses, weighted",
    "loss/explained_variance": "Explained variance",
    "loss/grad_norm": "Gradient norm",
}
"""Headings that do not follow from the key."""


EPISODES_TOTAL = Metric("run/episodes_total", "episodes", "Finished over the whole run, resumed parts included")
EPISODES = Metric("run/episodes", "episodes", "Finished in this iteration")
ITERATION = Metric("run/iteration", "count", "Training iterations over the whole run")
ENV_STEPS_TOTAL = Metric("run/env_steps_total", "steps", "Environment steps over the whole run")
STEPS_PER_SECOND = Metric(
    "run/env_steps_per_second", "steps/s", "Environment steps over wall time, of the last ten iterations"
)
WALL_SECONDS = Metric("run/wall_seconds", "s", "Wall time of all iterations of the run so far, start-up excluded")
SAMPLE_SECONDS = Metric(
    "run/sample_seconds",
    "s",
    "Time spent sampling an iteration, mean of the last ten; under APPO the driver's waiting for samples in this "
    "iteration, its workers sampling all the time",
)
LEARN_SECONDS = Metric(
    "run/learn_seconds",
    "s",
    "Time spent in gradient steps an iteration, mean of the last ten; beside sampling under APPO",
)

SCORE_MEAN = Metric(
    "score/mean", "points", "Mean raw score of the iteration's episodes (the return where there is no score)"
)
SCORE_STD = Metric("score/std", "points", "Standard deviation of the raw score over the iteration's episodes")
SCORE_MAX = Metric("score/max", "points", "Best raw score of the iteration's episodes")
RETURN_MEAN = Metric("score/return_mean", "reward", "Mean undiscounted sum of (scaled, shaped) rewards")
LENGTH_MEAN = Metric("score/length_mean", "steps", "Mean length of the iteration's episodes")

PHASE = Metric("phase/name", "name", "Phase under which the iteration was sampled and learned (APPO: learned)")
ROUTING = Metric("phase/routing", "name", "Active gate function")
PHASE_VALUES = {name: Metric(f"phase/{name}", value.unit, value.meaning) for name, value in VALUES.items()}
"""One metric for each value of a phase; the learning rate is read back from the optimizer after the update."""
ENV_ARGUMENTS = "phase/env/"
"""Beginning of the keys of the environment's arguments."""
TEMPERATURE, LEARNING_RATE = PHASE_VALUES["temperature"], PHASE_VALUES["learning_rate"]

ALPHA_ENTROPY = Metric("moe/alpha_entropy", "nats", "Mean entropy of the gate in a state; ln K undecided, 0 one expert")
USAGE_ENTROPY = Metric("moe/usage_entropy", "nats", "Entropy of the experts' mean share; ln K when all are used alike")
MUTUAL_INFORMATION = Metric(
    "moe/mutual_information",
    "nats",
    "usage_entropy - alpha_entropy, at most ln K: how decided and evenly used the gate is. An untrained router can be "
    "so too: see `information` of an evaluation for what experts mean",
)
MIN_EXPERT_SHARE = Metric("moe/min_expert_share", "share", "Share of the least used expert")
ROUTER_CANDIDATE = Metric("moe/router_candidate", "number", "Candidate of the router that answers, counted from 1")

TOTAL_LOSS = Metric("loss/total", "1", "PPO's loss plus the weighted routing losses")
POLICY_LOSS = Metric("loss/policy", "1", "PPO's clipped surrogate loss")
VALUE_LOSS = Metric("loss/value", "1", "Critic's squared error, unweighted")
ACTION_ENTROPY = Metric("loss/action_entropy", "nats", "Entropy of the action distribution")
ALPHA_ENTROPY_LOSS = Metric("loss/alpha_entropy", "nats", "Raw alpha entropy loss (bonus, or distance to the target)")
LOAD_BALANCE_LOSS = Metric("loss/load_balance", "1", "Raw load balance loss: 0 even use, K - 1 collapse")
DIVERSITY_LOSS = Metric("loss/diversity", "1", "Raw diversity loss: mean cosine similarity of the experts, hinged at 0")
PERSISTENCE_LOSS = Metric("loss/persistence", "nats", "Raw persistence loss of the router that answers")
ROLE_LOSS = Metric("loss/role", "nats", "Raw role loss of the router that answers, where the environment names roles")
ROUTING_LOSS = Metric(
    "loss/routing_weighted", "1", "The routing losses, weighted and summed, over all candidates of the router"
)
NONFINITE_LOSS = Metric(
    "loss/nonfinite", "0 or 1", "Whether any minibatch of the iteration had a loss that is not finite"
)
EXPLAINED_VARIANCE = Metric(
    "loss/explained_variance", "1", "Variance of the returns which the critic explains; 1 is all"
)
WEIGHT_KEPT = Metric(
    "loss/weight_kept",
    "share",
    "APPO: mean of min(1, ratio) over the rows, the ratio of an action's probability before the update to that when it "
    "was taken; 1 without lag. NaN under PPO",
)
GRAD_NORM = Metric(
    "loss/grad_norm",
    "1",
    "Gradient norms of the router (all candidates) and of all else, added up, before they are clipped",
)
SKIPPED_UPDATES = Metric("run/skipped_updates", "count", "Gradient steps skipped as not finite, over the whole run")
REPLACED_ENVIRONMENTS = Metric(
    "run/replaced_environments", "count", "Environments replaced because they failed, over the whole run"
)
WORKER_RESTARTS = Metric("run/worker_restarts", "count", "Rollout workers that failed and came back, in the whole run")
LOST_WORKERS = Metric("run/lost_workers", "count", "Rollout workers that are down at the end of the iteration")


def _declared() -> Iterator[Metric]:
    for value in list(globals().values()):
        if isinstance(value, Metric):
            yield value
        elif value is PHASE_VALUES:
            yield from PHASE_VALUES.values()


METRICS = tuple(dict.fromkeys(_declared()))
"""Metrics of a row, but the experts' shares and the episode measures, which depend on network and environment."""

GENERAL_MEANS = ("score_mean", "return_mean", "length_mean")
"""Means over episodes that evaluations have of every environment; an environment's own measures are named likewise."""

ALPHA_ENTROPIES = Metric("moe/gate_entropy", "nats", "Alpha entropy in each state, from 0 to ln K")
"""Histogram of what `ALPHA_ENTROPY` is the mean of."""


def gate_weight(index: int) -> Metric:
    """The histogram of one expert's weight."""
    return Metric(f"moe/gate_weight_{index}", "share", f"Gate weight of expert {index} in each state, 0 to 1")


def expert_share(index: int) -> Metric:
    """The metric of one expert's share."""
    return Metric(f"moe/expert_share_{index}", "share", f"Mean gate weight of expert {index}; all shares sum to 1")


def raw_loss(name: str) -> Metric:
    """Return the metric of a routing loss beyond those declared above, by its name in the model (`..._loss`)."""
    return Metric(f"loss/{name.removesuffix('_loss')}", "1", f"Raw {name.replace('_', ' ')}")


def raw_losses_of(row: Mapping[str, object]) -> list[Metric]:
    """Return the metrics of the routing losses in a row beyond those declared above, in order."""
    declared = {metric.key for metric in METRICS}
    return [raw_loss(key.removeprefix("loss/")) for key in row if key.startswith("loss/") and key not in declared]


def episode_measure(name: str, unit: str = "", meaning: str = "") -> Metric:
    """The metric of an environment's own episode measure."""
    return Metric(f"score/{name}", unit, meaning)


def env_argument(name: str) -> Metric:
    """Return the metric of an argument of the environment that phases give."""
    return Metric(f"{ENV_ARGUMENTS}{name}", "1", f"The environment's {name}, mean over the iteration's episodes")


def env_arguments_of(row: Mapping[str, object]) -> list[Metric]:
    """Return the metrics of the environment's arguments in a row, in order."""
    return [env_argument(key.removeprefix(ENV_ARGUMENTS)) for key in row if key.startswith(ENV_ARGUMENTS)]


def measures_of(row: Mapping[str, object]) -> list[str]:
    """Return the names of the environment's own episode measures in a row, in order."""
    general = {metric.key for metric in METRICS}
    return [key.removeprefix("score/") for key in row if key.startswith("score/") and key not in general]


def evaluated_measures(numbers: Mapping[str, object]) -> list[str]:
    """Return the names of the environment's own episode measures in an evaluation, without those that are None."""
    means = [name for name, value in numbers.items() if name.endswith(("_mean", "_rate")) and value is not None]
    return [name for name in means if name not in GENERAL_MEANS]


def mean_measure(values: Iterable[float]) -> float:
    """Return the mean of the values of a measure over episodes, NaN where no episode had it."""
    measured = [value for value in values if not math.isnan(value)]
    return statistics.fmean(measured) if measured else math.nan


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean of independent values; None for fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def measure_heading(name: str) -> str:
    """Return the heading of an episode measure: a mean is the usual case, and goes without saying."""
    return name.removesuffix("_mean").replace("_", " ")


def entropy(shares: Sequence[float]) -> float:
    """Entropy in nats of shares that sum to 1; NaN where one is NaN."""
    if any(math.isnan(share) for share in shares):
        return math.nan
    return -sum(share * math.log(share) for share in shares if share > 0)


def in_order(row: Mapping[Metric, Any]) -> Row:
    """Return measures by key in the order of `METRICS`; any other comes after those of its group (`score/`, `moe/`)."""
    places = {metric.key: place for place, metric in enumerate(METRICS)}
    ends = {metric.key.partition("/")[0]: place for place, metric in enumerate(METRICS)}

    def place(metric: Metric) -> float:
        return places.get(metric.key, ends[metric.key.partition("/")[0]] + 0.5)

    return {metric.key: row[metric] for metric in sorted(row, key=place)}


def shares_of(row: Mapping[str, object]) -> list[float]:
    """The experts' shares in a row, in order."""
    shares: list[float] = []
    while (key := expert_share(len(shares)).key) in row:
        shares.append(float(str(row[key])))
    return shares


def rounded(value: Any, digits: int = 6) -> Any:
    """Return plain data for JSON, with its floats rounded and None for those that are not finite.

    Args:
        value: Plain data, arrays or tensors, also within mappings and lists.
        digits: Decimals.
    """
    if isinstance(value, Mapping):
        return {key: rounded(each, digits) for key, each in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [rounded(each, digits) for each in value]
    if isinstance(value, float):
        return round(value, digits) + 0.0 if math.isfinite(value) else None  # -0.0 + 0.0 is 0.0
    return value

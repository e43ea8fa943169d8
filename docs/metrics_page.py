"""The page of all logged metrics, docs/metrics.md, made from their declarations in rllib_moe/metrics.py.

How to run:
    python docs/metrics_page.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rllib_moe import metrics as m
from rllib_moe.envs.nethack.description import NetHackDescription

GROUPS = {
    "run": "Counts and times",
    "score": "Games",
    "phase": "The active phase",
    "moe": "Routing",
    "loss": "Learning",
}
"""Heading of each group of metrics, by the first part of their keys, in order."""

HEAD = """# Logged metrics

<!-- Made from rllib_moe/metrics.py by `make docs`; change it there. -->

Each training iteration adds one row to `progress.csv` and one point to every TensorBoard curve (its x axis is
`run/episodes_total`). The same keys are in RLlib's result under `result["moe"]`. K is the number of experts; entropies
are in nats, so ln K is the largest (1.386 for four experts). What could not be measured in an iteration is NaN (such as
a score when no episode ended).
"""

OWN = """An environment may add measures of its own (`episode_measures` of its `GraphDescription`): `score/<key>_mean`
or `score/<key>_rate`, over the episodes of the iteration whose last `info` has them. Those of `nethack`:

| key | unit | meaning |
|---|---|---|
"""

ENV = f"""A schedule whose phases set arguments of the environment has one `{m.env_argument("<name>").key}` for each
that is a number: its mean over the episodes that ended in the iteration.
"""

HISTOGRAMS = """## Histograms

In TensorBoard alone, over the states of the iteration's last minibatch; one `moe/gate_weight_...` for each expert.

| key | unit | meaning |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    metrics = sorted((*m.METRICS, m.expert_share(0)), key=lambda metric: list(GROUPS).index(_group(metric)))
    parts = [HEAD]
    for group, members in groupby(metrics, key=_group):
        parts.append(f"## {GROUPS[group]}\n\n| key | unit | meaning |\n|---|---|---|\n" + "".join(map(_row, members)))
        if group == "score":
            own = (m.episode_measure(e.name, e.unit, e.meaning) for e in NetHackDescription().episode_measures)
            parts.append(OWN + "".join(map(_row, own)))
        if group == "phase":
            parts.append(ENV)
    parts.append(f"There is one `{m.expert_share(0).key}`, `{m.expert_share(1).key}`, ... for each expert, in order.\n")
    parts.append(HISTOGRAMS + "".join(map(_row, (m.ALPHA_ENTROPIES, m.gate_weight(0)))))
    return "\n".join(parts)


def _group(metric: m.Metric) -> str:
    return metric.key.partition("/")[0]


def _row(metric: m.Metric) -> str:
    return f"| `{metric.key}` | {metric.unit} | {metric.meaning} |\n"


def main() -> None:
    """Write the page."""
    Path(__file__).with_name("metrics.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

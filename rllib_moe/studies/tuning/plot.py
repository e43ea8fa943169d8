"""The plot of a search: every trial's score, alpha entropy and mutual information over its episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import LIGHT
from rllib_moe.runtime.figures import add_legend, panels, save, styled
from rllib_moe.studies.tuning.journal import read_results
from rllib_moe.studies.tuning.records import FINISHED, TrialRecord
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MOE, SCORE
from rllib_moe.training.summary import SCORE_WINDOW

MAX_IN_LEGEND = 12
"""Trials named in the legend: the best ones."""
DRAWN: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    f"Score, mean of the last {SCORE_WINDOW} episodes (points)": lambda result: result[SCORE],
    "Alpha entropy (nats)": lambda result: result[MOE].get(m.ALPHA_ENTROPY.key, math.nan),
    "Mutual information (nats)": lambda result: result[MOE].get(m.MUTUAL_INFORMATION.key, math.nan),
}
"""Value of a result, by the heading of its panel."""


@styled()
def plot_trials(records: Sequence[TrialRecord], boundaries: Sequence[int], path: Path) -> None:
    """Draw the trials, the best with a thick line, those that did not finish dashed.

    Args:
        records: The trials, best first.
        boundaries: First episodes of the phases, drawn as lines; empty where trials differ in them.
        path: The PNG file.
    """
    figure, axes = panels(len(DRAWN), shared=True)
    # The best is drawn last, on top.
    for place, record in reversed(list(enumerate(records))):
        results = read_results(Path(record.path))
        style: dict[str, Any] = {
            "color": colormaps["turbo"](0.05 + 0.9 * place / max(1, len(records) - 1)),
            "linewidth": 2.8 if place == 0 else 1.2,
            "linestyle": "-" if record.state == FINISHED else "--",
            "marker": "o" if len(results) == 1 else None,
            "label": f"trial {record.number}{' (best)' if place == 0 else ''}" if place < MAX_IN_LEGEND else None,
        }
        for each, value in zip(axes, DRAWN.values(), strict=True):
            episodes = [result[EPISODES_TOTAL] for result in results]
            each.plot(episodes, [value(result) for result in results], **style)
    last = axes[0].dataLim.x1
    for each, title in zip(axes, DRAWN, strict=True):
        each.set_title(title)
        for boundary in boundaries:
            if boundary < last:
                each.axvline(boundary, color=LIGHT.muted, linewidth=1, linestyle=":")
    if boundaries:
        figure.texts[0].set_text("episodes (dotted: first episodes of phases)")
    handles, labels = axes[0].get_legend_handles_labels()
    add_legend(figure, dict(zip(labels[::-1], handles[::-1], strict=True)))
    save(figure, path)

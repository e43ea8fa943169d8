"""The plot of a search: every trial's score, alpha entropy and mutual information over its episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rllib_moe import metrics as m
from rllib_moe.runtime.files import atomic_write
from rllib_moe.studies.tuning.journal import read_results
from rllib_moe.studies.tuning.records import FINISHED, TrialRecord
from rllib_moe.studies.tuning.trial import EPISODES_TOTAL, MOE, SCORE
from rllib_moe.training.summary import SCORE_WINDOW

MAX_IN_LEGEND = 12
"""Trials named in the legend: the best ones."""


def plot_trials(records: Sequence[TrialRecord], boundaries: Sequence[int], path: Path) -> None:
    """Draw the trials, the best with a thick line, those that did not finish dashed.

    Args:
        records: The trials, best first.
        boundaries: First episodes of the phases, drawn as vertical lines; empty where trials differ in them.
        path: The PNG file.
    """
    figure = Figure(figsize=(9, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True)
    last = 0
    # The best is drawn last, on top.
    for place, record in reversed(list(enumerate(records))):
        results = read_results(Path(record.path))
        rows = [result[MOE] for result in results]
        episodes = [result[EPISODES_TOTAL] for result in results]
        last = max([last, *episodes])
        curves = (
            [result[SCORE] for result in results],
            [row.get(m.ALPHA_ENTROPY.key, math.nan) for row in rows],
            [row.get(m.MUTUAL_INFORMATION.key, math.nan) for row in rows],
        )
        label = f"trial {record.number}" + (" (best)" if place == 0 else "") if place < MAX_IN_LEGEND else None
        for panel, curve in zip(panels, curves, strict=True):
            panel.plot(
                episodes,
                curve,
                marker="o" if len(results) == 1 else None,
                label=label,
                color=colormaps["turbo"](0.05 + 0.9 * place / max(1, len(records) - 1)),
                linewidth=2.8 if place == 0 else 1.2,
                linestyle="-" if record.state == FINISHED else "--",
            )
    titles = (f"score, mean of the last\n{SCORE_WINDOW} episodes", "alpha entropy (nats)", "mutual information (nats)")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_ylabel(title)
        panel.grid(alpha=0.3)
        for boundary in boundaries:
            if boundary < last:
                panel.axvline(boundary, color="gray", linewidth=1, linestyle=":")
    panels[-1].set_xlabel("episodes" + (" (dotted: first episodes of phases)" if boundaries else ""))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", title="best first", frameon=False)
    figure.suptitle("Trials of the search")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=130, format="png")

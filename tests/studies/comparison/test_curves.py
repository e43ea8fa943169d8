"""Score curves of a comparison."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rllib_moe import metrics as m
from rllib_moe.runtime.colors import ACCENT, LIGHT
from rllib_moe.studies.comparison.curves import NUM_BINS, draw_curves, mean_scores


def rows(*played: tuple[int, int, float]) -> list[m.Row]:
    return [
        {m.EPISODES_TOTAL.key: total, m.EPISODES.key: episodes, m.SCORE_MEAN.key: score}
        for total, episodes, score in played
    ]


def test_a_point_is_the_mean_over_its_episodes() -> None:
    # 100 episodes in 50 stretches of 2. The first holds 1 + 3 episodes, the last what ends at 100 and beyond.
    nan = float("nan")
    episodes, scores = mean_scores(rows((1, 1, 10.0), (2, 3, 30.0), (2, 0, nan), (100, 1, 7.0), (103, 1, 9.0)), 100)
    assert episodes[0] == 1.0
    assert scores[0] == (10 + 3 * 30) / 4
    assert scores[-1] == 8.0
    assert np.isnan(scores[1:-1]).all()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    return figures


def lines(axes: Axes) -> list[tuple[str, list[float]]]:
    """Colour and scores of the curves in a panel, without the marks of the phases."""
    return [
        (line.get_color(), list(line.get_ydata())) for line in axes.get_lines() if len(line.get_ydata()) == NUM_BINS
    ]


def test_scores_below_zero_are_in_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    points = np.linspace(0, 100, NUM_BINS)
    draw_curves({"whole": [(points, points - 150)]}, [20], tmp_path / "a.png")
    draw_curves({"whole": [(points, points)]}, [20], tmp_path / "b.png")
    assert [figure.axes[0].get_ylim()[0] for figure in drawn] == [-150, 0]


def test_each_variant_has_a_panel_with_the_reference_behind_it(tmp_path: Path, drawn: list[Figure]) -> None:
    points = np.linspace(0, 100, NUM_BINS)
    whole = [(points, points), (points, points + 5)]
    curves = {"whole": whole, **{f"part {number}": [(points, points / number)] for number in range(1, 6)}}
    draw_curves(curves, [20, 60], tmp_path / "a.png")
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == [
        "whole (2 seeds)",
        *(f"part {number} (1 seed)" for number in range(1, 6)),
    ]
    first, *others = map(lines, drawn[0].axes)
    assert first == [(ACCENT, pytest.approx(list(points + 2.5)))]
    for number, ((behind, mean), (front, own)) in enumerate(others, 1):
        assert (behind, front) == (LIGHT.muted, ACCENT)
        assert mean == pytest.approx(list(points + 2.5))
        assert own == pytest.approx(list(points / number))
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["a phase begins", "whole (reference)", "mean over seeds", "least to most"]


def test_a_reference_alone_has_the_panel(tmp_path: Path) -> None:
    points = np.linspace(0, 100, NUM_BINS)
    draw_curves({"whole": [(points, points), (points, points + 5)]}, [20, 60], tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).shape[:2] == (450, 1080)

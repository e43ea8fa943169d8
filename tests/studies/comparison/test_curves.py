"""Score curves of a comparison."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_moe.runtime.colors import ACCENT, LIGHT
from rllib_moe.studies.comparison.curves import draw_curves
from rllib_moe.studies.report.curves import GRID, Curve

POINTS = np.linspace(0, 100, GRID)


def curve(scores: np.ndarray) -> Curve:
    return Curve(episodes=POINTS, mean=scores)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    figures: list[Figure] = []
    monkeypatch.setattr("rllib_moe.studies.comparison.curves.save", lambda figure, _: figures.append(figure))
    return figures


def lines(axes: Axes) -> list[tuple[str, list[float]]]:
    """Color and scores of the curves in a panel, without the marks of the phases."""
    return [(line.get_color(), list(line.get_ydata())) for line in axes.get_lines() if len(line.get_ydata()) == GRID]


def test_scores_below_zero_are_in_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_curves({"whole": [curve(POINTS - 150)]}, "whole", {"whole": [20]}, tmp_path / "a.png")
    assert drawn[0].axes[0].get_ylim()[0] <= -150


def test_scores_far_above_zero_fill_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_curves({"whole": [curve(POINTS + 400)]}, "whole", {"whole": [20]}, tmp_path / "a.png")
    assert drawn[0].axes[0].get_ylim()[0] > 350


def test_nothing_stands_in_for_a_reference_that_is_not_done(tmp_path: Path, drawn: list[Figure]) -> None:
    parts = {name: [curve(POINTS)] for name in ("part 1", "part 2")}
    draw_curves(parts, "whole", {name: [20] for name in parts}, tmp_path / "a.png")
    assert [len(lines(axes)) for axes in drawn[0].axes] == [1, 1]
    assert not any("reference" in text.get_text() for text in drawn[0].legends[0].get_texts())


def test_each_variant_has_a_panel_with_the_reference_behind_it(tmp_path: Path, drawn: list[Figure]) -> None:
    parts = {f"part {number}": [curve(POINTS / number)] for number in range(1, 6)}
    boundaries = {"whole": [20, 60], **{name: [20, 60] for name in parts}, "part 1": [40], "part 2": []}
    draw_curves({"whole": [curve(POINTS), curve(POINTS + 5)], **parts}, "whole", boundaries, tmp_path / "a.png")
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == [
        "whole (2 seeds)",
        *(f"part {number} (1 seed)" for number in range(1, 6)),
    ]
    marks = [[line.get_xdata()[0] for line in axes.get_lines() if len(line.get_ydata()) == 2] for axes in drawn[0].axes]
    assert marks == [[20, 60], [40], [], *[[20, 60]] * 3]
    first, *others = map(lines, drawn[0].axes)
    assert first == [(ACCENT, pytest.approx(list(POINTS + 2.5)))]
    for number, ((behind, mean), (front, own)) in enumerate(others, 1):
        assert (behind, front) == (LIGHT.muted, ACCENT)
        assert mean == pytest.approx(list(POINTS + 2.5))
        assert own == pytest.approx(list(POINTS / number))
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["a phase begins", "whole (reference)", "mean over seeds", "least to most"]

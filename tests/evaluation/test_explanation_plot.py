from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rllib_moe.evaluation import explanation_plot
from rllib_moe.evaluation.explanation import ALL


def test_no_legend_covers_what_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A legend within the axes would lie on bars, as all of these are long."""
    purposes = [{"fight": 0.5, "search": 0.5}] * 2
    scene = {"steps": 10, "share": [0.5, 0.5], "leads": [0.5, 0.5], "purposes": purposes}
    row = {"attention": 0.5, "equal": 0.5}
    removal = {"score_difference": -1.0, "score_difference_se": 0.1, "changes": 0.2, "divergence": 0.3}
    numbers = {
        "experts": ["expert 0", "expert 1"],
        "by_scene": {ALL: scene},
        "attention": {"by_class": {"ego": row}, "by_distance": {"1": row}, "distance_unit": "edges"},
        "removal": [{"expert": 0} | removal, {"expert": 1} | removal],
    }
    drawn: list[Figure] = []
    monkeypatch.setattr(explanation_plot, "save", lambda figure, _: drawn.append(figure))
    explanation_plot.write_plot(numbers, "title", tmp_path / "explain.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    legends = [(axes, legend) for axes in figure.axes if (legend := axes.get_legend())]
    assert len(legends) == 2
    for axes, legend in legends:
        box = legend.get_window_extent()
        assert box.y1 <= axes.get_window_extent().y0
        assert box.y0 >= 0
        assert not any(box.overlaps(other.get_tightbbox()) for other in figure.axes if other is not axes)

"""Score curves of a comparison."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rllib_moe import metrics as m
from rllib_moe.comparison.curves import NUM_BINS, draw_curves, mean_scores


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


def test_scores_below_zero_are_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Axes] = []
    subplots = Figure.subplots
    monkeypatch.setattr(Figure, "subplots", lambda self: drawn.append(subplots(self)) or drawn[-1])
    points = np.linspace(0, 100, NUM_BINS)
    draw_curves({"whole": [(points, points - 150)]}, [20], tmp_path / "a.png")
    draw_curves({"whole": [(points, points)]}, [20], tmp_path / "b.png")
    assert [axes.get_ylim()[0] for axes in drawn] == [-150, 0]


def test_the_picture_shows_each_variant(tmp_path: Path) -> None:
    points = np.linspace(0, 100, NUM_BINS)
    draw_curves(
        {"whole": [(points, points), (points, points + 5)], "part": [(points, points / 2)]},
        [20, 60],
        tmp_path / "a.png",
    )
    draw_curves({"whole": [(points, points)]}, [20, 60], tmp_path / "b.png")
    first, second = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "b.png"))
    assert first.shape == second.shape == (675, 1200, 3)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > len(np.unique(second.reshape(-1, 3), axis=0))

"""Score curves of a comparison."""

from pathlib import Path

import numpy as np
from PIL import Image

from rllib_moe import metrics as m
from rllib_moe.comparison.curves import NUM_BINS, draw_curves, score_curve


def rows(*played: tuple[int, int, float]) -> list[m.Row]:
    return [
        {m.EPISODES_TOTAL.key: total, m.EPISODES.key: episodes, m.SCORE_MEAN.key: score}
        for total, episodes, score in played
    ]


def test_a_point_is_the_mean_over_its_episodes() -> None:
    # 100 episodes in 50 stretches of 2. The first holds 1 + 3 episodes, the last what ends at 100 and beyond.
    nan = float("nan")
    episodes, scores = score_curve(rows((1, 1, 10.0), (2, 3, 30.0), (2, 0, nan), (100, 1, 7.0), (103, 1, 9.0)), 100)
    assert episodes[0] == 1.0
    assert scores[0] == (10 + 3 * 30) / 4
    assert scores[-1] == 8.0
    assert np.isnan(scores[1:-1]).all()


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

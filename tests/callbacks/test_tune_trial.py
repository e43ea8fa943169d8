"""The curriculum works unchanged inside plain Tune trials, each with coefficients of its own: the guide's example."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs" / "guide" / "examples" / "tune_script.py"


def test_every_trial_of_the_guides_script_follows_its_own_schedule(ray_session: None, tmp_path: Path) -> None:
    del ray_session
    rows = runpy.run_path(str(EXAMPLE))["main"](str(tmp_path))
    # 8 episodes an iteration, boundaries 16 and 32: the fifth is played in fine-tune.
    keys = ("phase/load_balance_coef", "phase/name", "phase/learning_rate", "run/episodes_total")
    assert sorted([row[key] for key in keys] for row in rows) == [
        [0.0, "fine-tune", 1e-4, 40],
        [0.5, "fine-tune", 1e-4, 40],
    ]

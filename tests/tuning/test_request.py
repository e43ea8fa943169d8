"""The command line of a search: what is refused before anything starts."""

from __future__ import annotations

import pytest

from rllib_moe.config import ConfigError
from rllib_moe.tuning.request import parse


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--grace-episodes", "9"], "grace_episodes: is for --scheduler asha, got --scheduler none"),
        (["--reduction-factor", "2"], "reduction_factor: is for --scheduler asha, got --scheduler none"),
        (
            ["--scheduler", "asha", "--perturb-every", "9"],
            "perturb_every: is for --scheduler pbt, got --scheduler asha",
        ),
    ],
)
def test_a_flag_of_another_scheduler_is_refused(flags: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(["--space", "coefficients", "--env", "regimes", *flags], description="")
    assert refused.value.faults == [told]

"""The command line of a search: what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rllib_moe.studies.tuning.request import REQUEST, parse
from rllib_moe.validation import ConfigError


def test_the_directory_of_a_search_may_be_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = parse(["--space", "coefficients", "--env", "regimes", "--exp-name", "mine"], description="")
    own = tmp_path / "tune" / "mine"
    own.mkdir(parents=True)
    (own / REQUEST).write_text(yaml.safe_dump(request.to_plain([])))
    (tmp_path / "link").symlink_to(own)
    for place, resume in ((own, "."), (tmp_path, "link"), (tmp_path, str(own))):
        monkeypatch.chdir(place)
        resumed = parse(["--resume", resume], description="")
        assert resumed.search.directory.resolve() == own
        assert resumed.search.exp_name == "mine"


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

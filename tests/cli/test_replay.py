import re

import pytest

from scripts.replay import main
from tests.refused import errors_of
from tests.untrained_checkpoint import save_untrained


def test_writes_a_page_and_a_moving_picture_of_a_run(tmp_path, capsys):
    run = save_untrained(tmp_path, "regimes", max_steps=20).parents[1]
    files = [tmp_path / "deep" / "replay.html", tmp_path / "replay.gif"]
    flags = f"--checkpoint {run} --seed 5 --max-steps 9 --deterministic --out {files[0]} --gif {files[1]}"
    told = main(flags.split())
    assert (told["steps"], told["ending"]) == (9, "truncated")
    assert told["bytes"] == {str(file): file.stat().st_size for file in files}
    shown = capsys.readouterr().out
    assert "9 steps, truncated, score" in shown
    assert str(files[0]) in shown
    page = files[0].read_text(encoding="utf-8")
    assert "<dt>environment</dt><dd>regimes (9 steps)</dd>" in page
    assert re.search(r"<dt>replayed at commit</dt><dd>[0-9a-z ]+, on .+ \(\d+ cores?\)</dd>", page)
    without = main([*flags.split(), "--remove-expert", "0"])
    assert without["steps"] == 9
    assert "removed" in files[0].read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "deep", "replay.gif"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("", ["checkpoint: missing; expected text (checkpoint directory, or a run directory, which stands for"]),
        ("--checkpoint nowhere", ["out: name a page to write"]),
        (
            "--seed -1 --out x.png --max-steps 0",
            ["seed: expected", "out: expected a file that ends in .html", "max_steps:"],
        ),
        (
            "--checkpoint nowhere --out tests.html",
            ["out: expected a file, 'tests.html' is a directory", "no such directory"],
        ),
    ],
)
def test_refuses_everything_at_once_and_writes_nothing(flags, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests.html").mkdir()
    refused = "\n".join(errors_of(main, flags.split()))
    for part in told:
        assert part in refused
    assert [path.name for path in tmp_path.iterdir()] == ["tests.html"]

"""Output of the commands: text as it is, and no error of a terminal that was closed."""

from __future__ import annotations

import errno
import sys
from unittest.mock import Mock

import pytest

from rllib_moe.runtime.console import say, standard_console


def test_brackets_and_colons_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    say(standard_console(), "results/[red]a:smile:" + "x" * 200)
    assert capsys.readouterr().out == "results/[red]a:smile:" + "x" * 200 + "\n"


@pytest.mark.parametrize("step", ["write", "flush"])
def test_a_closed_terminal_is_no_error_and_a_full_disk_is(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Mock(wraps=sys.stdout)
    monkeypatch.setattr(sys, "stdout", stream)
    getattr(stream, step).side_effect = OSError(errno.EIO, "Input/output error")
    say(standard_console(), "a line")
    getattr(stream, step).side_effect = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        say(standard_console(), "a line")

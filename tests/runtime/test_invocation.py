"""Commands are told as the user calls them."""

from __future__ import annotations

import sys

import pytest

from rllib_moe.runtime.invocation import called_as


@pytest.mark.parametrize(
    ("started", "told"),
    [
        ("scripts/train.py", ["python", "scripts/report.py", "results/a b"]),
        ("/opt/moe/scripts/train.py", ["python", "/opt/moe/scripts/report.py", "results/a b"]),
        ("rllib-moe train", ["rllib-moe", "report", "results/a b"]),
        ("my_own.py", ["rllib-moe", "report", "results/a b"]),
        ("", ["rllib-moe", "report", "results/a b"]),
    ],
)
def test_by_script_or_console_command(started: str, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert called_as("report", "results/a b") == told

"""Tests that a machine may skip: a pytest plugin that fails every other skip where `REQUIRE_ALL_TESTS` is set.

Continuous integration sets it. There a browser, a game or a library that is missing must not pass for a test.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
import torch

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

VARIABLE = "REQUIRE_ALL_TESTS"
EXPECTED = {
    "no GPU here": not torch.cuda.is_available(),
    "may not mount here": os.geteuid() != 0,
}
"""Reasons for which a test may be skipped, and whether this machine is one where it may."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no GPU here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for another reason."""
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped as a whole."""
    return _checked((yield))


def _checked(report: Report) -> Report:
    # What is expected to fail (`xfail`) counts as skipped too.
    if os.environ.get(VARIABLE) and report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple)
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not EXPECTED.get(reason):
            report.outcome = "failed"
            report.longrepr = f"{VARIABLE} is set, and this is no expected skip (tests/expected_skips.py): {reason}"
    return report

"""A skip fails the tests where all of them must run, unless it is one of those that are expected there."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import os
import pytest
from tests import expected_skips

expected_skips.EXPECTED |= {"none here": True, "some here": False}

@pytest.mark.skip(reason="none here")
def test_expected():
    pass

@pytest.mark.skip(reason="some here")
def test_expected_elsewhere():
    pass

def test_from_within():
    pytest.importorskip("no_such_module")

@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False

def test_passes():
    pass
"""


def test_an_unexpected_skip_fails_where_all_tests_must_run(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.importorskip("no_such_module")\n')
    flags = ("-p", "tests.expected_skips", "--continue-on-collection-errors", "--rootdir", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, tmp_path],
        # Where `CI` is set, pytest's summary repeats every message in full.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "REQUIRE_ALL_TESTS": "1", "CI": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    # Where the mark skips a test, it is its setup that fails.
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in done.stdout, done.stdout
    assert done.returncode == 1
    assert done.stdout.count("no expected skip (tests/expected_skips.py): ") == 3

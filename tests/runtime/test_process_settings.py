"""Settings that importing the package asks of the native libraries, each in a process of its own."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
{first}
import torch

def step():
    return [torch.ones(1 << 20) for _ in range(24)]  # 96 MB in large blocks, freed at once

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
FEW = 100
"""Page faults; otherwise there are 1,000, of many pages each where the system has large ones."""


def run(program: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GOMP", "OMP"))}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=environment | variables, check=True, capture_output=True, text=True
    ).stdout.strip()


def faults(first: str, **variables: str) -> int:
    return int(run(FAULTS.format(first=first), **variables))


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's malloc")
def test_memory_is_not_asked_for_anew_at_every_step() -> None:
    assert faults("import rllib_moe") < FEW
    # Now and then something lies on top of the freed blocks, by chance, and keeps them: so not every time.
    assert any(faults("") > FEW for _ in range(5))
    assert any(faults("import rllib_moe", MALLOC_TRIM_THRESHOLD_="131072") > FEW for _ in range(5))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(variables: dict[str, str], expected: str) -> None:
    program = "import os, rllib_moe; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(program, **variables) == expected

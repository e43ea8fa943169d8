"""Small searches through `scripts/tune.py`: 8 episodes an iteration, phases at 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.tune import main

Search = Callable[..., dict[str, Any]]


@pytest.fixture
def search_flags(small_flags: tuple[str, ...], tmp_path: Path) -> Callable[..., list[str]]:
    """Make the command line of a small search from its parameters."""

    def make(exp_name: str, parameters: dict[str, Any], *flags: str) -> list[str]:
        file = tmp_path / f"{exp_name}.yaml"
        file.write_text(yaml.safe_dump({"parameters": parameters}))
        place = ["--output-dir", str(tmp_path / "tune"), "--exp-name", exp_name, "--space", str(file)]
        return [*small_flags, *place, "--cpus-per-trial", "0.5", *flags]

    return make


@pytest.fixture
def search(ray_session: None, search_flags: Callable[..., list[str]]) -> Search:
    """Run a search in this process."""
    del ray_session
    return lambda *words: main(search_flags(*words))

"""The commands of this package as the user calls them: by the console command, or by the path of a script."""

from __future__ import annotations

import sys
from pathlib import Path

CONSOLE = "rllib-moe"
"""Name of the console command."""


def called_as(name: str, *words: str) -> list[str]:
    """Return a command line in the form in which this process was started.

    Args:
        name: Name of the command, such as `train`.
    """
    called = Path(sys.argv[0])
    is_script = called.parent.name == "scripts"
    return [*(["python", str(called.with_name(f"{name}.py"))] if is_script else [CONSOLE, name]), *words]

"""Words for the head of a page: the environment, the code and the machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def environment_words(env: str, max_steps: int, env_args: Mapping[str, Any]) -> str:
    """Return the environment's name with its length and arguments."""
    return f"{env} ({', '.join([f'{max_steps} steps', *(f'{name}={value}' for name, value in env_args.items())])})"


def commit_words(origin: Mapping[str, Any]) -> str:
    """Return the commit of what `provenance.describe` returned, empty where it is unknown."""
    if not origin.get("git_commit"):
        return ""
    return f"{str(origin['git_commit'])[:10]}{' with changes' if origin.get('git_changes') else ''}"


def machine_words(origin: Mapping[str, Any]) -> str:
    """Return the machine of what `provenance.describe` returned, empty where it is unknown."""
    if "cores" not in origin:
        return ""
    cores = origin["cores"]
    return f"{origin.get('gpu') or origin.get('cpu')} ({cores} core{'' if cores == 1 else 's'})"

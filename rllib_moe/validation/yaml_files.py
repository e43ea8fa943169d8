"""YAML as people write it, and the files that hold it; those that come with the package are known by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.words import did_you_mean


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes 1e-4 for a number as YAML 1.2 does, and not for text as YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """Parse YAML.

    Raises:
        ValueError: The text is not YAML; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506, a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"not YAML: {where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ValueError("not YAML: " + " ".join(str(error).split())) from error


def load_yaml(source: str | Path, bundled: Mapping[str, Path] | None = None, what: str = "file") -> Any:
    """Read a YAML file, or a bundled one by its name.

    Args:
        source: Name or path.
        bundled: Paths of the bundled files by name.
        what: Name of the kind of file, for the refusal.

    Raises:
        ConfigError: There is no such file, or it is not YAML.
    """
    path = (bundled or {}).get(str(source), Path(source))
    hint = f" or one of {', '.join(bundled)}" if bundled else ""
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        meant = did_you_mean(str(source), bundled or (), otherwise="")
        raise ConfigError(
            [f"{what}: cannot read {str(source)!r} ({reason}); expected a YAML file{hint}{meant}"]
        ) from None
    except ValueError as error:
        raise ConfigError([f"{what} {source}: {error}"]) from None


def bundled_files(directory: Path) -> dict[str, Path]:
    """Return the YAML files of a directory by name, in alphabetical order."""
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}

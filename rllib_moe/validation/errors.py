"""Refusals and failures: what ends a command, with which status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class RefusedError(ValueError):
    """A request cannot be carried out as asked. A command ends with status 2."""


class FailedError(RuntimeError):
    """Work that was begun cannot go on. A command ends with status 1."""


class ConfigError(RefusedError):
    """A request is refused. The message names the source of the errors and lists them all, one a line."""

    def __init__(self, errors: Iterable[str], source: str = "configuration") -> None:
        self.errors = tuple(errors)
        self.source = source
        super().__init__(f"{source} refused:\n" + "\n".join(f"  - {error}" for error in self.errors))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.source)


@contextmanager
def collected(errors: list[str]) -> Iterator[None]:
    """Append the errors of a refusal inside the block to a list, and go on after it."""
    try:
        yield
    except ConfigError as error:
        errors += error.errors

"""Words of refusals: what a field takes, and what an unknown word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return a hint to append to a refusal of a word: the nearest known one, whatever the case.

    If none is near: `otherwise`, or the list of all known words if that is None.
    """
    names = {name.lower(): name for name in known}
    if match := difflib.get_close_matches(word.lower(), names, n=1):
        return f" (did you mean {names[match[0]]!r}?)"
    return f"; expected one of {', '.join(names.values())}" if otherwise is None else otherwise


def expectation(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return in words what a field of a type takes, such as `a whole number, 1 or more`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        field = FieldInfo.from_annotation(annotation)
        return expectation(field.annotation, [*field.metadata, *metadata])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, UnionType):
        return " or ".join(expectation(each, metadata) for each in arguments if each is not NoneType)
    if origin in (list, tuple):
        least = ", at least one" if any(isinstance(each, annotated_types.MinLen) for each in metadata) else ""
        return f"a list of {expectation(arguments[0]).removeprefix('a ')}s{least}" if arguments else "a list"
    kinds_by_type = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        dict: "a mapping of names to values",
    }
    if annotation is str:
        return "a non-empty text" if any(isinstance(each, annotated_types.MinLen) for each in metadata) else "text"
    kind = kinds_by_type.get(origin or annotation, "a mapping")
    return kind + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    words = {"ge": "{:g} or more", "gt": "above {:g}", "le": "at most {:.12g}", "lt": "below {:g}"}
    found = {name: value for each in metadata for name in words if (value := getattr(each, name, None)) is not None}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:.12g}"
    parts = [words[name].format(value) for name, value in found.items()]
    return f", {' and '.join(parts)}" if parts else ""

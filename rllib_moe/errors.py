"""What an unknown word may have meant: the hint at the end of a refusal. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return a hint to append to a refusal of `word`: the nearest known word, whatever the case, else all of them.

    Args:
        word: What is not known.
        known: What is.
        otherwise: What to say where nothing is near, in place of all known words.
    """
    names = {name.lower(): name for name in known}
    if match := difflib.get_close_matches(word.lower(), names, n=1):
        return f" (did you mean {names[match[0]]!r}?)"
    return f"; expected one of {', '.join(names.values())}" if otherwise is None else otherwise

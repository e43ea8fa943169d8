"""Compilation of functions by numba, and the cache of their machine code.

numba's disk cache looks at the file a function stands in, not at the functions and constants it takes from other
files, so an edit in one module would leave stale machine code in another. `compiled` drops what is older than any
source file of the function's package. Source: https://numba.readthedocs.io/en/stable/developer/caching.html
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _drop_stale_caches(directory: Path) -> None:
    newest_source = max(source.stat().st_mtime_ns for source in directory.glob("*.py"))
    for index in directory.glob("__pycache__/*.nbi"):
        try:
            if index.stat().st_mtime_ns < newest_source:
                index.unlink()
        except OSError:
            # Another process was faster, or the installation is read-only and its sources do not change.
            continue


def compiled(function: F, *, fastmath: bool | set[str] = False) -> F:
    """Compile a function at its first call, without the interpreter lock, and keep the machine code on disk.

    Args:
        fastmath: LLVM's flags of inexact arithmetic; none by default.
    """
    _drop_stale_caches(Path(function.__code__.co_filename).parent)
    return cast(F, njit(cache=True, nogil=True, error_model="numpy", fastmath=fastmath)(function))


def inlined(function: F) -> F:
    """Compile a small function into its callers: passing arrays costs more than its work."""
    return cast(F, njit(inline="always", error_model="numpy")(function))

"""One copy of NetHack's machine code in memory for all games of a process.

NetHack keeps its state in global variables, so NLE loads a copy of its library for every game. The copies' code is the
same, but lies in memory as often as there are games: played in turn, 32 games push each other's code out of the
processor's caches, and a key takes several times as long as in a game alone (docs/performance.md). `share_code` maps
the code and constants of a loaded copy from the installed library instead: the same bytes at the same addresses, in
memory that all copies have in common, as the system does it for any library that is loaded once a process.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nle.nethack.nethack import DLPATH

logger = logging.getLogger(__name__)

_MAP_FIXED = 0x10
_FAILED = ctypes.c_void_p(-1).value
_MAPPING = re.compile(rb"(\w+)-(\w+) (r-.)p (\w+) \S+ (\d+) ")
"""A private mapping without write access in /proc/self/maps: begin, end, permissions, offset in the file, inode.
https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html"""


class _Mapping(NamedTuple):
    begin: int
    size: int
    protection: int
    offset: int


def share_code(copy: BinaryIO) -> None:
    """Map the code and constants of a loaded copy of NetHack's library from the installed one.

    Call it while no function of the copy runs. What the loader has written to stays the copy's own. On another system
    than Linux nothing is done.

    Args:
        copy: The open file that the copy was loaded from.
    """
    if sys.platform == "linux":
        for mapping in list(_read_only_mappings(os.fstat(copy.fileno()).st_ino)):
            if _is_untouched(mapping):
                _map_from_original(mapping)


def _read_only_mappings(inode: int) -> Iterator[_Mapping]:
    wanted = b" %d " % inode
    with Path("/proc/self/maps").open("rb") as maps:
        for line in maps:
            # Thousands of lines at every new game: the pattern is for the few with the number in them.
            if wanted in line and (found := _MAPPING.match(line)) and int(found[5]) == inode:
                begin, end = int(found[1], 16), int(found[2], 16)
                execute = mmap.PROT_EXEC if found[3] == b"r-x" else 0
                yield _Mapping(begin, end - begin, mmap.PROT_READ | execute, int(found[4], 16))


@cache
def _original() -> BinaryIO:
    return Path(DLPATH).open("rb")  # kept open as long as the process


_untouched: dict[tuple[int, int], bool] = {}


def _is_untouched(mapping: _Mapping) -> bool:
    """Return whether a mapping holds what the file does. Compared once: all copies are loaded in the same way."""
    place = (mapping.offset, mapping.size)
    if place not in _untouched:
        in_file = os.pread(_original().fileno(), mapping.size, mapping.offset).ljust(mapping.size, b"\0")
        _untouched[place] = ctypes.string_at(mapping.begin, mapping.size) == in_file
    return _untouched[place]


def _map_from_original(mapping: _Mapping) -> None:
    flags = mmap.MAP_PRIVATE | _MAP_FIXED
    where = _libc().mmap(mapping.begin, mapping.size, mapping.protection, flags, _original().fileno(), mapping.offset)
    if where == _FAILED:
        logger.warning("NetHack's code could not be shared: %s", os.strerror(ctypes.get_errno()))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    return libc

"""Settings that a process of this package asks of the native libraries under it. Settings of the user's own stand.

To be applied before torch is imported.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 1 << 28
"""Free memory that malloc keeps at hand: several times what one gradient step allocates."""


def apply() -> None:
    """Apply all of them."""
    _spin_briefly()
    _keep_freed_memory()


def _spin_briefly() -> None:
    """Let OpenMP's threads wait for each other for some ten microseconds before they sleep.

    By default they spin for milliseconds. Where a core is shared (Ray's own processes, another job) they spin away the
    time that the awaited thread needs: a gradient step took 2,000 ms in place of 90 on two busy cores. Sleeping at once
    costs 30 % on idle cores; ten thousand turns cost neither.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _keep_freed_memory() -> None:
    """Let glibc's malloc keep what torch frees.

    By default large blocks go back to the system and are asked for anew at every gradient step, and the system clears
    them page by page: 1,500 page faults, 7 to 10 % of the step.
    https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
    """
    own = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"}
    if sys.platform == "linux" and not own & os.environ.keys():
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)

"""Memory that one step frees serves the next: the C library keeps it instead of handing its pages
back to the system.

The layers of a population are pieces of 0.1 to 32 MB. glibc's own setting returns such pieces after
many a step, and each page taken anew costs as much as working on it
(https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html).
"""

from __future__ import annotations

import ctypes
import functools
import sys

# malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

PIECE = 1 << 25  # bytes: the most that glibc takes for M_MMAP_THRESHOLD
KEPT = 1 << 28  # bytes at the end of the heap


@functools.cache
def keep_freed() -> bool:
    """For the rest of the process, once. False where the C library has no such setting (macOS,
    Windows, musl): nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, PIECE)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))

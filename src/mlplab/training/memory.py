"""Let the C library keep freed memory for the next step instead of returning it to the system.

The layers of a population are allocations of 0.1 to 32 MB. By default glibc returns such memory
after many steps, and each page that is requested again costs as much as computing on it
(https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html).
"""

from __future__ import annotations

import ctypes
import functools
import sys

# malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

MMAP_THRESHOLD_BYTES = 1 << 25  # the maximum that glibc accepts
TRIM_THRESHOLD_BYTES = 1 << 28  # free memory kept at the end of the heap


@functools.cache
def retain_freed_memory() -> bool:
    """Set glibc's thresholds for the rest of the process, once.

    Returns False, and changes nothing, if the C library has no such setting (macOS, Windows, musl).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)) and bool(
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
    )

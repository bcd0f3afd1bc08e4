"""How much longer this process takes because other programs use the processors."""

from __future__ import annotations

import contextlib
from pathlib import Path

_SCHEDULING = Path("/proc/self/schedstat")
"""Nanoseconds that the main thread has run, and that it has waited for a processor (Linux)."""


class Contention:
    """Measures from its creation on how long the main thread waits for a processor."""

    def __init__(self) -> None:
        self._start = _run_and_wait()

    def slowdown(self) -> float:
        """Return the time until work is done over the processor time that it takes; 1 if no
        program competes, or if this system does not tell.
        """
        run, wait = (now - start for now, start in zip(_run_and_wait(), self._start, strict=True))
        return 1 + wait / run if run > 0 else 1.0


def _run_and_wait() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        run, wait = _SCHEDULING.read_text().split()[:2]
        return int(run), int(wait)
    return 0, 0

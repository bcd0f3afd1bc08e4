"""The computing time that a training takes: wall time, and processor time of all threads."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class ComputeTime:
    """Seconds of wall time and of processor time."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: ComputeTime) -> ComputeTime:
        return ComputeTime(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: ComputeTime) -> ComputeTime:
        return ComputeTime(self.wall - other.wall, self.cpu - other.cpu)

    def __mul__(self, number: float) -> ComputeTime:
        return ComputeTime(self.wall * number, self.cpu * number)

    def rounded(self, device: str = "cpu") -> dict[str, float | None]:
        """Return the entries `seconds` and `cpu_seconds` of a summary.

        On a CUDA device the processor only waits, so its time says nothing and is None.
        """
        on_cuda = device.startswith("cuda")
        return {
            "seconds": round(self.wall, 3),
            "cpu_seconds": None if on_cuda else round(self.cpu, 3),
        }


def _now() -> ComputeTime:
    return ComputeTime(time.monotonic(), time.process_time())


class Stopwatch:
    """The computing time of this process since the stopwatch was made, or since its last lap."""

    def __init__(self) -> None:
        self._start = _now()

    @property
    def elapsed(self) -> ComputeTime:
        return _now() - self._start

    def lap(self) -> ComputeTime:
        """Return the time since the last lap, and start the next one."""
        now = _now()
        lap, self._start = now - self._start, now
        return lap

    def include(self, before: ComputeTime) -> None:
        """Count at least this time, which another process spent, in this lap."""
        earliest = _now() - before
        self._start = ComputeTime(
            min(self._start.wall, earliest.wall), min(self._start.cpu, earliest.cpu)
        )

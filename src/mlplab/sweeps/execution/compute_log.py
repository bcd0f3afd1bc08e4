"""The computing time of a sweep over all of its processes: drivers, workers and resumes.

Each process appends the time that it has worked since its last line: start and end in seconds since
1970, and seconds of processor time. A killed process loses what it had not appended.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlplab.io.links import open_to_append, refuse_links
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.training import Callback, Group, Row, Session

FILE_NAME = ".compute.csv"
MAX_BYTES = 1 << 26
MIN_PAUSE = 5.0
"""Seconds between two lines of a process; of a long one, the pause grows with its time."""
GROWTH = 0.02


class ComputeLog(Callback):
    """Appends the time of this process to the log of a sweep, also during a training that it
    follows. Raises LinkError if the log is a link.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        refuse_links([self.path])
        self._total, self._since_line = Stopwatch(), Stopwatch()

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        self.keep_up()

    def keep_up(self) -> None:
        """Append a line if the last one is some time ago."""
        pause = max(MIN_PAUSE, GROWTH * self._total.elapsed.wall)
        if self._since_line.elapsed.wall > pause:
            self.append()

    def append(self) -> None:
        """Append the time since the last line. A full disk costs this line, not the sweep."""
        spent, end = self._since_line.lap(), time.time()
        line = f"{end - spent.wall:.3f},{end:.3f},{spent.cpu:.3f}\n"
        with contextlib.suppress(OSError), open_to_append(self.path) as file:
            file.write(line.encode())


def total_time(folder: Path) -> ComputeTime | None:
    """Return the computing time of a sweep; None if nothing is known about it.

    The wall time is that in which at least one process worked, the processor time the sum over all
    processes. Damaged lines are left out.
    """
    intervals = sorted(_intervals(folder / FILE_NAME))
    if not intervals:
        return None
    wall, last_end = 0.0, -math.inf
    for start, end, _ in intervals:
        wall += max(0.0, end - max(start, last_end))
        last_end = max(end, last_end)
    return ComputeTime(wall, sum(cpu for _, _, cpu in intervals))


def _intervals(path: Path) -> Iterator[tuple[float, float, float]]:
    """Start, end and processor time of each sound line."""
    text = ""
    with contextlib.suppress(OSError, ValueError):
        if not path.is_symlink() and path.is_file() and path.stat().st_size <= MAX_BYTES:
            text = path.read_text(encoding="ascii")
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            start, end, cpu = map(float, line.split(","))
            if 0 <= start <= end < math.inf and 0 <= cpu < math.inf:
                yield start, end, cpu

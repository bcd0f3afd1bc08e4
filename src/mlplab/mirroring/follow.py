"""The process beside a training that mirrors it to one tracker, as far as the tracker answers.

It reads from its standard input until the training has ended, and ends itself if the tracker does
not answer for a minute, or is slow for more than ten minutes after the training.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
import traceback
from pathlib import Path

from mlplab.mirroring.sending import Mirror
from mlplab.mirroring.state import locked

PAUSE = 1.0
"""Seconds between two looks at the folder, more if a look takes longer than a twentieth of that."""
RETRY = 20.0
"""Seconds after a failure until the tracker is tried again."""
STALL = 60.0
"""Seconds after which a tracker that has not answered does not get more time."""
LINGER = 600.0
"""Seconds after the training in which a tracker that answers may get the rest."""


class Watchdog:
    """Ends the process if `beat` is not called in time: a library that waits for a server cannot be
    interrupted otherwise.
    """

    def __init__(self, stall: float = STALL) -> None:
        self._stall, self._last, self._end = stall, time.monotonic(), float("inf")
        threading.Thread(target=self._watch, daemon=True).start()

    def beat(self) -> None:
        """Note that the tracker has answered."""
        self._last = time.monotonic()

    def end_within(self, seconds: float) -> None:
        """End the process after this time, whether the tracker answers or not."""
        self._end = time.monotonic() + seconds

    def _watch(self) -> None:
        while True:
            time.sleep(0.5)
            now = time.monotonic()
            if now - self._last > self._stall or now > self._end:
                answer = "is slow" if now > self._end else f"has not answered for {STALL:.0f} s"
                print(f"the tracker {answer}", file=sys.stderr, flush=True)
                os._exit(3)


def follow(folder: Path, tracker: str) -> int:
    """Mirror what a training writes into a folder until it has ended; return the exit code. Errors
    of the tracker are printed, and it is tried again.
    """
    with contextlib.suppress(OSError):
        os.nice(5)  # the training comes first
    watchdog, parent = Watchdog(), os.getppid()
    with locked(folder, tracker, watchdog.beat):
        mirror = Mirror(folder, tracker, beat=watchdog.beat)
        failed_at, took, ended = -RETRY, 0.0, False
        while True:
            started = time.monotonic()
            watchdog.beat()
            failed = False
            if ended or started - failed_at >= RETRY:
                failed = not _sync(mirror, ended)
                failed_at = time.monotonic() if failed else -RETRY
                took = time.monotonic() - started
            if ended:
                return int(failed)
            ended = _wait_for_end(watchdog, parent, max(PAUSE, 20 * took))
            if ended:
                watchdog.end_within(LINGER)


def _sync(mirror: Mirror, ended: bool) -> bool:
    try:
        mirror.sync(ended)
        return True
    except Exception:
        traceback.print_exc()
        mirror.forget()
        return False


def _wait_for_end(watchdog: Watchdog, parent: int, seconds: float) -> bool:
    """Wait, and return whether the training has ended: it says so on our standard input, or its
    process has ended.
    """
    deadline = time.monotonic() + seconds
    while (rest := deadline - time.monotonic()) > 0:
        watchdog.beat()
        readable, _, _ = select.select([sys.stdin], [], [], min(rest, 5.0))
        if readable or os.getppid() != parent:
            return True
    return False

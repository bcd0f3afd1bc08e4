"""Signals that ask a training to stop: noted, and honored between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Interrupted(KeyboardInterrupt):
    """Somebody asked the program to stop. `signal` is the number; the exit code is 128 + it."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped by {name(number)}")
        self.signal = int(number)


def name(number: int) -> str:
    """ "SIGTERM"."""
    return signal.Signals(number).name


class Signals:
    """While it is entered, the first signal is noted in `received`; with `at_once` set it raises
    Interrupted there and then.

    A second SIGINT always leaves at once. Handlers that were there before are called too, and are
    back afterwards; a signal that was ignored (nohup) stays ignored. Outside the main thread, where
    Python has no signals, nothing is hooked.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.received: int | None = None
        self.at_once = at_once
        self.hooked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for word in NAMES:
                number = getattr(signal, word, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
            self.hooked = True
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = number == signal.SIGINT and self.received == signal.SIGINT
        self.received = self.received or number
        before = self._before.get(number)
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)
        if again or self.at_once:
            raise Interrupted(number)

    def check(self) -> None:
        """Raise Interrupted where a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)

"""Signals that stop a training: recorded when they arrive, honored between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program. `signal` is its number; the exit code is 128 + `signal`."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped by {name(number)}")
        self.signal = int(number)


def name(number: int) -> str:
    """Return the name of a signal: 15 -> "SIGTERM"."""
    return signal.Signals(number).name


class Signals:
    """Context manager that stores the first signal in `received`, or raises Interrupted if
    `raise_immediately` is set.

    A second SIGINT always raises Interrupted. Previous handlers are called too and restored at the
    end; a signal that was ignored (nohup) stays ignored. Outside the main thread, where Python
    cannot handle signals, no handlers are installed.
    """

    def __init__(self, raise_immediately: bool = False) -> None:
        self.received: int | None = None
        self.raise_immediately = raise_immediately
        self.installed = False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signal_name in NAMES:
                number = getattr(signal, signal_name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous_handlers[number] = signal.signal(number, self._handle)
            self.installed = True
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second_sigint = number == signal.SIGINT and self.received == signal.SIGINT
        self.received = self.received or number
        previous = self._previous_handlers.get(number)
        if callable(previous) and previous is not signal.default_int_handler:
            previous(number, frame)
        if is_second_sigint or self.raise_immediately:
            raise Interrupted(number)

    def check(self) -> None:
        """Raise Interrupted if a signal has arrived."""
        if self.received is not None:
            raise Interrupted(self.received)

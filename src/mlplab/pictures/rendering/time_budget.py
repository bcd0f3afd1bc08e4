"""How much time pictures may take while a network trains."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Budget:
    """A share of the time since its making. What does not fit is left out, so that a run with
    pictures is hardly slower than one without.
    """

    def __init__(self, fraction: float, expected: float) -> None:
        # seconds that the next piece of work is thought to take
        self.fraction, self.expected = fraction, expected
        self.started, self.spent = time.monotonic(), 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def allows(self) -> bool:
        """Whether another piece of work fits."""
        return self.spent + self.expected <= self.fraction * self.elapsed

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Count the time of a piece of work."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.expected = time.monotonic() - started
            self.spent += self.expected

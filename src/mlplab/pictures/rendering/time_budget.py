"""Limit on the time that drawing may take while a network trains."""

import contextlib
import time
from collections.abc import Iterator


class Budget:
    """A fraction of the time since its creation.

    Work that does not fit is skipped, so that a run with pictures is hardly slower than one
    without. `fraction` is in [0, 1]; `expected` is the estimated duration of the next work in
    seconds.
    """

    def __init__(self, fraction: float, expected: float) -> None:
        self.fraction, self.expected = fraction, expected
        self.started, self.spent = time.monotonic(), 0.0

    def allows(self) -> bool:
        """Return whether the next work fits into the budget."""
        elapsed = time.monotonic() - self.started
        return self.spent + self.expected <= self.fraction * elapsed

    def affordable(self) -> int:
        """Return how many works of the estimated duration fit into the budget."""
        room = self.fraction * (time.monotonic() - self.started) - self.spent
        return int(room / self.expected) if room > 0 and self.expected > 0 else 0

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Count the time spent in this context, which is also the estimate for the next work."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.expected = time.monotonic() - started
            self.spent += self.expected

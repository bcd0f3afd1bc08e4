"""Processor time relative to a fixed piece of Python: tests of cost on slow or busy machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

REFERENCE = 0.008
"""Processor seconds of `_reference_work` on the machine that the limits are written for."""


def cheapest(work: Callable[[], Any], attempts: int = 1) -> float:
    """Processor seconds of the cheapest attempt, as they would be on the machine of reference.

    Other programs on the cores make a program slower even in processor time (they share caches and
    clock), by a factor that changes within seconds; so the reference is timed before and after each
    attempt. A faster machine gets no stricter limit.
    """
    costs = []
    for _ in range(attempts):
        before = _cost(_reference_work)
        cost = _cost(work)
        costs.append(cost / max(1.0, (before + _cost(_reference_work)) / 2 / REFERENCE))
    return min(costs)


def slowdown() -> float:
    """How many times slower than the machine of reference this one is now; at least 1.

    Where more programs want to run than there are cores, twice what the reference says: it fits
    into the caches, and what does not fit suffers more.
    """
    busy = 2.0 if os.getloadavg()[0] > (os.cpu_count() or 1) + 0.5 else 1.0
    return busy * max(1.0, sorted(_cost(_reference_work) for _ in range(5))[2] / REFERENCE)


def _cost(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _reference_work() -> None:
    table: dict[str, float] = {}
    for i in range(20_000):
        key = f"a{i % 97}"
        table[key] = table.get(key, 0) + i * 0.5

"""Processor time relative to a fixed reference program, for tests of cost on busy machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

REFERENCE = 0.008
"""Processor seconds of `_reference_work` on the reference machine, for which the limits are."""


def cheapest(work: Callable[[], Any], attempts: int = 1) -> float:
    """Return the processor seconds of the cheapest attempt, converted to the reference machine.

    Other programs on the cores make a program slower even in processor time (they share caches and
    clock), by a factor that changes within seconds; so the reference is timed before and after each
    attempt. A faster machine gets no stricter limit.
    """
    costs = []
    for _ in range(attempts):
        reference_before = _cost(_reference_work)
        cost = _cost(work)
        costs.append(cost / max(1.0, (reference_before + _cost(_reference_work)) / 2 / REFERENCE))
    return min(costs)


def slowdown() -> float:
    """Return how many times slower than the reference machine this one is now; at least 1.

    The result is doubled if there are more running programs than cores: the reference program fits
    into the caches, and larger programs suffer more.
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

"""Limits of processor time that hold on a slow or busy machine too: they grow with what a fixed
piece of Python costs there and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# processor seconds of `_piece` on the machine that the limits of the tests are written for
REFERENCE = 0.008


def cheapest(work: Callable[[], Any], attempts: int = 1) -> float:
    """Processor seconds of the cheapest attempt at the work, as they would be on the machine of
    reference.

    Other programs on the cores make a program slower even in processor time (they share caches and
    clock), by a factor that changes within seconds; so the piece is timed before and after each
    attempt. A faster machine gets no stricter limit.
    """
    found = []
    for _ in range(attempts):
        before = _cost(_piece)
        cost = _cost(work)
        found.append(cost / max(1.0, (before + _cost(_piece)) / 2 / REFERENCE))
    return min(found)


def _cost(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _piece() -> None:
    table: dict[str, float] = {}
    for i in range(20_000):
        key = f"a{i % 97}"
        table[key] = table.get(key, 0) + i * 0.5

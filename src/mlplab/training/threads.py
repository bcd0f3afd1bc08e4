"""Limit a training to one thread if all of its operations are too small for more.

torch's matrix library wakes all threads for products of a few microseconds. On an idle machine this
gains nothing. If other programs occupy the cores, each product waits until the operating system
schedules the second thread, and training takes ten times as long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

# multiplications of the largest matrix product of an update: about 10 microseconds on one core
MAX_SINGLE_THREADED = 1 << 18


@contextlib.contextmanager
def limit_threads(multiplications: int, limit: int = MAX_SINGLE_THREADED) -> Iterator[None]:
    """Use one thread if the largest matrix product has at most `limit` multiplications.

    The previous number of threads is restored on exit.
    """
    before = torch.get_num_threads()
    if multiplications > limit or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

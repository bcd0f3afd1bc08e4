"""How many threads share an operation: one, where all operations of a training are too small to be
shared.

torch's matrix library wakes all threads for products of a few microseconds. On an idle machine that
gains nothing; where other programs have the cores, each product waits until the system gives the
second thread its turn, and a training takes ten times as long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

# multiplications of the largest product of an update: about ten microseconds of one core
SMALL = 1 << 18


@contextlib.contextmanager
def suited(multiplications: int) -> Iterator[None]:
    """One thread where the largest product has no more than SMALL multiplications; the number that
    was set before comes back.
    """
    before = torch.get_num_threads()
    if multiplications > SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

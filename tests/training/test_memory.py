"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

PAGES = """
import ctypes, resource, sys
import torch
from mlplab.training.memory import M_MMAP_THRESHOLD, keep_freed
libc = ctypes.CDLL(None)
libc.prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a page is a page
# What glibc begins with, and mostly comes back to; by itself it raises the limit in some processes,
# by the order of their pieces.
libc.mallopt(M_MMAP_THRESHOLD, 1 << 17)
if sys.argv[1] == "keep":
    assert keep_freed()
def step():
    pieces = [torch.ones(640_000 * units) for units in range(1, 7)]
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def faults(how: str) -> float:
    """Pages that a step of pieces of 2.5 to 15 MB takes from the system."""
    return float(
        subprocess.run(
            [sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is of glibc")
def test_a_step_takes_no_pages_from_the_system():
    assert faults("leave") > 500
    assert faults("keep") < 50

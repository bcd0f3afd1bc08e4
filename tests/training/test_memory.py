"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

PAGES = """
import ctypes, resource
import torch
from mlplab.training.memory import M_MMAP_THRESHOLD, retain_freed_memory
libc = ctypes.CDLL(None)
libc.prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a page is a page
# What glibc begins with, and mostly comes back to; by itself it raises the limit in some processes,
# by the order of their pieces.
libc.mallopt(M_MMAP_THRESHOLD, 1 << 17)
def step():
    pieces = [torch.ones(640_000 * units) for units in range(1, 7)]
def faults():
    # Pages that a step of pieces of 2.5 to 15 MB takes from the system.
    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 8
print(faults())
assert retain_freed_memory()
print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is of glibc")
def test_a_step_takes_no_pages_from_the_system():
    command = [sys.executable, "-c", PAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    left, kept = map(float, done.stdout.split())
    assert left > 500
    assert kept < 50

"""Freed memory is retained for the next step."""

import subprocess
import sys

import pytest

PAGES = """
import ctypes, resource
import torch
from mlplab.training.memory import M_MMAP_THRESHOLD, retain_freed_memory
libc = ctypes.CDLL(None)
libc.prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a page is a page
# glibc's default; in some processes glibc raises the limit by itself, depending on the order of
# their allocations.
libc.mallopt(M_MMAP_THRESHOLD, 1 << 17)
def step():
    tensors = [torch.ones(640_000 * units) for units in range(1, 7)]
def faults():
    # Pages requested from the system by a step with allocations of 2.5 to 15 MB.
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
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_step_takes_no_pages_from_the_system():
    command = [sys.executable, "-c", PAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    default_faults, retained_faults = map(float, done.stdout.split())
    assert default_faults > 500
    assert retained_faults < 50

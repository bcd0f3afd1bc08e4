"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import torch
from mlplab.training.memory import keep_freed
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
    return float(subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is of glibc")
def test_a_step_takes_no_pages_from_the_system():
    assert faults("leave") > 500
    assert faults("keep") < 50

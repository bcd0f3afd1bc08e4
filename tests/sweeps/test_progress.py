"""The time left of a sweep, as its progress shows it."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from mlplab.sweeps.execution import progress
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.plan.plan import Options


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def test_writing_the_folders_counts_for_the_time_left(clock, monkeypatch):
    """Ten jobs train in 10 s; then each folder takes 2 s."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    display = SweepProgress(SimpleNamespace(jobs=range(10), name="sweep", options=Options()))
    display.start(0)
    for _ in range(10):
        clock.seconds += 1
        display.progress(clock.seconds)
    for number in range(9):
        clock.seconds += 2
        display.ended(number, "done", "")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("sweep: 0/10 jobs, ")
    assert "sweep: 4/10 jobs, 18 s, 12 s left" in lines
    assert not [line for line in lines if "0.0 s left" in line]

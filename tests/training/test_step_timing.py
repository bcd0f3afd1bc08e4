"""The times from which `mlplab plan` estimates a sweep do not follow single slow steps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from building import make_settings

from mlplab.training import build_population, prepare_members, step_timing


def test_a_slow_step_does_not_count(monkeypatch):
    durations = iter([5.0, 5.0] + [0.001, 3.0, 0.002] * 40)
    now = [0.0]
    is_start = [False]

    def clock():
        is_start[0] = not is_start[0]
        if not is_start[0]:
            now[0] += next(durations)
        return now[0]

    monkeypatch.setattr(step_timing, "time", SimpleNamespace(perf_counter=clock))
    population, _ = build_population(prepare_members([make_settings()]))
    update, evaluation = step_timing.time_steps(population)
    assert update == pytest.approx(0.002)
    assert evaluation == pytest.approx(0.002)

"""The times from which `mlplab plan` estimates a sweep do not follow single slow steps."""

from __future__ import annotations

import pytest
from building import make_settings

from mlplab.training import build_population, prepare_members, step_timing


def test_a_slow_step_does_not_count(monkeypatch):
    durations = iter([0.002, 0.3, 0.001, 0.2] * 40)
    now = [0.0]

    def call():
        now[0] += next(durations)

    assert step_timing._least(call, lambda: now[0]) == pytest.approx(0.001)
    assert now[0] < 1.5 * step_timing.MAX_SECONDS


def test_a_call_that_takes_long_is_made_twice():
    now = [0.0]

    def call():
        now[0] += 40.0

    assert step_timing._least(call, lambda: now[0]) == pytest.approx(40.0)
    assert now[0] == 80.0


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_a_population_is_timed(engine):
    settings = make_settings(engine=engine, dtype="float32", epochs=1000)
    population, _ = build_population(prepare_members([settings]))
    if engine == "native":
        assert 0 < step_timing.time_native_work([population]) < 1e-3
        return
    update, evaluation = step_timing.time_steps(population)
    assert 0 < update < 1
    assert 0 < evaluation < 1

"""training.time_limit: a run ends at an evaluation, and continues from there with the same bits."""

from __future__ import annotations

import itertools

import pytest

import mlplab
from mlplab.cli import main
from mlplab.config.stored import settings_from_overrides
from mlplab.errors import ConfigError
from mlplab.runs.run_index import summary_of
from mlplab.training import time_limit
from mlplab.training_options import seconds_of

RUN = ["experiment=xor_mlp", "training.epochs=30", "tracking=summary", "device=cpu"]


@pytest.fixture
def hours(monkeypatch):
    """A clock on which an hour passes each time that somebody looks."""
    ticks = itertools.count(0, 3600)
    monkeypatch.setattr(time_limit, "time", type("Clock", (), {"monotonic": lambda: next(ticks)}))


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_a_run_ends_at_an_evaluation_and_continues(engine, hours, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = [*RUN, f"engine={engine}"]
    whole = mlplab.run([*run, "outputs=whole"])
    limited = mlplab.run([*run, "training.time_limit=5h", "outputs=limited"])
    assert limited.status == "done"
    summary = summary_of(limited.folder)
    assert summary["reason"] == "stopped: time limit of 5 h 00 min"
    assert summary["time_limited"]
    assert 0 < len(limited.history) < len(whole.history)
    assert limited.history.step[-1] == summary["steps"]

    capfd.readouterr()
    assert main(["rerun", str(limited.folder), "--check", "outputs=again"]) == 0
    assert "identical: every metric of every epoch" in capfd.readouterr().out

    assert main(["resume", str(limited.folder)]) == 0
    assert "stopped: time limit of 5 h 00 min, " in capfd.readouterr().out
    assert main(["resume", str(limited.folder), "training.time_limit=null"]) == 0
    assert "time_limited" not in summary_of(limited.folder)
    for name in ("weights.safetensors", "metrics.csv"):
        assert (limited.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_members_of_a_sweep_may_have_different_limits(hours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = mlplab.sweep([*RUN, "training.time_limit=null,6h,100d"])
    assert list(table["epochs"] < 30) == [False, True, False]
    assert set(table["status"]) == {"done"}


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("1d", 86_400), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_durations(text, seconds):
    assert seconds_of("time_limit", text) == seconds


@pytest.mark.parametrize("value", ["0", "-5", "soon", "10 minutes", "''", "true", "nan", "[1]"])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ConfigError, match=r"training\.time_limit"):
        settings_from_overrides([f"training.time_limit={value}"])

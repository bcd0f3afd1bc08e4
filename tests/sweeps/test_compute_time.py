"""The computing time of jobs and sweeps, on a clock that advances by one second whenever it is read
and by two seconds of processor time.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest

import mlplab
from mlplab.cli import main
from mlplab.errors import LinkError
from mlplab.runs import compute_time
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.sweeps.execution import compute_log
from mlplab.sweeps.execution.compute_log import FILE_NAME, ComputeLog, total_time

QUICK = ["experiment=xor_mlp", "training.epochs=2", "tracking=off"]


@pytest.fixture
def clock(monkeypatch):
    """Readings so far: [seconds]."""
    readings = []

    def now():
        readings.append(len(readings) + 1)
        return ComputeTime(float(readings[-1]), 2.0 * readings[-1])

    monkeypatch.setattr(compute_time, "_now", now)
    monkeypatch.setattr(compute_log, "MIN_PAUSE", 0.0)
    monkeypatch.setattr(compute_log, "GROWTH", 0.0)
    return readings


def readings_of(summary):
    """What a summary, or one in a folder, says about both clocks, whose readings are simulated."""
    if not isinstance(summary, dict):
        summary = json.loads(Path(summary, "summary.json").read_text())
    return summary["seconds"], summary["cpu_seconds"]


@pytest.mark.usefixtures("clock")
def test_laps_follow_each_other():
    stopwatch = Stopwatch()
    assert stopwatch.lap() == ComputeTime(1.0, 2.0)
    assert stopwatch.elapsed == ComputeTime(1.0, 2.0)
    stopwatch.include(ComputeTime(100.0, 1.0))  # the longer of the two counts, for each clock
    assert stopwatch.lap() == ComputeTime(101.0, 6.0)


def test_overlapping_processes_count_once_in_wall_time(tmp_path):
    lines = ["100,110,9", "105,120,15", "200,201.5,0.5", "100,104,1"]
    (tmp_path / FILE_NAME).write_text("\n".join(lines))
    assert total_time(tmp_path) == ComputeTime(21.5, 25.5)


@pytest.mark.parametrize("text", ["", "1,2", "a,b,c", "nan,2,1", "1,inf,1", "2,1,1", "1,2,-1", "é"])
def test_damaged_lines_do_not_count(text, tmp_path):
    (tmp_path / FILE_NAME).write_text(f"{text}\n", encoding="utf-8")
    assert total_time(tmp_path) is None
    assert total_time(tmp_path / "nowhere") is None


def test_a_log_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "else").write_text("1,2,1\n")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "else")
    assert total_time(tmp_path) is None
    with pytest.raises(LinkError):
        ComputeLog(tmp_path)


def test_each_job_has_its_share(clock, capsys):
    arguments = [*QUICK, "seeds=3", "hydra.sweep.dir=sweep"]
    assert main(["train", "-m", *arguments]) == 0
    table = pd.read_csv("sweep/results.csv")
    _, cpu_before = readings_of("sweep")
    assert table["cpu_seconds"].tolist() == pytest.approx(2 * table["seconds"], abs=0.01)
    assert 0 < table["seconds"].sum() < len(clock)
    assert cpu_before <= 2 * len(clock)
    assert "s of processor time" in capsys.readouterr().out
    assert main(["train", "-m", *arguments, "seeds=4"]) == 0
    longer = pd.read_csv("sweep/results.csv")
    assert list(longer["seconds"][:3]) == list(table["seconds"])
    assert readings_of("sweep")[1] > cpu_before


def test_members_that_end_in_turn_share_the_time(clock):
    lengths = ",".join(map(str, range(1, 9)))
    table = mlplab.sweep([*QUICK, f"training.epochs={lengths}"], "sweep")
    assert 0 < table["seconds"].sum() < len(clock)
    assert readings_of("sweep")[1] <= 2 * len(clock)
    (population,) = json.loads(Path("sweep/summary.json").read_text())["populations"]
    assert population["jobs"] == 8
    assert readings_of(population) == pytest.approx(
        [table["seconds"].sum(), table["cpu_seconds"].sum()], abs=0.01
    )


def test_trials_of_a_pruned_search_share_the_time(clock):
    search = ["sweep.trials=8", "sweep.pruning=halving", "training.epochs=9", "sweep.parallel=4"]
    space = ["optimizer.lr=interval(0.001,0.1)", "hydra.sweep.dir=search"]
    assert main(["train", "-m", "experiment=xor_mlp", "tracking=off", *search, *space]) == 0
    table = pd.read_csv("search/results.csv")
    assert table["status"].nunique() == 2
    assert 0 < table["seconds"].sum() < len(clock)
    assert 0 < readings_of("search")[1] <= 2 * len(clock)


def test_a_resumed_run_counts_what_came_before(clock):
    run = mlplab.run([*QUICK, "tracking=summary"], "run")
    wall, cpu = readings_of(run.summary)
    assert cpu == 2 * wall < 2 * len(clock)
    began = len(clock)
    assert main(["resume", "run", "training.epochs=3"]) == 0
    longer_wall, longer_cpu = readings_of("run")
    assert longer_cpu > cpu
    assert longer_wall < wall + len(clock) - began


def test_time_on_cuda_is_that_of_the_wall():
    spent = ComputeTime(1.23456, 9.0)
    assert spent.rounded("cuda:0") == {"seconds": 1.235, "cpu_seconds": None}
    assert spent.rounded("cpu") == {"seconds": 1.235, "cpu_seconds": 9.0}


def test_a_long_process_appends_fewer_lines(tmp_path, monkeypatch):
    readings = itertools.count()
    monkeypatch.setattr(compute_time, "_now", lambda: ComputeTime(float(next(readings)), 0.0))
    log = ComputeLog(tmp_path)
    for _ in range(20_000):
        log.keep_up()
    assert 200 < len((tmp_path / FILE_NAME).read_text().splitlines()) < 1000


def test_a_job_has_a_share_of_the_time_by_its_work():
    overrides = ["experiment=xor_mlp", "tracking=off", "engine=native", "training.epochs=400,1"]
    table = mlplab.sweep(overrides, folder="s")
    assert table.sort_values("cpu_seconds")["training.epochs"].tolist() == [1, 400]

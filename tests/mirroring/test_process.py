"""The processes that mirror a training: they change neither its numbers nor its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import fake_tracker
import pytest
from conftest import by_run
from harness import QUICK, digest, record_measurement, wait_for

import mlplab
from mlplab.config import plugins
from mlplab.mirroring import follow, process
from mlplab.mirroring.state import FOLDER

MIRROR = f"tracking.mirror=[{fake_tracker.NAME}]"

LATER = f"mlplab mirror run --to recorder --plugin {fake_tracker.__file__}"


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    """The file into which the processes of the fake tracker write."""
    monkeypatch.setattr(plugins, "_files", [Path(fake_tracker.__file__)])
    monkeypatch.setenv("RECORDER", str(tmp_path / "lines"))
    yield tmp_path / "lines"
    for left in process._left:
        left.kill()
        left.wait()
    process._left.clear()


def wait_for_end():
    wait_for(lambda: all(left.poll() is not None for left in process._left))


def received(path):
    return by_run(map(json.loads, path.read_text().splitlines())) if path.exists() else {}


@pytest.mark.slow
def test_a_run_and_a_sweep_are_mirrored_by_a_process(recorder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(process, "WAIT", 0.01)
    plain = mlplab.run(QUICK, "plain")
    run = mlplab.run([*QUICK, MIRROR], "run")
    mlplab.sweep([*QUICK, MIRROR, "seeds=2"], "sweep")
    assert digest(run.folder) == digest(plain.folder)
    assert f"`{LATER}` sends what it may lack then." in capfd.readouterr().err
    wait_for_end()
    runs = {one["name"]: one for one in received(recorder).values()}
    assert sorted(runs) == ["run", "sweep", "sweep/0", "sweep/1"]
    assert {len(one["rows"]) for one in runs.values()} == {0, 13}
    assert {one["status"] for one in runs.values()} == {"done"}
    assert Path("run", FOLDER, "recorder.log").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_tracker_that_fails_is_named_with_the_command_for_later(
    fault, recorder, monkeypatch, capfd
):
    monkeypatch.setattr(process, "WAIT", 120.0)
    monkeypatch.setenv("RECORDER_FAULT", fault)
    run = mlplab.run([*QUICK, MIRROR], "run")
    assert run.status == "done"
    [line] = [line for line in capfd.readouterr().err.splitlines() if "recorder" in line]
    assert line.startswith("note: recorder has only 0 evaluations: ")
    assert line.endswith(f"`{LATER}` sends the rest later.")
    assert ("the server is gone" in line) == (fault == "raise")


def test_a_process_that_cannot_start_costs_a_line(recorder, monkeypatch, capfd):
    def refuse(*arguments, **options):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert mlplab.run([*QUICK, MIRROR], "run").status == "done"
    assert "run is not mirrored to recorder: no more processes" in capfd.readouterr().err


def test_a_folder_within_one_that_is_mirrored_is_left_to_that(recorder, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(process, "_start", lambda folder, name: started.append(folder))
    with (
        process.mirrored(tmp_path, [fake_tracker.NAME]),
        process.mirrored(tmp_path / "jobs" / "1", [fake_tracker.NAME]),
    ):
        pass
    assert started == [tmp_path]


def test_a_watchdog_ends_a_process_that_has_had_no_answer(monkeypatch):
    ended = []

    def end(code):
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: None)
    dog = follow.Watchdog.__new__(follow.Watchdog)
    dog._stall, dog._last, dog._end = 60.0, time.monotonic() - 61, float("inf")
    with pytest.raises(SystemExit):
        dog._watch()
    dog.beat()
    dog.end_within(-1)
    with pytest.raises(SystemExit):
        dog._watch()
    assert ended == [3, 3]


@pytest.mark.campaign("timing")
@pytest.mark.parametrize("at", ["open", "metrics", "close"])
def test_a_tracker_that_hangs_costs_less_than_two_seconds(at, recorder, monkeypatch):
    monkeypatch.setenv("RECORDER_FAULT", "hang")
    monkeypatch.setenv("RECORDER_AT", at)
    spent = []

    def timed(function):
        def call(*arguments):
            start = time.monotonic()
            try:
                return function(*arguments)
            finally:
                spent.append(time.monotonic() - start)

        return call

    monkeypatch.setattr(process, "_start", timed(process._start))
    monkeypatch.setattr(process, "_end", timed(process._end))
    plain = mlplab.run([*QUICK, "training.epochs=2000"], "plain")
    run = mlplab.run([*QUICK, "training.epochs=2000", MIRROR], "run")
    assert digest(run.folder) == digest(plain.folder)
    assert sum(spent) < 2
    record_measurement("a tracker that hangs", at=at, seconds=sum(spent))

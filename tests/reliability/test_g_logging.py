"""Section G of the fault matrix: the log and TensorBoard's files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import QUICK, record_measurement, row, size
from test_b_storage import resumed, stopped

import mlplab
from mlplab.cli import main
from mlplab.training import Callback

SCALARS = [*QUICK, "tracking=scalars", "tracking.checkpoint_seconds=0"]


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@row("G3")
def test_g3_a_resumed_run_shows_each_step_once(tmp_path):
    whole = mlplab.run(SCALARS, tmp_path / "whole")
    run_dir = stopped(tmp_path / "run", SCALARS, at=23)
    # the process wrote more before it died than its checkpoint knows
    shutil.copytree(run_dir, tmp_path / "later")
    from mlplab.tracking import EventWriter

    with EventWriter(run_dir) as events:
        events.history([24, 27, 30], {"train/loss": [9.0, 9.0, 9.0]})
    with open(run_dir / "metrics.csv", "a") as file:
        file.write("9,27,1,1\n")
    resumed(run_dir)
    assert read(run_dir) == read(whole.folder)
    assert (run_dir / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()
    assert (run_dir / "log.txt").read_text().count("device cpu") == 2


@row("G5")
def test_g5_events_are_rebuilt_from_the_metrics(tmp_path, capsys):
    run = mlplab.run(SCALARS, tmp_path / "run")
    expected = read(run.folder)
    path = next(run.folder.glob("events.out.tfevents.*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert read(run.folder) != expected
    assert main(["rebuild-events", str(run.folder)]) == 0
    curves = read(run.folder)
    assert curves.keys() == expected.keys()
    for tag in expected:
        np.testing.assert_allclose(np.array(curves[tag]), np.array(expected[tag]), rtol=1e-6)
    assert len(list(run.folder.glob("replaced-events-*"))) == 1
    assert main(["rebuild-events", str(run.folder)]) == 0  # and again
    assert read(run.folder) == curves


@row("G6")
@pytest.mark.campaign("timing", small=True)
def test_g6_many_event_files(tmp_path):
    """What TensorBoard's own reader takes for many runs: told, and a subset is one folder away."""
    import time

    count = size(20, 1000)
    for i in range(count):
        from mlplab.tracking import write_history

        (tmp_path / str(i)).mkdir()
        write_history(tmp_path / str(i), range(93), {"train/loss": np.linspace(1, 0, 93)})
    began = time.monotonic()
    for i in range(count):
        assert len(read(tmp_path / str(i))["train/loss"]) == 93
    record_measurement(
        "event files read by TensorBoard", files=count, seconds=round(time.monotonic() - began, 1)
    )


@row("G7")
def test_g7_files_are_closed_when_a_run_fails(tmp_path):
    class Failing(Callback):
        def on_evaluation(self, session, evaluation):
            session.read(session.groups[0])
            if evaluation.epoch == 6:
                raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        mlplab.run([*QUICK, "tracking=scalars"], tmp_path / "run", callbacks=[Failing()])
    assert len(read(tmp_path / "run")["train/loss"]) == 7
    assert "in the middle" in (tmp_path / "run" / "error.txt").read_text()
    assert len(Path(tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 8

"""The folder `tensorboard` of a sweep: runs of configurations and of the best jobs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pauses import interrupt_at
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mlplab
from mlplab.cli import main
from mlplab.sweeps.execution.stores import FolderStore
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report import group_events
from mlplab.sweeps.report.group_events import (
    BEST_JOBS,
    MAX_GROUPS,
    MAX_GROUPS_OF_MANY_JOBS,
    write_group_events,
)
from mlplab.sweeps.report.results import JobResult, Results


def scalars(folder):
    reader = EventAccumulator(str(folder)).Reload()
    return {tag: [event.value for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_the_events_of_a_sweep_are_rebuilt_from_its_jobs(capsys):
    overrides = ["dataset=moons", "dataset.num_samples=60", "model.hidden=3", "device=cpu"]
    more = ["training.epochs=3", "optimizer.lr=0.01,0.1", "seeds=3", "tracking=summary"]
    table = mlplab.sweep([*overrides, *more], Path("s"))
    assert main(["rebuild-events", "s"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(Path("s/tensorboard"))
    shutil.rmtree("s/tensorboard/groups")
    assert main(["report", "s"]) == 0
    assert not list(Path("s").glob(".aside*"))
    groups = sorted(os.listdir("s/tensorboard/groups"))
    assert len(groups) == 2
    assert sorted(os.listdir("s/tensorboard/jobs"), key=int) == list("012345")
    means = table.groupby("optimizer.lr")["val/accuracy"].agg(["mean", "std"])
    for name in groups:
        values = scalars(Path("s/tensorboard/groups", name))
        lr = float(name.partition("optimizer.lr=")[2])
        assert values["val_best/accuracy"] == [pytest.approx(means["mean"][lr])]
        assert values["val_best/accuracy_std"] == [pytest.approx(means["std"][lr])]
        assert values["val_best/n"] == [3]
        jobs = table.job[table["optimizer.lr"] == lr]
        curves = [scalars(f"s/tensorboard/jobs/{job}")["val/loss"] for job in jobs]
        assert values["val/loss"] == pytest.approx(
            [sum(at) / 3 for at in zip(*curves, strict=True)], rel=1e-5
        )
        assert not any(tag.startswith("test/") for tag in values)


@pytest.mark.parametrize(("many", "shown"), [(300, MAX_GROUPS), (299, MAX_GROUPS_OF_MANY_JOBS)])
def test_the_best_configurations_get_a_run(many, shown, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(group_events, "MANY_JOBS", many)
    jobs = [
        JobResult(
            *(number, "done", "", {"lr": number, "seed": 0}, {"val/accuracy": number / 1000}),
            *((), tmp_path, {"best_epoch": 1}),
        )
        for number in range(300)
    ]
    results = Results("many", tmp_path, jobs)

    class Store(FolderStore):
        def history(self, number):
            return {"epoch": [0, 1], "step": [0, 5], "val/accuracy": [0.0, 0.5]}

    folder = write_group_events(results, Store(tmp_path))
    names = sorted(os.listdir(folder / "groups"))
    assert (len(names), names[0]) == (shown, "000-lr=299")
    assert len(list(folder.rglob("events.out.tfevents.*"))) == shown + BEST_JOBS < 300
    assert f"the {shown} best of 300 configurations" in capsys.readouterr().err


def test_a_packed_sweep_has_the_means_of_its_configurations(monkeypatch, capsys):
    overrides = ["dataset=moons", "dataset.num_samples=60", "model.hidden=3", "device=cpu"]
    overrides += ["training.epochs=4", "optimizer.lr=0.01,0.1", "seeds=6", "tracking.jobs=packed"]
    with monkeypatch.context() as patched:
        interrupt_at(3, patched)
        main(["train", "-m", *overrides, "tracking=scalars", "hydra.sweep.dir=s"])
    assert "interrupted" in Path("s/summary.json").read_text()
    assert not Path("s/tensorboard").exists()
    capsys.readouterr()
    assert main(["resume", "s"]) == 0
    groups = sorted(os.listdir("s/tensorboard/groups"))
    assert len(groups) == 2
    jobs = read_plan(Path("s")).jobs
    for name in groups:
        lr = float(name.partition("optimizer.lr=")[2])
        numbers = [job.number for job in jobs if job.settings.config["optimizer"]["lr"] == lr]
        losses = []
        for number in numbers:
            assert main(["open", "s", str(number)]) == 0
            losses.append(pd.read_csv(f"s/jobs/{number}/metrics.csv").set_index("step")["val/loss"])
        reader = EventAccumulator(f"s/tensorboard/groups/{name}").Reload()
        events = {event.step: event.value for event in reader.Scalars("val/loss")}
        assert list(events) == list(losses[0].index)
        mean = pd.concat(losses, axis=1).mean(axis=1)
        assert events[mean.index[2]] == pytest.approx(mean.iloc[2], rel=1e-6)
        assert reader.Scalars("val_best/n")[-1].value == len(numbers) == 6
    best = sorted(os.listdir("s/tensorboard/jobs"))
    assert len(best) == BEST_JOBS
    table = pd.read_csv("s/results.csv").set_index("job")["val/accuracy"]
    assert table[map(int, best)].min() >= table.drop(list(map(int, best))).max()


def test_without_scalars_a_packed_sweep_has_no_events():
    overrides = ["dataset=moons", "dataset.num_samples=60", "model.hidden=3", "device=cpu"]
    more = ["training.epochs=1", "seeds=3", "tracking.jobs=packed", "tracking=summary"]
    mlplab.sweep([*overrides, *more], Path("s"))
    assert Path("s/packs").is_dir()
    assert not Path("s/tensorboard").exists()

"""Packed ensembles as runs: checkpoints, folds, callbacks, limits, calibration, reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mlplab
from mlplab.cli import main
from mlplab.runs.ensemble_document import EnsembleDocument, MemberEntry
from mlplab.runs.signals import Interrupted

FILES = ("weights.safetensors", "ensemble.json", "metrics.csv")
QUICK = ["dataset=moons", "dataset.num_samples=120", "tracking=summary", "model.hidden=8"]


def table(n=150):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


def contents(folder):
    return [(Path(folder) / name).read_bytes() for name in FILES]


class CopyFolder(mlplab.Callback):
    """Copies the folder of a run at each checkpoint, as a kill would leave it."""

    def __init__(self, folder, copies):
        self.folder, self.copies, self.count = folder, copies, 0

    def on_checkpoint(self, session):
        shutil.copytree(self.folder, self.copies / str(self.count))
        self.count += 1


class Stop(mlplab.Callback):
    """Stops the training as a signal does, at an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_evaluation(self, session, evaluation):
        if evaluation.epoch == self.epoch:
            raise Interrupted()


@pytest.mark.parametrize(
    "more",
    [
        ["engine=eager", "optimizer.lr=0.004"],
        ["validation=kfold", "validation.folds=2", "training.calibration=temperature"],
    ],
)
def test_an_ensemble_killed_at_a_checkpoint_ends_with_the_same_bytes(more, tmp_path):
    line = [*QUICK, "ensemble=2", "training.epochs=12", "tracking.checkpoint_seconds=0", *more]
    copy = CopyFolder(tmp_path / "whole", tmp_path / "copies")

    whole = mlplab.run(line, tmp_path / "whole", callbacks=[copy])

    assert copy.count >= 2
    resumed = mlplab.resume(tmp_path / "copies" / str(copy.count // 2))
    assert contents(resumed.folder) == contents(whole.folder)
    assert resumed.metrics == whole.metrics


def test_an_interrupted_ensemble_has_a_model_and_continues(tmp_path):
    line = [*QUICK, "ensemble=2", "training.epochs=12", "tracking.checkpoint_epochs=5"]
    whole = mlplab.run(line, tmp_path / "whole")

    stopped = mlplab.run(line, tmp_path / "stopped", callbacks=[Stop(8)])
    (stopped.folder / "intervals.json").write_text("{}")  # of the weights so far
    resumed = mlplab.resume(stopped.folder)
    assert not (stopped.folder / "intervals.json").exists()

    assert stopped.status == "interrupted"
    assert "members selected" in stopped.summary["reason"]
    assert resumed.status == "done"
    assert contents(resumed.folder) == contents(whole.folder)


def test_an_ensemble_continues_with_the_ranges_that_it_began_with(tmp_path):
    ranges = tmp_path / "ranges.yaml"
    text = 'version: 2\nranges:\n  optimizer.lr: "interval(0.001,HIGH)"\n'
    ranges.write_text(text.replace("HIGH", "0.01"))
    line = [*QUICK, "ensemble=2", "training.epochs=10", f"ensemble_ranges={ranges}"]
    run = mlplab.run([*line, "tracking.checkpoint_epochs=5"], tmp_path / "a", callbacks=[Stop(7)])
    expected = [one.overrides for one in EnsembleDocument.read(run.folder).members]
    ranges.write_text(text.replace("HIGH", "0.1"))

    resumed = mlplab.resume(run.folder)

    assert resumed.status == "done"
    assert [one.overrides for one in EnsembleDocument.read(run.folder).members] == expected


def test_a_cross_validated_ensemble_is_selected_out_of_fold(tmp_path):
    x, _ = table()
    y = x[:, 0] * x[:, 1]
    line = ["ensemble=2", "training.epochs=10", "validation=kfold", "validation.folds=3"]
    line += ["tracking=summary", "model.hidden=16"]

    run = mlplab.fit(x, y, line, folder=tmp_path / "run")
    loaded = mlplab.load(run.folder)

    assert run.summary["population"] == 6
    assert {"train/rmse", "val/rmse", "test/rmse"} <= run.metrics.keys()
    np.testing.assert_array_equal(loaded.predict(x), run.predict(x))
    chosen = [one for one in EnsembleDocument.read(run.folder).members if one.weight > 0]
    assert sum(one.weight for one in chosen) == pytest.approx(1)
    lower, upper = loaded.predict_interval(x, 0.8)
    assert (lower < upper).all()


def test_a_calibrated_ensemble_has_one_temperature(tmp_path):
    line = [*QUICK, "dataset.noise=0.6", "ensemble=4", "training.epochs=15", "seed=3"]

    plain = mlplab.run(line, tmp_path / "plain")
    run = mlplab.run([*line, "training.calibration=temperature"], tmp_path / "run")

    x = np.random.default_rng(0).normal(size=(40, 2))
    assert run.summary["temperature"] != 1
    assert run.metrics["val/log_loss"] <= plain.metrics["val/log_loss"]
    assert run.metrics["val/auroc"] == pytest.approx(plain.metrics["val/auroc"], abs=0.05)
    np.testing.assert_array_equal(mlplab.load(run.folder).predict_proba(x), run.predict_proba(x))


class Watch(mlplab.Callback):
    def __init__(self):
        self.members = set()

    def on_evaluation(self, session, evaluation):
        self.members.update(evaluation.members.tolist())
        session.log("doubled", 2 * evaluation["val/loss"])

    def on_end(self, session):
        session.save_artifact("note.txt", "text", member=1)


def test_callbacks_time_limits_and_scalars_reach_an_ensemble(tmp_path):
    tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    watch = Watch()
    line = ["dataset=moons", "tracking=scalars", "ensemble=2", "training.epochs=500"]

    run = mlplab.run(
        [*line, "training.patience=400", "training.time_limit=0.2s"],
        tmp_path / "run",
        callbacks=[watch],
    )

    assert watch.members == {0, 1}
    assert run.summary["time_limited"]
    assert run.summary["reason"].startswith("stopped: time limit")
    assert (run.folder / "artifacts" / "member_1_note.txt").read_text() == "text"
    events = tensorboard.EventAccumulator(str(run.folder)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"val/log_loss", "val_best/log_loss", "test/accuracy", "member_1/doubled"} <= scalars


def test_the_report_shows_members_selection_and_metrics(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    from mlplab.pictures.gallery import pictures
    from mlplab.pictures.rendering import drawing

    drawn = [one for one in pictures() if one.name in ("members", "selection", "curves", "units")]
    monkeypatch.setattr(drawing, "pictures", lambda: drawn)
    run = mlplab.run([*QUICK, "ensemble=2", "training.epochs=10"], tmp_path / "run")

    assert main(["report", str(run.folder), "--json"]) == 0
    names = {Path(name).name for name in json.loads(capsys.readouterr().out)["files"]}
    page = (run.folder / "report.html").read_text()

    grounds = ("", "-dark")
    expected = [f"{name}{one}.png" for name in ("members", "selection") for one in grounds]
    assert names == {*expected, "report.html"}
    assert "mean member" in page
    assert f"{run.metrics['test/log_loss']:.4f}" in page
    assert main(["report", str(run.folder), "--gif"]) == 2
    assert "no animation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("model.hidden=[64, 64]", "optimizer.lr=0.00309"), "hidden 64-64, lr 0.0031"),
        (("model.hidden=128",), "hidden 128"),
        ((), "the settings of the ensemble"),
    ],
)
def test_a_member_is_described_by_what_it_sampled(overrides, text):
    member = MemberEntry(0, overrides, 0.5, 5, 1.0, False, {})
    assert EnsembleDocument.described(member, ["model.hidden", "optimizer.lr"]) == text

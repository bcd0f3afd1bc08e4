"""init_from: a training that starts from the weights of another run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import mlplab
from mlplab.cli import main
from mlplab.errors import MlplabError
from mlplab.io.files import load_weights
from mlplab.network.initial_weights import InitialWeights

QUICK = ["tracking=summary", "device=cpu", "training.epochs=3", "dtype=float64"]
SOURCE = ["experiment=xor_mlp", *QUICK]
STILL = ["optimizer=sgd", "optimizer.lr=1e-30"]
"""A training that moves nothing: its last weights are its first ones."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def last_weights(folder):
    return load_weights(folder / "checkpoints" / "last.safetensors")[0]


@pytest.fixture
def source():
    return mlplab.run(SOURCE, folder="source")


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_all_layers_start_from_the_run(engine, source):
    run = mlplab.run([*SOURCE, *STILL, "seed=5", "init_from=source", f"engine={engine}"])
    assert torch.equal(run.model.theta_KP, source.model.theta_KP)
    provenance = json.loads((run.folder / "provenance.json").read_text())
    assert provenance["init_from"]["source"] == "source"
    assert len(provenance["init_from"]["sha256"]) == 64
    assert "all layers start from source" in (run.folder / "log.txt").read_text()


def test_a_diagnosis_and_a_step_start_from_the_weights(source, monkeypatch, capsys):
    from mlplab.runs import health

    run = mlplab.run([*SOURCE, *STILL, "init_from=source"], folder="tuned")
    evidence, diagnose = [], health.diagnose
    monkeypatch.setattr(
        health, "diagnose", lambda one, *more: evidence.append(one) or diagnose(one, *more)
    )
    run.diagnosis()
    [one] = evidence
    assert torch.equal(one.start.theta_1P, source.model.theta_KP)
    assert main(["step", "tuned", "--json"]) == 0
    values = [line["value"] for line in json.loads(capsys.readouterr().out)["lines"]]
    assert source.module()[0].weight.tolist() in values


def test_the_copy_outlives_the_source(source, capfd):
    run = mlplab.run([*SOURCE, "init_from=source"], folder="tuned")
    shutil.rmtree("source")
    assert main(["rerun", "tuned", "--check"]) == 0
    assert "identical" in capfd.readouterr().out
    again = mlplab.run([*SOURCE, "training.epochs=2"], folder="plain")
    assert not torch.equal(again.model.theta_KP, run.model.theta_KP)
    for path in Path("tuned/checkpoints").iterdir():
        path.unlink()  # nothing was saved yet: the run starts again
    weights = Path("tuned/weights.safetensors").read_bytes()
    Path("tuned/summary.json").unlink()
    assert main(["resume", "tuned"]) == 0
    assert Path("tuned/weights.safetensors").read_bytes() == weights


def test_a_deeper_network_starts_with_the_layers_that_fit(source, capfd):
    hidden = [*source.settings.config["model"]["hidden"], 7]
    changes = [*SOURCE, *STILL, f"model.hidden={hidden}".replace(" ", ""), "init_from=source"]
    run = mlplab.run(changes, quiet=False)
    assert "layer 1 of 3 start" in capfd.readouterr().err.replace("starts", "start")
    ours, theirs = last_weights(run.folder), last_weights(source.folder)
    assert torch.equal(ours["0.weight"], theirs["0.weight"])
    assert torch.equal(ours["0.bias"], theirs["0.bias"])


def test_for_other_classes_the_output_layer_is_drawn():
    mlplab.run(["dataset=moons", "model.hidden=[5]", *QUICK], folder="source")
    changes = ["dataset=three_classes", "model.hidden=[5]", *STILL, "init_from=source"]
    run = mlplab.run([*changes, *QUICK])
    ours, theirs = last_weights(run.folder), last_weights(Path("source"))
    assert torch.equal(ours["0.weight"], theirs["0.weight"])
    assert "layer 1 of 2" in (run.folder / "log.txt").read_text()


def test_members_of_a_sweep_start_from_it(source):
    changes = [*SOURCE, *STILL, "init_from=source,null", "seeds=2"]
    table = mlplab.sweep(changes, folder="sweep")
    assert set(table["status"]) == {"done"}
    start = [mlplab.load("sweep", job=job).model.theta_KP for job in range(4)]
    equal = [torch.equal(theta_KP, source.model.theta_KP) for theta_KP in start]
    assert equal == [True, True, False, False]
    run = mlplab.run([*SOURCE, *STILL, "init_from=sweep:1"])
    assert torch.equal(run.model.theta_KP, source.model.theta_KP)


def test_a_rerun_may_start_from_another_run(source, capfd):
    other = mlplab.run([*SOURCE, "seed=9"], folder="other")
    mlplab.run([*SOURCE, *STILL, "init_from=source"], folder="tuned")
    assert main(["rerun", "tuned", "init_from=other", "--out", "again"]) == 0
    assert torch.equal(mlplab.load("again").model.theta_KP, other.model.theta_KP)


def test_a_job_of_a_pack_is_a_source(capfd):
    mlplab.sweep([*SOURCE, "seeds=3", "tracking.jobs=packed"], folder="sweep")
    run = mlplab.run([*SOURCE, *STILL, "init_from=sweep:2"], folder="tuned")
    assert torch.equal(run.model.theta_KP, mlplab.load("sweep", job=2).model.theta_KP)
    shutil.rmtree("sweep/jobs")
    arguments = [*SOURCE, "init_from=sweep:1", "--rates", "3", "--seeds", "1", "--steps", "2"]
    assert main(["find-lr", *arguments]) in (0, 1)  # which opens the job, too
    assert main(["rerun", "tuned", "init_from=sweep:0", "--out", "again"]) == 0
    expected = mlplab.load("sweep", job=0).model.theta_KP
    assert torch.equal(mlplab.load("again").model.theta_KP, expected)


@pytest.mark.parametrize("jobs", ["packed", "folders"])
def test_a_sweep_keeps_the_weights_that_its_jobs_start_from(jobs, source, capfd):
    changes = [*SOURCE, "init_from=source,null", f"tracking.jobs={jobs}"]
    mlplab.sweep([*changes, "seeds=2"], folder="sweep")
    shutil.rmtree("source")
    mlplab.run([*SOURCE, "seed=9"], folder="source")  # in its place
    mlplab.sweep([*changes, "seeds=3"], folder="sweep")
    copies = [load_weights(path)[0]["theta"] for path in Path("sweep/initial_weights").iterdir()]
    assert [torch.equal(copy, source.model.theta_KP[0]) for copy in copies] == [True]
    assert main(["rerun", "sweep:0", "--check"]) == 0
    numbers = mlplab.load("sweep", job=0).diagnosis()
    assert numbers.findings == ()


def test_batch_normalization_brings_its_statistics():
    normalized = [*SOURCE, "model.normalization=batch"]
    source = mlplab.run(normalized, folder="source")
    run = mlplab.run([*normalized, *STILL, "init_from=source", "training.epochs=1"])
    assert torch.equal(run.model.theta_KP, source.model.theta_KP)


def write_table(path: str, colors: str) -> None:
    lines = [f"{i % 7},{colors[i % len(colors)]},{'yn'[i % 3 == 0]}" for i in range(60)]
    Path(path).write_text("\n".join(["x,color,label", *lines]) + "\n")


def test_new_rows_of_a_table_need_the_same_categories():
    write_table("old.csv", "rgb")
    write_table("new.csv", "bgr")
    write_table("other.csv", "rgbk")
    table = ["dataset=file", "dataset.target=label", *QUICK]
    mlplab.run([*table, "dataset.path=old.csv"], folder="source")
    mlplab.run([*table, "dataset.path=new.csv", "init_from=source"])
    with pytest.raises(MlplabError, match=r"other inputs.*color"):
        mlplab.run([*table, "dataset.path=other.csv", "init_from=source"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["init_from=nowhere"], "not the folder of a run"),
        (["init_from=source:3"], "not a sweep"),
        (["init_from=source", "model.hidden=[9]"], "no layer of the structure"),
        (["init_from=source", "dataset=iris"], "other inputs"),
    ],
)
def test_what_is_refused(source, changes, text, capfd):
    assert main(["train", *SOURCE, *changes]) == 2
    assert text in capfd.readouterr().err
    assert not Path("outputs").exists()


def test_a_damaged_copy_is_refused(source, capfd):
    mlplab.run([*SOURCE, "init_from=source"], folder="tuned")
    path = Path("tuned/initial_weights.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert main(["rerun", "tuned"]) == 2
    assert "initial_weights.safetensors" in capfd.readouterr().err


def test_the_digest_is_that_of_the_numbers(source):
    theta_P = source.model.theta_KP[0]
    entries = source.model.network.layout.entries
    digests = {InitialWeights("", entries, t, {}, (), ()).digest for t in (theta_P, theta_P + 1)}
    assert len(digests) == 2

"""`mlplab doctor` on runs, sweeps and overrides, and what a training says at its end."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

import mlplab
from mlplab.cli import main

MOONS = ["dataset=moons", "dataset.num_samples=120", "model.hidden=8", "training.epochs=60"]
HEALTHY = [*MOONS, "optimizer.lr=0.05", "tracking=summary"]
ZEROS = [*HEALTHY, "initializer=zeros"]


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ill"
    mlplab.run(ZEROS, folder)
    return folder


def test_an_unhealthy_run_ends_with_its_finding_and_its_remedy(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *ZEROS, f"hydra.run.dir={folder}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Health: symmetric start: ") for line in lines)
    [command] = (line.removeprefix("Try: ") for line in lines if line.startswith("Try: "))
    assert "health: symmetric start" in (folder / "log.txt").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert [finding["name"] for finding in summary["health"]] == ["symmetric_start"]
    after = tmp_path / "after"
    assert main([*shlex.split(command)[1:], "--out", str(after)]) == 0
    assert "Health" not in capsys.readouterr().out
    assert "health" not in json.loads((after / "summary.json").read_text())


def test_a_run_that_diverges_says_at_which_step_and_why(tmp_path, capsys):
    folder = tmp_path / "run"
    huge = ["optimizer=sgd", "optimizer.lr=1e30", "tracking=summary"]
    assert main(["train", *MOONS, *huge, "dataset=sine", f"hydra.run.dir={folder}"]) == 3
    output = capsys.readouterr().out
    step = json.loads((folder / "summary.json").read_text())["steps"]
    assert f"Diverged at step {step} because " in output
    assert f"Try: mlplab rerun {folder} optimizer.lr=" in output


def test_the_folder_of_a_run_is_diagnosed_as_its_training_was(ill, capsys):
    assert main(["doctor", str(ill)]) == 0
    output = capsys.readouterr().out
    assert "Symmetric start: " in output
    assert f"Try: mlplab rerun {ill} initializer=" in output
    assert main(["doctor", str(ill), "--json"]) == 0
    stored = json.loads((ill / "summary.json").read_text())["health"]
    document = json.loads(capsys.readouterr().out)
    assert document == {"format": "mlplab-diagnosis-1", "findings": stored}
    [finding] = mlplab.load(ill).diagnose()
    assert (finding.name, finding.to_json()) == ("symmetric_start", stored[0])


def test_a_healthy_run_has_no_findings(tmp_path, capsys):
    run = mlplab.run(HEALTHY, tmp_path / "run")
    assert run.diagnose() == []
    assert "health" not in run.summary
    assert main(["doctor", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_overrides_are_trained_and_diagnosed_and_the_remedy_is_tried(tmp_path, capsys):
    assert main(["doctor", *ZEROS, "--try", "--seeds", "2"]) == 0
    output = capsys.readouterr().out
    assert "Try: mlplab train dataset=moons" in output
    [advice] = (line for line in output.splitlines() if "Try: mlplab train" in line)
    assert advice.count("initializer=") == 1
    [row] = (line.split() for line in output.splitlines() if line.startswith("val/accuracy"))
    before, after = float(row[1]), float(row[4])
    assert after > before + 0.2
    assert not Path("outputs").exists()


@pytest.mark.parametrize("jobs", ["folders", "packed"])
def test_the_jobs_of_a_sweep(jobs, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    varied = ["initializer=zeros,xavier_normal", f"tracking.jobs={jobs}"]
    mlplab.sweep([*HEALTHY, *varied], sweep)
    assert main(["doctor", str(sweep)]) == 0
    output = capsys.readouterr().out
    assert "2 jobs: 1 without a finding" in output
    assert "symmetric start" in output
    assert main(["doctor", f"{sweep}:0", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["findings"]] == [
        "symmetric_start"
    ]
    assert main(["report", str(sweep)]) == 0
    with (sweep / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["health"] for row in rows] == ["symmetric_start", "healthy"]
    assert "symmetric_start" in (sweep / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing"], "is not a folder"),
        (["optimizer.lr=0.1,0.2"], "one run"),
        (["optimizer=adm"], "adam"),
        (["optimizer.lr=0.1", "--seeds", "0"], "at least one seed"),
    ],
)
def test_what_it_cannot_diagnose_is_refused(arguments, text, capsys):
    assert main(["doctor", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_a_run_without_metrics_is_judged_by_the_rest(tmp_path):
    run = mlplab.load(mlplab.run([*ZEROS, "tracking=off"], tmp_path / "run").folder)
    assert [finding.name for finding in run.diagnose()] == ["symmetric_start"]
    assert any("metrics.csv" in note for note in run.diagnosis().notes)


def test_an_interrupted_diagnosis_of_a_plugin_costs_no_result(tmp_path, monkeypatch):
    def fail(evidence):
        raise RuntimeError("no mood today")

    monkeypatch.setattr("mlplab.runs.health.diagnose", fail)
    run = mlplab.run(HEALTHY, tmp_path / "run")
    assert run.status == "done"
    assert "no diagnosis: " in (run.folder / "log.txt").read_text()

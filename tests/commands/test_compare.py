"""`mlplab compare` and the table of `mlplab report`: sweeps and runs by configuration."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import mlplab
from mlplab.cli import main

SMALL = ("experiment=xor_mlp", "tracking=summary", "dataset.num_samples=60", "training.epochs=4")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sweeps that share three of their seeds, and a run."""
    root = tmp_path_factory.mktemp("compare")
    mlplab.sweep([*SMALL, "optimizer=sgd,adam", "optimizer.lr=0.01,0.1", "seeds=4"], root / "first")
    mlplab.sweep([*SMALL, "optimizer=adam", "model.hidden=6", "seed=1,2,3,9"], root / "second")
    mlplab.run([*SMALL, "optimizer=sgd", "optimizer.lr=0.3"], root / "run")
    mlplab.run([*SMALL, "optimizer=sgd", "optimizer.lr=0.2"], root / "other")
    return root


def records(folders, capsys, *arguments):
    assert main([*arguments, "--csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_sweeps_are_compared_by_the_values_in_which_they_differ(folders, capsys):
    names = [str(folders / name) for name in ("first", "second", "run")]
    assert main(["compare", *names]) == 0
    output = capsys.readouterr().out
    header = output.splitlines()[0].split()
    assert header[:4] == ["optimizer", "optimizer.lr", "model.hidden", "val/accuracy"]
    assert "the best of 6" in " ".join(output.split())
    rows = records(folders, capsys, "compare", *names)
    assert len(rows) == 6
    assert sorted(int(row["n"]) for row in rows) == [1, 4, 4, 4, 4, 4]
    table = json.loads(_json(capsys, *names))
    assert table["format"] == "mlplab-conclusions-1"
    assert len(table["configurations"]) == 6
    shared = {row["shared"] for row in rows if row["shared"]}
    assert shared <= {"3", "4"}
    assert "3" in shared  # seeds 1, 2 and 3 are in both sweeps


def _json(capsys, *names):
    assert main(["compare", *names, "--json"]) == 0
    return capsys.readouterr().out


def test_the_same_configurations_of_two_folders_have_a_column_from(folders, capsys):
    rows = records(folders, capsys, "compare", str(folders / "first"), str(folders / "first"))
    assert {row["from"] for row in rows} == {str(folders / "first")}
    names = [str(folders / "first")] * 2
    effects = json.loads(_json(capsys, *names))["effects"]
    assert {effect["key"] for effect in effects} == {"optimizer", "optimizer.lr"}


def test_two_runs_are_shown_side_by_side(folders, capsys):
    runs = [str(folders / name) for name in ("run", "other")]
    assert main(["compare", *runs]) == 0
    assert "optimizer.lr" in capsys.readouterr().out
    assert main(["runs", "compare", *runs]) == 0
    assert main(["compare", runs[0]]) == 2
    assert "name another run" in capsys.readouterr().err


def test_a_report_is_ranked_and_grouped_again(folders, capsys):
    first = str(folders / "first")
    before = (folders / "first" / "summary.md").read_bytes()
    rows = records(folders, capsys, "report", first, "--group-by", "optimizer")
    assert {row["optimizer"] for row in rows} == {"sgd", "adam"}
    assert {row["n"] for row in rows} == {"4"}
    by_loss = records(folders, capsys, "report", first, "--metric", "val/loss")
    losses = [float(row["mean"]) for row in by_loss]
    assert losses == sorted(losses)
    assert (folders / "first" / "summary.md").read_bytes() == before
    both = ("--group-by", "optimizer", "--group-by", "optimizer.lr")
    assert len(records(folders, capsys, "report", first, *both)) == 4


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_forms_of_the_table(folders, capsys, form):
    assert main(["report", str(folders / "first"), f"--{form}"]) == 0
    output = capsys.readouterr().out
    sign = {"markdown": "| optimizer | optimizer.lr |", "latex": "optimizer & optimizer.lr &"}
    assert sign[form] in output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--metric", "val/acuracy"], "Did you mean `--metric val/accuracy`"),
        (["--group-by", "optimizzer"], "Did you mean `--group-by optimizer`"),
        (["--csv", "--json"], "--csv and --json: choose one"),
    ],
)
def test_refusals(folders, capsys, arguments, text):
    assert main(["report", str(folders / "first"), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert main(["report", str(folders / "run"), "--csv"]) == 2
    assert "for a sweep" in capsys.readouterr().err


def test_the_options_of_the_statistics_are_in_the_plan(tmp_path, capsys):
    folder = tmp_path / "sweep"
    options = ("sweep.diverged=drop", "sweep.threshold=0.4", "seeds=2", f"hydra.sweep.dir={folder}")
    assert main(["train", "-m", *SMALL, *options]) == 0
    assert "solved" in capsys.readouterr().out
    assert "solved (≥ 0.4)" in Path(folder, "summary.md").read_text(encoding="utf-8")
    assert json.loads(_report_json(capsys, folder))["diverged"] == "drop"


def _report_json(capsys, folder):
    assert main(["report", str(folder), "--json"]) == 0
    return capsys.readouterr().out

"""`mlplab runs`, `rerun`, and `resume` of a run, as a person uses them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cli_process import start
from same_folder import tensorboard

import mlplab
from mlplab.cli import main
from mlplab.errors import MlplabError
from mlplab.runs import RunFolder

QUICK = ["experiment=xor_mlp", "training.epochs=5", "tracking=summary"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    with contextlib.chdir(folder):
        one = mlplab.run([*QUICK, "seed=1"], "outputs/runs/one/a")
        two = mlplab.run(
            [*QUICK, "optimizer=momentum", "optimizer.lr=0.1", "seed=2"], "outputs/runs/two/b"
        )
        mlplab.sweep([*QUICK, "seed=0,1"], "outputs/sweeps/s/c")
    return folder, (one, two)


@pytest.fixture
def three(trained):
    """Two runs and a sweep below outputs/, copied."""
    folder, runs = trained
    shutil.copytree(folder / "outputs", "outputs")
    return runs


def lines(capsys):
    return capsys.readouterr().out.strip().splitlines()


def test_the_list_is_newest_first(three, capsys):
    os.utime("outputs/runs/one/a/summary.json", (1, 1))
    assert main(["runs"]) == 0
    output = lines(capsys)
    facts = ["folder", "status", "when", "seed", "epochs", "wall", "cpu"]
    assert output[0].split() == [*facts, "result"]
    assert [line.split()[0] for line in output[1:-1]] == [
        "outputs/sweeps/s/c",
        "outputs/runs/two/b",
        "outputs/runs/one/a",
    ]
    assert "sweep, 2 jobs" in output[1]
    assert output[-1] == "3 of 3"


@pytest.mark.parametrize(
    ("conditions", "groups"),
    [
        (["optimizer=momentum"], ["two"]),
        (["optimizer!=momentum", "status=done"], ["one", "sweeps"]),
        (["optimizer.lr>=0.1"], ["two"]),
        (["seed=1"], ["one"]),
        (["test/accuracy>2"], []),
        (["train/loss<100"], ["one", "two"]),
        (["status=failed"], []),
        (["model.hidden=[4]"], ["one", "two"]),
    ],
)
def test_conditions(three, conditions, groups, capsys):
    assert (
        main(
            ["runs", *(argument for condition in conditions for argument in ("--where", condition))]
        )
        == 0
    )
    output = lines(capsys)[1:-1] if groups else []
    if conditions == ["optimizer!=momentum", "status=done"]:
        groups = ["one"]  # a sweep has no configuration of its own
    assert sorted(line.split("/")[2] for line in output) == sorted(groups)
    # from the index now
    assert (
        main(
            ["runs", *(argument for condition in conditions for argument in ("--where", condition))]
        )
        == 0
    )
    assert lines(capsys)[-1].startswith(f"{len(groups)} of ")


def test_sorted_by_a_metric_with_the_jobs(three, capsys):
    assert main(["runs", "--sort", "train/loss"]) == 0
    output = lines(capsys)
    values = [float(line.split()[-1]) for line in output[1:-1]]
    assert values == sorted(values)
    assert len(values) == 4
    assert any("outputs/sweeps/s/c/jobs/" in line for line in output)
    assert main(["runs", "--sort", "train/accuracy", "--limit", "2"]) == 0
    output = lines(capsys)
    values = [float(line.split()[-1]) for line in output[1:-1]]
    assert values == sorted(values, reverse=True)
    assert output[-1] == "4 of 4, 2 shown (--limit)" or output[-1].startswith("4 of ")


def test_a_list_says_how_many_it_leaves_out(three, capsys):
    assert main(["runs", "--jobs", "--limit", "2"]) == 0
    output = lines(capsys)
    assert len(output) == 4
    assert output[-1] == "5 of 5, 2 shown, 3 more with --limit 0"
    assert main(["runs", "--jobs", "--limit", "0"]) == 0
    assert len(lines(capsys)) == 7


def test_a_sweep_is_listed_with_its_computing_time(three, capsys):
    path = Path("outputs/sweeps/s/c/summary.json")
    times = {"seconds": 193.2, "cpu_seconds": 341.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | times))
    assert main(["runs"]) == 0
    (line,) = (line for line in lines(capsys) if "sweeps/s/c" in line)
    assert "3 min 13 s  5 min 41 s  sweep, 2 jobs" in line


@pytest.mark.parametrize("width", [42, 60, 80, 160])
def test_a_narrow_terminal_shows_fewer_columns(width, three, monkeypatch, capsys):
    monkeypatch.setattr("mlplab.terminal.output.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["runs"]) == 0
    output = lines(capsys)
    assert max(map(len, output)) <= width
    shown = output[0].split()
    assert shown[:2] == ["folder", "status"]
    assert shown[-1] == ("test/accuracy" if width == 42 else "result")
    assert ("when" in shown) == (width > 60)
    assert ("epochs" in shown) == (width == 160)


def test_all_columns_as_json_and_csv(three, capsys):
    assert main(["runs", "--json", "--jobs"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in rows].count("job") == 2
    (one,) = (row for row in rows if row["folder"] == "outputs/runs/one/a")
    assert one["optimizer"] == "adam"
    assert one["training.epochs"] == one["epochs"] == 5
    assert one["test/accuracy"] == three[0].metrics["test/accuracy"]
    assert one["sweep"] is one["job"] is None
    assert one["time"].endswith("Z")
    assert main(["runs", "--csv", "--sort", "train/loss", "--where", "seed=1", "--limit", "1"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(table.columns) <= set(rows[0])
    assert table["train/loss"].tolist() == [
        min(row["train/loss"] or 1 for row in rows if row["seed"] == 1)
    ]
    assert main(["runs", "--json", "--where", "status=nothing"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_values_that_are_not_finite_are_null_in_json(three, capsys):
    path = Path("outputs/runs/one/a/summary.json")
    summary = json.loads(path.read_text())
    summary["metrics"] |= {"val/loss": float("inf"), "test/accuracy": float("nan")}
    path.write_text(json.dumps(summary))
    assert main(["runs", "--json", "--where", "seed=1"]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["kind"] == "run")
    assert row["val/loss"] is row["test/accuracy"] is None
    assert main(["runs", "--sort", "test/accuracy"]) == 0
    assert lines(capsys)[-2].split()[0] == "outputs/runs/one/a"


def test_runs_as_a_data_frame(three):
    table = mlplab.list_runs()
    assert len(table) == 4
    jobs = table[table["kind"] == "job"]
    assert sorted(jobs["job"]) == [0, 1]
    assert set(jobs["sweep"]) == {"outputs/sweeps/s/c"}
    assert {"optimizer", "optimizer.lr", "training.epochs", "val/accuracy"} <= set(table.columns)
    assert "dataset.noise" not in table.columns  # the same everywhere, and overridden nowhere
    assert table["seed"].dtype == "Int64"
    assert table["test/accuracy"].dtype == "float64"
    assert str(table["time"].dt.tz) == "UTC"
    best = table.sort_values("train/loss").iloc[0]
    assert mlplab.load(best["folder"]).metrics["train/loss"] == best["train/loss"]
    means = table.groupby("optimizer")["train/loss"].mean()
    assert set(means.index) == {"adam", "momentum"}
    assert list(mlplab.list_runs("outputs", "optimizer=momentum")["seed"]) == [2]
    assert mlplab.list_runs("outputs/runs", ["seed=1", "seed=2"]).empty
    for wrong in (("nowhere", ()), ("outputs", "x")):
        with pytest.raises(MlplabError):
            mlplab.list_runs(*wrong)


@pytest.mark.parametrize(
    "condition", ["model.bias=true", "model.hidden=[3,2]", "model.hidden=[3, 2]"]
)
def test_conditions_are_written_as_overrides(condition, capsys):
    overrides = ["optimizer=momentum", "model.hidden=[3,2]", "training.epochs=1", "tracking=off"]
    mlplab.run(["experiment=xor_mlp", *overrides], "outputs/runs/x/a")
    assert main(["runs", "--where", condition]) == 0
    assert lines(capsys)[-1] == "1 of 1"


def test_two_side_by_side(three, capsys):
    assert main(["runs", "compare", "outputs/runs/one/a", "outputs/runs/two/b"]) == 0
    output = {line.split()[0]: line.split()[1:] for line in lines(capsys)[1:]}
    assert output["optimizer"] == ["adam", "momentum"]
    assert output["seed"] == ["1", "2"]
    assert "dataset.noise" not in output
    one, two = (run.metrics["train/loss"] for run in three)
    assert float(output["train/loss"][2]) == pytest.approx(two - one, rel=1e-3)


def test_what_is_unfinished_is_listed_with_its_command(three, monkeypatch, capsys):
    summary = Path("outputs/runs/one/a/summary.json")
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"status": "interrupted"}))
    sweep = Path("outputs/sweeps/s/c")
    sweep.rename("outputs/sweeps/s/c d")
    path = Path("outputs/sweeps/s/c d/summary.json")
    counts = {"status": "interrupted", "planned": 2, "done": 1, "missing": 1}
    path.write_text(json.dumps(json.loads(path.read_text()) | counts))
    capsys.readouterr()
    assert main(["resume"]) == 0
    output = lines(capsys)
    assert len(output) == 3
    (of_sweep,) = (line for line in output if "sweeps" in line)
    assert "1 of 2 jobs" in of_sweep
    for line in output[1:]:
        assert main(shlex.split(line[line.index("mlplab resume") :])[1:]) == 0
    capsys.readouterr()
    assert main(["resume"]) == 0
    assert lines(capsys) == ["There is nothing to resume in outputs."]
    with RunFolder.locked(Path("outputs/runs/one/a")):
        assert main(["resume", "outputs=outputs/runs"]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("one_picture")
def test_outputs_is_the_root_of_runs_and_sweeps(capsys):
    for more in ([], ["-m", "seed=0,1"]):
        assert main(["train", *QUICK, "outputs='my outputs'", *more]) == 0
        captured = capsys.readouterr()
        folder = captured.out.splitlines()[-1]
        assert f"folder: {folder}" in captured.err.splitlines()  # before the training
        assert folder.startswith(f"my outputs/{'sweeps' if more else 'runs'}/xor_mlp/")
    run = mlplab.fit(
        [[0.0], [1.0]] * 20, [0, 1] * 20, ["training.epochs=1", "outputs='my outputs'"]
    )
    assert run.folder.is_relative_to("my outputs/runs")
    assert main(["runs", "outputs=my outputs"]) == 0
    assert lines(capsys)[-1] == "3 of 3"
    assert not Path("outputs").exists()
    for wrong in ("outputs=a,b", "outputs=", "outputs=[a]"):
        assert main(["train", *QUICK, wrong]) == 2
        assert "outputs=DIR" in capsys.readouterr().err


def test_remove_asks(three, capsys):
    assert main(["runs", "remove", "outputs/runs/one/a"]) == 2  # nobody is there to be asked
    assert "--yes" in capsys.readouterr().err
    for answer, left in (("\n", True), ("y\n", False)):
        controller, terminal = pty.openpty()
        process = start("runs", "remove", "outputs/runs/one/a", stdin=terminal)
        os.write(controller, answer.encode())
        process.communicate(timeout=30)
        os.close(controller)
        os.close(terminal)
        assert Path("outputs/runs/one/a").exists() == left
    assert [path.name for path in Path("outputs/runs/one").iterdir()] == []
    assert main(["runs", "remove", "outputs/runs/two/b", "outputs/sweeps/s/c", "--yes"]) == 0
    assert not Path("outputs/runs/two/b").exists()


def test_remove_takes_nothing_else(three, capsys):
    Path("mine").mkdir()
    Path("link").symlink_to("outputs/runs/one/a")
    for folder in ("mine", "link", "outputs", "nowhere"):
        assert main(["runs", "remove", folder, "--yes"]) == 2
    assert Path("outputs/runs/one/a/summary.json").exists()
    from mlplab.runs import RunFolder

    with RunFolder(Path("outputs/runs/one/a")) as owner:
        owner.lock()
        assert main(["runs", "remove", "outputs/runs/one/a", "--yes"]) == 2
        assert "in use by" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["--where", "x"],
        ["--limit", "many"],
        ["compare", "a"],
        ["compare", "outputs", "outputs"],
        ["--wher", "a=b"],
    ],
)
def test_what_is_refused(arguments, capsys):
    assert main(["runs", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_rerun_gives_the_same_numbers(three, capsys):
    assert main(["rerun", "outputs/runs/one/a", "--check", "--out", "again"]) == 0
    output = lines(capsys)
    assert "identical: every metric of every epoch, to the last bit" in output
    assert output[-1] == "again"
    assert (
        Path("again/weights.safetensors").read_bytes()
        == Path("outputs/runs/one/a/weights.safetensors").read_bytes()
    )


def test_rerun_of_a_job_is_close(three, capsys):
    assert main(["rerun", "outputs/sweeps/s/c/jobs/1", "--check", "--out", "again"]) == 0
    assert main(["rerun", "outputs/sweeps/s/c"]) == 2


def test_rerun_tells_a_difference(three, capsys):
    path = Path("outputs/runs/one/a/metrics.csv")
    rows = path.read_text().splitlines()
    cells = rows[-1].split(",")
    cells[2] = str(float(cells[2]) * 1.5)
    path.write_text("\n".join([*rows[:-1], ",".join(cells)]) + "\n")
    assert main(["rerun", "outputs/runs/one/a", "--check", "--out", "again"]) == 1
    assert "the largest difference is 0.333 of the value, in train/loss" in capsys.readouterr().out


def test_rerun_with_changes(three):
    assert (
        main(
            [
                "rerun",
                "outputs/runs/two/b",
                "optimizer=adam",
                "optimizer.lr=0.02",
                "model.hidden=3-3",
                "--out",
                "changed",
            ]
        )
        == 0
    )
    changed, fresh = (
        mlplab.load("changed"),
        mlplab.run(
            [*QUICK, "optimizer=adam", "optimizer.lr=0.02", "model.hidden=3-3", "seed=2"], "fresh"
        ),
    )
    assert changed.metrics == fresh.metrics
    assert changed.settings.config["optimizer"] == fresh.settings.config["optimizer"]


@pytest.mark.parametrize(
    "changes",
    [
        ["optimizer.lrr=1"],
        ["optimizer=adm"],
        ["seed=1,2"],
        ["experiment=xor_mlp"],
        ["hydra.run.dir=x"],
        ["--check", "seed=3"],
    ],
)
def test_rerun_refuses(changes, three, capsys):
    assert main(["rerun", "outputs/runs/one/a", *changes]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_run_is_made_longer(three):
    assert main(["resume", "outputs/runs/one/a", "training.epochs=9"]) == 0
    longer, fresh = (
        mlplab.load("outputs/runs/one/a"),
        mlplab.run([*QUICK, "seed=1", "training.epochs=9"], "fresh"),
    )
    assert (
        Path("outputs/runs/one/a/metrics.csv").read_bytes()
        == Path("fresh/metrics.csv").read_bytes()
    )
    assert longer.metrics == fresh.metrics
    provenance = json.loads(Path("outputs/runs/one/a/provenance.json").read_text())
    assert [entry["from_step"] for entry in provenance["resumed"]] == [three[0].summary["steps"]]


def test_a_resume_records_what_it_changed(three):
    """The overrides replace those of the same keys, and TensorBoard shows all steps."""
    folder = Path("outputs/runs/one/a")
    before = yaml.safe_load((folder / "overrides.yaml").read_text())
    changes = ["training.epochs=9", "tracking=scalars"]
    for more in (["training.epochs=8"], changes):
        assert main(["resume", str(folder), *more]) == 0
    kept = [line for line in before if not line.startswith(("training.epochs", "tracking"))]
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == [*kept, *changes]
    fresh = mlplab.run([*QUICK, "seed=1", *changes], "fresh")
    assert tensorboard(folder, fresh.folder) == []

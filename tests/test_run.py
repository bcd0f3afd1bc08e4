"""A run as users see it: its folder, its reproducibility, its Python API, and the examples of the
README.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cli_process import run as cli_run
from drawing import one_picture

import mlplab
from mlplab import experiment
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composition import compose
from mlplab.pictures.rendering.live_plotter import LivePlotter

ROOT = Path(__file__).parents[1]
QUICK = ["experiment=xor_mlp", "training.epochs=5"]
FILES = {
    "checkpoints",
    "config.yaml",
    "frames.safetensors",
    "log.txt",
    "pictures",
    "projector",
    "projector_config.pbtxt",
    "metrics.csv",
    "overrides.yaml",
    "provenance.json",
    "summary.json",
    "weights.safetensors",
}


pytestmark = pytest.mark.usefixtures("one_picture")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with one_picture():
        return mlplab.run(["experiment=xor_mlp"], tmp_path_factory.mktemp("run") / "one")


def test_the_folder_is_complete(run):
    names = {path.name for path in run.folder.iterdir() if not path.name.startswith(".")}
    assert {name for name in names if not name.startswith("events.out.tfevents.")} == FILES
    assert len(names) == len(FILES) + 1
    state = f"state-{run.summary['steps']:012d}"
    expected = {
        "best.safetensors",
        "last.safetensors",
        "history.bin",
        f"{state}.json",
        f"{state}.safetensors",
    }
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == expected


def test_the_summary_contains_the_results(run):
    summary = json.loads((run.folder / "summary.json").read_text())
    expected = {
        "status",
        "seed",
        "device",
        "epochs",
        "steps",
        "best_epoch",
        "num_parameters",
        "seconds",
        "cpu_seconds",
        "population",
        "metrics",
    }
    assert expected <= set(summary)
    assert summary["num_parameters"] == 2 * 4 + 4 + 4 * 2 + 2
    assert summary["metrics"]["test/accuracy"] == 1.0
    assert {
        f"{split}/{name}"
        for split in ("train", "val", "test")
        for name in ("loss", "accuracy", "f1", "auroc")
    } <= set(summary["metrics"])


def test_the_best_epoch_is_the_lowest_validation_loss(run):
    assert run.summary["best_epoch"] == run.history["epoch"][run.history["val/loss"].argmin()]
    assert run.metrics["val/loss"] == pytest.approx(run.history["val/loss"].min(), rel=1e-6)


def test_tensorboard_reads_the_same_numbers(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    for name in (
        "train/loss",
        "val/accuracy",
        "lr",
        "gradient_norm/layer_1",
        "update_ratio/layer_2",
    ):
        scalars = events.Scalars(name)
        np.testing.assert_allclose([event.value for event in scalars], run.history[name], rtol=1e-6)
        assert [event.step for event in scalars] == run.history["step"].tolist()
    assert (
        "configuration/text_summary" in events.Tags()["tensors"]
        or "configuration" in events.Tags()["tensors"]
    )


def test_load_gives_the_same_run(run):
    again = mlplab.load(run.folder)
    x = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_array_equal(again.predict_proba(x), run.predict_proba(x))
    np.testing.assert_array_equal(again.history["val/loss"], run.history["val/loss"])
    assert again.metrics == run.metrics


def test_the_module_is_plain_torch(run):
    assert [type(step) for step in run.module()] == [
        torch.nn.Linear,
        torch.nn.Tanh,
        torch.nn.Linear,
    ]


def test_predictions_agree_with_the_test_metrics(run):
    from mlplab.data.preparation.examples import prepare

    prepared = prepare(run.settings.dataset, run.settings.seed, True)
    raw = prepared.feature_scaler.invert(prepared.test.x)
    assert (run.predict_codes(raw) == prepared.test.y).mean() == run.metrics["test/accuracy"]


def test_regression_predictions_are_in_the_units_of_the_target(tmp_path):
    run = mlplab.run(["dataset=diabetes", "training.epochs=30"], tmp_path / "run")
    from mlplab.data.preparation.examples import prepare

    prepared = prepare(run.settings.dataset, 0, True)
    y = prepared.target_scaler.invert(prepared.test.y)
    predicted = run.predict(prepared.feature_scaler.invert(prepared.test.x))
    assert np.sqrt(np.mean((predicted - y) ** 2)) == pytest.approx(
        run.metrics["test/rmse"], rel=1e-5
    )
    assert run.metrics["test/rmse"] > 20


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0]], "x has shape"),
        ([1.0, 2.0], "x has shape"),
        ([[1.0, float("nan")]], "x, column 'x2', row 0: nan is not a finite number"),
    ],
)
def test_predict_refuses_what_does_not_fit(run, x, message):
    with pytest.raises(ValueError, match=message):
        run.predict(x)


@pytest.mark.parametrize(
    "overrides",
    [
        QUICK,
        [
            *("dataset=digits", "training.epochs=2", "tracking=scalars"),
            *("model.dropout=0.3", "model.normalization=batch"),
        ],
    ],
)
def test_the_same_command_twice_gives_the_same_bits(overrides, tmp_path):
    one, two = (mlplab.run(overrides, tmp_path / name) for name in "ab")
    assert (one.folder / "metrics.csv").read_bytes() == (two.folder / "metrics.csv").read_bytes()
    assert (one.folder / "weights.safetensors").read_bytes() == (
        two.folder / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("one_picture", ["decision"], indirect=True)
def test_tracking_changes_no_number(tmp_path):
    weights = {
        (
            mlplab.run([*QUICK, f"tracking={level}"], tmp_path / level).folder
            / "weights.safetensors"
        ).read_bytes()
        for level in ("full", "scalars", "summary", "off")
    }
    assert len(weights) == 1


def test_a_stored_configuration_runs_again(run, tmp_path):
    from mlplab import experiment
    from mlplab.config import settings_of_folder

    again = experiment.run(settings_of_folder(run.folder), tmp_path / "again", quiet=True)
    assert again.metrics == run.metrics


def test_twenty_at_once_get_twenty_folders(tmp_path):
    command = (
        "from mlplab import runs; from pathlib import Path; f ="
        " runs.create_unique(runs.default_folder(Path('outputs'), 'x')); print(f.path)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(20)
    ]
    folders = {process.communicate()[0].strip() for process in processes}
    assert len(folders) == 20
    assert all((tmp_path / folder).is_dir() for folder in folders)


def test_divergence_is_a_status(tmp_path, capfd):
    overrides = [
        "experiment=xor_mlp",
        "activation=relu",
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "hydra.run.dir=run",
    ]
    assert main(["train", *overrides]) == 3
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "diverged"
    assert re.search(r"at step \d+", summary["reason"])
    assert np.isfinite(summary["metrics"]["test/loss"])
    assert capfd.readouterr().out.strip().splitlines()[-1] == "run"


def test_the_last_line_is_the_folder(capfd):
    assert main(["train", *QUICK]) == 0
    lines = capfd.readouterr().out.strip().splitlines()
    assert Path(lines[-1], "summary.json").is_file()
    assert any(line.startswith("test ") for line in lines)


def test_the_result_is_printed_before_the_pictures_are_drawn(monkeypatch, capfd):
    printed = []
    monkeypatch.setattr(
        LivePlotter, "conclude", lambda *_: printed.append(capfd.readouterr().out.splitlines()[-1])
    )
    assert main(["train", *QUICK, "tracking=full", "hydra.run.dir=run"]) == 0
    assert printed == ["run"]
    assert capfd.readouterr().out == ""


def test_a_result_that_nobody_reads_has_pictures(monkeypatch):
    def unread(run):
        raise BrokenPipeError

    drawn = []
    monkeypatch.setattr(LivePlotter, "conclude", lambda self, *_: drawn.append(self.folder))
    settings = build(compose([*QUICK, "tracking=full"]))
    with pytest.raises(BrokenPipeError):
        experiment.run(settings, Path("run"), on_result=unread)
    assert drawn == [Path("run")]


def test_early_stopping_ends_with_the_best_weights(tmp_path):
    run = mlplab.run(
        ["experiment=iris", "training.patience=5", "training.epochs=1000", "optimizer.lr=0.1"],
        tmp_path / "run",
    )
    assert run.summary["epochs"] == run.summary["best_epoch"] + 5
    assert run.metrics["val/loss"] == pytest.approx(run.history["val/loss"].min(), rel=1e-6)


def test_a_process_ends_after_its_threads_and_exit_functions():
    """It leaves the interpreter as it is, whose modules take long to be taken apart."""
    start = "import atexit, sys, threading, time; atexit.register(print, 'exit function');"
    thread = "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start();"
    end = (
        "from mlplab.cli import run_process; sys.argv = ['mlplab', 'nonsense'];"
        " sys.exit(run_process())"
    )
    for more, lines in (("", ["exit function"]), (thread, ["thread", "exit function"])):
        process = subprocess.run(
            [sys.executable, "-c", start + more + end], capture_output=True, text=True, check=False
        )
        assert process.returncode == 2
        assert process.stdout.splitlines() == lines
        assert "no command `nonsense`" in process.stderr


def test_help_and_list_import_nothing_heavy():
    code = (
        "import sys; from mlplab.cli import main; main({}); sys.exit(bool({{'torch', 'sklearn',"
        " 'pandas'}} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["list"], ["list", "optimizer", "adam"]):
        assert (
            subprocess.run(
                [sys.executable, "-c", code.format(arguments)], capture_output=True, check=False
            ).returncode
            == 0
        )


def readme(language: str) -> list[str]:
    return re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL
    )


def commands_of_the_readme() -> list[str]:
    """All commands except setup, the tests and the server of TensorBoard, which does not end."""
    lines = [
        line.split("  #")[0].strip() for block in readme("bash") for line in block.splitlines()
    ]
    commands = [line for line in lines if line.startswith(("./scripts/train", ".venv/bin/mlplab"))]
    assert len(commands) >= 8
    return commands


def write_files_of_the_readme() -> None:
    """Write the plugin and the tables that the commands name."""
    Path("my_parts.py").write_text(next(block for block in readme("python") if "register" in block))
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, 300),
            "plan": rng.choice(["basic", "plus", None], 300),
            "calls": rng.normal(size=300),
        }
    )
    table.to_csv("new.csv", index=False)
    table.assign(churn=np.where(table.calls + (table.plan == "plus") > 0.3, "yes", "no")).to_csv(
        "churn.csv", index=False
    )


FEWER = {
    "seeds=64": "seeds=2",
    "seeds=3": "seeds=1",
    "training.epochs=200": "training.epochs=1",
    "training.epochs=250": "training.epochs=3",
    "optimizers": "schedules",  # the cheapest figure
}


def shortened(line: str) -> list[str]:
    """Return the arguments of a command, with fewer epochs and seeds."""
    command, *arguments = shlex.split(line)
    arguments = [FEWER.get(argument, argument) for argument in arguments]
    if command.endswith("train"):
        arguments = ["train", *arguments]
        if not any("training.epochs" in argument for argument in arguments):
            arguments.append("training.epochs=2")
        is_reported = "hydra.run.dir=outputs/mine" in arguments
        arguments += ["tracking.picture_share=0"] if is_reported else ["tracking=summary"]
    return arguments


@pytest.mark.slow
def test_every_command_of_the_readme_runs_shortened():
    """The campaign runs them unchanged, and those that export."""
    write_files_of_the_readme()
    for line in commands_of_the_readme():
        if "--plugin" in line:
            cli_run(*shortened(line))  # a plugin's components stay registered
        elif not line.startswith(".venv/bin/mlplab export"):
            assert main(shortened(line)) == 0, line


@pytest.mark.campaign("lecture")
@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_runs():
    write_files_of_the_readme()
    for line in commands_of_the_readme():
        line = line.replace("./scripts/train", f"{sys.executable} -m mlplab train").replace(
            ".venv/bin/mlplab", f"{sys.executable} -m mlplab"
        )
        process = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=False, env={**os.environ}
        )
        assert process.returncode == 0, f"{line}\n{process.stdout}\n{process.stderr}"


def test_the_python_of_the_readme_runs(capfd):
    # our own file
    exec(
        compile(
            next(block for block in readme("python") if "mlplab.run" in block), "README.md", "exec"
        ),
        {},
    )
    assert "1.0" in capfd.readouterr().out


@pytest.mark.slow
def test_the_examples_of_the_documentation_of_sweeps(capsys):
    text = (ROOT / "docs" / "sweeps.md").read_text()
    example, code = (
        re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]
        for language in ("yaml", "python")
    )
    Path("conf/experiment").mkdir(parents=True)
    Path("conf/experiment/mine.yaml").write_text(example)
    assert main(["plan", "experiment=mine"]) == 0
    assert "200 jobs in 1 population" in capsys.readouterr().out
    exec(compile(code, "sweeps.md", "exec"), {})  # our own file
    assert "optimizer.lr" in capsys.readouterr().out

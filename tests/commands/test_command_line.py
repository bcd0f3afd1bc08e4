"""What all commands have in common: their page, --json, --quiet, --verbose and --version."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mlplab.cli import COMMANDS, main
from mlplab.commands.parsers import flag_names

ROOT = Path(__file__).parents[2]
SHORT = ["experiment=xor_mlp", "training.epochs=2", "tracking=summary"]


def test_the_page_is_what_the_script_writes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(ROOT / "scripts" / "write_command_line.py"))
    assert script["main"](check=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in ("train", "plan", "list")]
)
def test_the_flags_of_the_page_are_those_of_the_parser(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = capsys.readouterr().out.partition("options:")[2]
    assert set(re.findall(r"^  .*?(--[\w-]+)", options, re.MULTILINE)) == {
        *flag_names(command),
        "--help",
    }


@pytest.fixture
def document(capsys):
    """(arguments, exit code) -> the JSON document that a command prints, and its error stream."""

    def run(*arguments, code=0):
        assert main([*arguments, "--json"]) == code
        output, errors = capsys.readouterr()
        return json.loads(output, parse_constant=lambda name: pytest.fail(name)), errors

    return run


def test_a_run_as_json(document):
    run, errors = document("train", *SHORT, "hydra.run.dir=run")
    assert run["format"] == "mlplab-run-1"
    assert (run["folder"], run["status"], run["epochs"]) == ("run", "done", 2)
    assert run["metrics"] == json.loads(Path("run/summary.json").read_text())["metrics"]
    assert "folder: run" in errors
    assert "done in" in errors
    evaluation, _ = document("evaluate", "run")
    assert evaluation["metrics"]["accuracy"]["value"] == run["metrics"]["test/accuracy"]
    again, _ = document("rerun", "run", "--check", "--out", "again")
    assert again["folder"] == "again"
    assert again["check"]["same"] is True
    longer, _ = document("resume", "run", "training.epochs=3")
    assert longer["epochs"] == 3
    listed, _ = document("runs", ".")
    assert {row["folder"] for row in listed} == {"run", "again"}
    assert document("resume", "outputs=.")[0]["unfinished"] == []


def test_a_sweep_as_json(document):
    sweep, _ = document("train", "-m", *SHORT, "hydra.sweep.dir=sweep", "seed=0,1")
    assert (sweep["format"], sweep["jobs"], sweep["counts"]) == ("mlplab-sweep-1", 2, {"done": 2})
    report, _ = document("report", "sweep")
    assert report["format"] == "mlplab-conclusions-1"
    assert sweep["results"]["configurations"] == report["configurations"]
    plan, _ = document("plan", "-m", *SHORT, "optimizer.lr=0.01,0.1")
    assert [job["values"] for job in plan["jobs"]] == [
        {"optimizer.lr": 0.01},
        {"optimizer.lr": 0.1},
    ]
    assert plan["populations"][0]["jobs"] == 2


def test_choices_as_json(document):
    groups, _ = document("list")
    assert "adam" in next(row for row in groups["groups"] if row["group"] == "optimizer")["choices"]
    choices, _ = document("list", "optimizer")
    assert choices["default"] == "adam"
    choice, _ = document("list", "optimizer", "adam")
    [lr] = [key for key in choice["keys"] if key["name"] == "lr"]
    assert lr == {"name": "lr", "default": 0.001, "meaning": "step size; > 0"}


def test_predictions_as_json_and_to_the_output_stream(document, capsys):
    Path("table.csv").write_text(
        "".join(["a,y\n", *(f"{i % 7 - 3},{'no' if i % 7 < 3 else 'yes'}\n" for i in range(60))])
    )
    table = ["dataset=file", "dataset.path=table.csv", "dataset.target=y"]
    run, _ = document("train", *table, "training.epochs=2", "hydra.run.dir=run", "tracking=scalars")
    assert run["evaluation"]["classes"] == ["no", "yes"]
    predictions, _ = document("predict", "run", "table.csv")
    assert predictions["rows"] == len(predictions["predictions"]) == 60
    assert main(["predict", "run", "table.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(",") == list(predictions["predictions"][0])
    assert len(lines) == 61
    written, _ = document("predict", "run", "table.csv", "-o", "out.csv")
    assert (written["file"], written["rows"], written["predictions"]) == ("out.csv", 60, None)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "optimizr=adam"], 2, "Did you mean"),
        (["resume", "nowhere"], 2, "nowhere is not a folder"),
        (["draw", "losses"], 2, "unrecognized arguments: --json"),
        (["train", "--cfg", "job"], 2, "omit one"),
    ],
)
def test_a_refusal_as_json(arguments, code, message, document):
    refusal, errors = document(*arguments, code=code)
    assert refusal["format"] == "mlplab-error-1"
    error = refusal["error"]
    assert (error["status"], error["exit_code"]) == ("refused", code)
    assert message in error["message"]
    assert errors == f"mlplab: {error['message']}\n"


def test_a_failure_as_json(document, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("mlplab.config.catalog.choices", fail)
    failure, errors = document("list", "loss", code=1)
    assert failure["error"]["type"] == "RuntimeError"
    assert "Traceback" not in errors
    assert "Traceback" in document("list", "loss", "-v", code=1)[1]


def test_quiet_prints_the_folder_only(capfd):
    assert main(["train", *SHORT, "hydra.run.dir=run", "-q"]) == 0
    assert capfd.readouterr() == ("run\n", "")
    assert main(["train", "-m", *SHORT, "hydra.sweep.dir=sweep", "seed=0,1", "--quiet"]) == 0
    assert capfd.readouterr() == ("sweep\n", "")


def test_verbose_shows_the_log(capfd):
    assert main(["train", *SHORT, "hydra.run.dir=run", "-v"]) == 0
    messages = [line.split(" INFO ")[1] for line in Path("run/log.txt").read_text().splitlines()]
    errors = capfd.readouterr().err
    assert messages
    assert all(f"log: {message}" in errors for message in messages)


@pytest.mark.parametrize("arguments", [["-V"], ["--version"], ["runs", "-V"], ["train", "-V"]])
def test_the_version(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("mlplab ")


def test_no_command_imports_torch_to_show_its_help():
    """Which would take seconds."""
    code = (
        "import contextlib, io, sys\n"
        "from mlplab.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    if name != 'train':\n"
        "        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "            main([name, '--help'])\n"
        "    assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), name\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

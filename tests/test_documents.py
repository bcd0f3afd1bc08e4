"""The commands and programs that the pages of docs/ print in blocks work: each is run, shortened in
the default tier. What needs a cluster is parsed. README.md, docs/experiments.md, docs/table.md and
the first blocks of docs/sweeps.md have tests of their own.
"""

from __future__ import annotations

import copy
import functools
import io
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiers import in_campaign

import mlplab
from mlplab import metrics
from mlplab.cli import main
from mlplab.config import plugins
from mlplab.config.overrides import parse_overrides

DOCS = Path(__file__).parents[1] / "docs"
WALKTHROUGH = "table"
PAGES = sorted({path.stem for path in DOCS.glob("*.md")} - {"experiments", WALKTHROUGH})


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


COMMANDS = [
    (page, line.split("  #")[0].strip())
    for page in PAGES
    for block in blocks(page, "bash")
    for line in block.splitlines()
    if line.startswith("mlplab ")
]
NAMED_FILES = [
    (match[1], text)
    for page in PAGES
    for text in blocks(page, "python")
    if (match := re.match(r"# (\w+\.py)\n", text))
]
ELSEWHERE = [("sweeps", 0)]
PROGRAMS, FILES = (
    [
        (page, number)
        for page in PAGES
        for number in range(len(blocks(page, language)))
        if (page, number) not in ELSEWHERE
    ]
    for language in ("python", "yaml")
)
OTHER_MACHINES = ("submitit_slurm", "launcher=ray")
SHORTER = {
    "sweep.trials=64": "sweep.trials=4",
    "validation.folds=5": "validation.folds=2",
    "validation.repeats=3": "validation.repeats=1",
    "seed=range(8)": "seed=range(2)",
}


def expensive(line: str) -> bool:
    return any(name in line for name in ("export", "launcher", "sweep.trials", "kfold"))


@functools.cache
def folders(root: Path) -> None:
    """A run and a sweep of a table, and the tables that the pages name, in `root`."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.integers(18, 80, 120), "calls": rng.normal(size=120)})
    table.to_csv(root / "new.csv", index=False)
    table["churn"] = np.where(table["calls"] > 0, "yes", "no")
    table.to_csv(root / "churn.csv", index=False)
    table.to_csv(root / "later.csv", index=False)
    overrides = ["dataset=file", f"dataset.path={root}/churn.csv", "dataset.target=churn"]
    short = ["training.epochs=2", "model.hidden=[3]", "tracking=scalars"]
    mlplab.run([*overrides, *short], root / "RUN")
    mlplab.sweep([*overrides, *short, "seed=range(5)"], root / "SWEEP")
    shutil.copytree(root / "RUN", root / "OTHER")


@pytest.fixture
def here(tmp_path, tmp_path_factory, monkeypatch):
    """The working folder, with copies of the folders and the tables."""
    root = tmp_path_factory.getbasetemp() / "documents"
    root.mkdir(exist_ok=True)
    folders(root)
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "outputs").mkdir()
    for name, text in NAMED_FILES:
        (tmp_path / name).write_text(text, encoding="utf-8")
    for module in (plugins, metrics):  # what the pages register
        registered = {key: copy.copy(value) for key, value in module._registered.items()}
        monkeypatch.setattr(module, "_registered", registered)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "y")
    return tmp_path


def arguments(line: str) -> list[str]:
    """The arguments of a command, with a run in the place of a path in outputs/."""
    return [
        "RUN" if token.startswith("outputs/runs/") else token for token in shlex.split(line)[1:]
    ]


def shortened(tokens: list[str]) -> list[str]:
    tokens = [SHORTER.get(token, token) for token in tokens]
    if tokens[0] == "train":
        tokens += ["training.epochs=2", "model.hidden=[3]", "tracking=off"]
    return tokens


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", [line for _, line in COMMANDS if not expensive(line)])
def test_a_command_of_a_page_runs(line, here, capsys):
    assert main(shortened(arguments(line))) == 0, capsys.readouterr().err


@pytest.mark.campaign("fuzz")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", [line for _, line in COMMANDS if expensive(line)])
def test_an_expensive_command_of_a_page_runs(line, here, capsys):
    tokens = arguments(line)
    if any(name in line for name in OTHER_MACHINES):
        assert parse_overrides([token for token in tokens if "=" in token])
        return
    if "joblib" in line:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert main(shortened(tokens)) == 0, capsys.readouterr().err


def test_there_are_commands():
    assert len(COMMANDS) > 18
    assert {page for page, _ in COMMANDS} >= {"files", "scaling", "reliability"}
    assert len(PROGRAMS) > 3
    assert FILES


def shorter(function):
    """mlplab.run, fit or sweep with two epochs and little tracking, unless it says otherwise."""

    def call(*args, **options):
        position = 2 if function.__name__ == "fit" else 0
        overrides = list(args[position]) if len(args) > position else []
        if not any(text.startswith("training.epochs") for text in overrides):
            overrides.append("training.epochs=2")
        if "resume" not in options:
            overrides.append("tracking=summary")
        return function(*args[:position], overrides, **options)

    return call


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("page", "number", "whole"),
    [
        *((page, number, False) for page, number in PROGRAMS),
        *(in_campaign("fuzz", page, number, True) for page, number in PROGRAMS),
    ],
)
def test_a_program_of_a_page_runs(page, number, whole, here, monkeypatch):
    from mlplab.pictures import registry

    if not whole:
        for name in ("run", "fit", "sweep"):
            monkeypatch.setattr(mlplab, name, shorter(getattr(mlplab, name)))
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    program = blocks(page, "python")[number]
    module = ModuleType(page)
    monkeypatch.setitem(sys.modules, page, module)  # where dataclasses look for names of types
    exec(compile(program, f"{page}.md", "exec", dont_inherit=True), vars(module))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [False, in_campaign("fuzz", True)])
def test_the_page_from_a_file_to_predictions(whole, tmp_path, monkeypatch, capsys):
    """Its blocks, one after another in an empty folder; by default shorter and without exports."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{WALKTHROUGH}.md").read_text(encoding="utf-8")
    num_commands = 0
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL):
        if not whole and ("export" in block or "onnx" in block):
            continue
        if language == "python":
            exec(compile(block, WALKTHROUGH, "exec", dont_inherit=True), {})
            continue
        for line in block.splitlines():
            pipe, _, command = line.split("  #")[0].rpartition("| ")
            if pipe:
                piped = io.BytesIO(Path(shlex.split(pipe)[1]).read_bytes())
                monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=piped))
            tokens = shlex.split(command)[1:]
            if not whole:
                tokens = ["ensemble=3" if t.startswith("ensemble=") else t for t in tokens]
                tokens += ["training.epochs=3", "tracking=scalars"] * (tokens[0] == "train")
                tokens += ["--repeats", "2", "--curves", "1"] * (tokens[0] == "explain")
            assert main(tokens) == 0, capsys.readouterr().err
            num_commands += 1
    assert num_commands >= (11 if whole else 9)
    assert len(pd.read_csv("answers.csv")) == len(pd.read_parquet("answers.parquet")) == 200


@pytest.mark.parametrize(("page", "number"), FILES)
def test_a_file_of_a_page_composes(page, number, tmp_path, capsys):
    text = blocks(page, "yaml")[number]
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    header = "" if "@package" in text else "# @package _global_\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(header + text)
    assert main(["plan", "experiment=mine", "training.epochs=2"]) == 0, capsys.readouterr().err

"""Folders and command lines for attacks: every command of the parser, with the folder of a finished
run, of an interrupted one, of a sweep whose last job is missing, and of a search that goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fake_tracker
import pytest
from pauses import interrupt_at

import mlplab
from mlplab.cli import COMMANDS, main
from mlplab.config.composer import Composer
from mlplab.sweeps.run_sweep import SweepRequest

TABLE = Path("table.csv")
SMALL = (
    *("dataset=file", f"dataset.path={TABLE}", "dataset.target=y", "model.hidden=[3]"),
    *("training.epochs=3", "device=cpu"),
)
FULL_TRACKING = ("tracking.checkpoint_epochs=1", "tracking.picture_share=0")
SEARCH = ("sweep.sampler=random", "sweep.trials=2", "optimizer.lr=interval(0.001,0.1)")
FOLDER = "theirs"

PLACEHOLDERS = {
    # what a usage names -> what is typed in its place
    "DIR": FOLDER,
    "RUN": FOLDER,
    "FOLDER": FOLDER,
    "FILE": str(TABLE),
    "OUT": "answers.csv",
    "WHAT": "losses",
    "GROUP": "optimizer",
    "NAME": "adam",
    "NUMBER": "0",
    "KEY=VALUE": "training.epochs=2",
    "...": "",
    "-m": "",
    "-o": "-o",
    "--to": "--to",
    "TRACKER": fake_tracker.NAME,
}
MORE = (
    ("runs", "compare", FOLDER, FOLDER),
    ("runs", "--where", "optimizer=adam", FOLDER),
    ("runs", "remove", "--yes", FOLDER),
    ("train", *SMALL, f"hydra.run.dir={FOLDER}"),
    ("train", "-m", *SMALL, "seed=0,1", "tracking=off", f"hydra.sweep.dir={FOLDER}"),
    ("resume", FOLDER, "training.epochs=4"),
)
"""Command lines that their usage does not spell out."""


def command_lines() -> list[tuple[str, ...]]:
    """The command lines of all commands, from their usages; a new command is among them."""
    lines = []
    for name, command in COMMANDS.items():
        usage = re.sub(r"[][]", " ", command.usage.partition(" | ")[0]).split()
        assert usage[0] == name
        lines.append((name, *filter(None, (PLACEHOLDERS[token] for token in usage[1:]))))
    return [*lines, *MORE]


def draw_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the picture that is drawn quickest."""
    registry = importlib.import_module("mlplab.pictures.registry")
    gallery = importlib.import_module("mlplab.pictures.gallery")
    [curves] = (picture for picture in gallery.pictures() if picture.name == "curves")
    monkeypatch.setattr(registry, "_registered", {"curves": curves})
    monkeypatch.setattr(
        "mlplab.pictures.rendering.final_figures.FinalFigures._images",
        lambda self, study, drawn: None,
    )


def make_folder(root: Path, kind: str) -> None:
    """Make `root`/KIND, once, and the table in `root` that all kinds use."""
    if (root / kind).exists():
        return
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patched:
        draw_one(patched)
        rows = [f"{i % 17},{i % 13},{'yes' if i % 17 > 8 else 'no'}" for i in range(60)]
        TABLE.write_text("\n".join(["a,b,y", *rows]) + "\n")
        _MAKERS[kind](kind, patched)


def _finished(name: str, _: pytest.MonkeyPatch) -> None:
    mlplab.run([*SMALL, *FULL_TRACKING], name)
    for command in ("report", "evaluate"):
        assert main([command, name]) == 0


def _interrupted(name: str, patched: pytest.MonkeyPatch) -> None:
    interrupt_at(3, patched)
    assert mlplab.run([*SMALL, *FULL_TRACKING], name).status == "interrupted"


def _sweep(name: str, _: pytest.MonkeyPatch) -> None:
    mlplab.sweep([*SMALL, "tracking=off", "seed=0,1"], name)
    shutil.rmtree(Path(name, "jobs", "1"))


def _packed(name: str, _: pytest.MonkeyPatch) -> None:
    overrides = [*SMALL, "tracking=off", "tracking.jobs=packed"]
    mlplab.sweep([*overrides, "seed=0,1"], name)
    SweepRequest(Composer([*overrides, "seed=0,1,2"])).write_plan(Path(name))  # one is missing


def _search(name: str, _: pytest.MonkeyPatch) -> None:
    assert main(["train", "-m", *SMALL, "tracking=off", *SEARCH, f"hydra.sweep.dir={name}"]) == 0
    request = Path(name, "search.yaml")
    request.write_text(request.read_text().replace("sweep.trials=2", "sweep.trials=3"))


_MAKERS = {
    "finished": _finished,
    "interrupted": _interrupted,
    "sweep": _sweep,
    "packed": _packed,
    "search": _search,
}
KINDS = tuple(_MAKERS)


@dataclass
class Recording:
    """The absolute paths that this process makes, opens for writing, renames or deletes."""

    folders: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


_recordings: list[Recording] = []


def _hear(event: str, arguments: tuple) -> None:
    if not _recordings:
        return
    if event == "open":
        paths = arguments[:1] if (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR) else ()
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate", "os.chmod"):
        paths = arguments[:1]
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = arguments[:2]
    elif event == "sqlite3.connect":
        paths = (re.sub(r"^file:|\?.*", "", str(arguments[0])),)
    else:
        return
    is_folder = event in ("os.mkdir", "os.rmdir", "shutil.rmtree")
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            absolute = os.path.abspath(os.fsdecode(path))
            (_recordings[-1].folders if is_folder else _recordings[-1].files).add(absolute)


_is_listening = False


@contextlib.contextmanager
def recorded() -> Iterator[Recording]:
    """What this process writes in the body."""
    global _is_listening
    if not _is_listening:  # a hook cannot be removed
        sys.addaudithook(_hear)
        _is_listening = True
    _recordings.append(Recording())
    try:
        yield _recordings[-1]
    finally:
        _recordings.pop()

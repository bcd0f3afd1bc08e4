"""Helpers of the reliability tests."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from cli_process import python_command as python_command
from cli_process import run as run
from cli_process import start as start

FULL = os.environ.get("MLPLAB_CAMPAIGN") == "full"
QUICK = [
    "experiment=xor_mlp",
    "tracking=summary",
    "dataset.num_samples=60",
    "training.epochs=12",
    "training.batch_size=16",
]
HERE = Path(__file__).parent


def row(*names: str):
    """Mark a test with the rows of the fault matrix that it covers."""
    return pytest.mark.row(*names)


def size(ci: int, full: int) -> int:
    """The size of a test: `ci` in the default tier, `full` in the campaign."""
    return full if FULL else ci


def record_measurement(name: str, **numbers: object) -> None:
    """Append measurements of a campaign to the file named by MLPLAB_RECORD."""
    if record_path := os.environ.get("MLPLAB_RECORD"):
        with open(record_path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"campaign": name, **numbers}) + "\n")


def digest(
    folder: Path, names=("metrics.csv", "weights.safetensors", "checkpoints/last.safetensors")
) -> str:
    """A digest of the files that must be identical however a run was interrupted."""
    hasher = hashlib.sha256()
    for name in names:
        hasher.update((Path(folder) / name).read_bytes())
    return hasher.hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in sorted(Path(folder).rglob("*"))
        if not path.is_symlink() and path.name != ".lock"  # which names the last owner
    }


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened in {seconds:g} s"
        time.sleep(0.002)


def refused(arguments, capfd, *nearest: str) -> str:
    """Check that `mlplab ARGUMENTS` exits with code 2 and one paragraph that contains `nearest`,
    and changes no files; return that paragraph.
    """
    from mlplab.cli import main

    before = tree(Path())
    capfd.readouterr()
    assert main(list(arguments)) == 2, arguments
    output, errors = capfd.readouterr()
    assert output == ""
    assert len(errors.strip().splitlines()) == 1, errors
    assert "Traceback" not in errors
    for text in nearest:
        assert text in errors, (text, errors)
    assert tree(Path()) == before
    return errors


class LoopStops(Exception):
    """Raised by a hook of a test."""


@functools.cache
def _undisturbed(overrides: tuple[str, ...], at: str) -> str:
    import mlplab

    return digest(mlplab.run(list(overrides), at).folder)


@pytest.fixture
def undisturbed(tmp_path_factory):
    """A function: overrides -> digest of an uninterrupted run with these overrides."""
    return lambda overrides: _undisturbed(
        tuple(overrides), str(tmp_path_factory.mktemp("undisturbed") / "run")
    )

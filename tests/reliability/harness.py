"""What the tests of faults share."""

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
    """The rows of the fault matrix that a test proves."""
    return pytest.mark.row(*names)


def size(ci: int, full: int) -> int:
    """How large a campaign is: `ci` in the default tier, `full` in the campaign."""
    return full if FULL else ci


def told(name: str, **numbers: object) -> None:
    """Write what a campaign measured to the file that MLPLAB_RECORD names."""
    if place := os.environ.get("MLPLAB_RECORD"):
        with open(place, "a", encoding="utf-8") as file:
            file.write(json.dumps({"campaign": name, **numbers}) + "\n")


def digest(
    folder: Path, names=("metrics.csv", "weights.safetensors", "checkpoints/last.safetensors")
) -> str:
    """What must be the same of a run, however it was disturbed."""
    found = hashlib.sha256()
    for name in names:
        found.update((Path(folder) / name).read_bytes())
    return found.hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder by its content."""
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


def refused(words, capfd, *nearest: str) -> str:
    """`mlplab WORDS` ends with exit code 2 and one paragraph that names these; nothing is left
    behind.
    """
    from mlplab.cli import main

    before = tree(Path())
    capfd.readouterr()
    assert main(list(words)) == 2, words
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
def _undisturbed(words: tuple[str, ...], at: str) -> str:
    import mlplab

    return digest(mlplab.run(list(words), at).folder)


@pytest.fixture
def undisturbed(tmp_path_factory):
    """words -> the digest of a run of them that nobody disturbed."""
    return lambda words: _undisturbed(
        tuple(words), str(tmp_path_factory.mktemp("undisturbed") / "run")
    )

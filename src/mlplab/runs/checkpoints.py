"""Checkpoints of a training: written so that a crash at any moment leaves a good one, and read with
nothing taken on trust.

state-<step>.safetensors    the state between two steps (a tree of tensors and plain values)
state-<step>.json           its manifest, written last: a state without one does not exist
history.bin                 what was measured so far; each save appends to it and its manifest says
how far it counts
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlplab.errors import CheckpointError
from mlplab.io.files import AppendFile, write_bytes_atomic, write_json
from mlplab.io.links import make_folder
from mlplab.runs import tree_file

FORMAT = "mlplab-checkpoint-1"
HISTORY = "history.bin"
KEPT = 2
MAX_BYTES = 64 << 30
_MANIFEST = re.compile(r"state-(\d{12})\.json")


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read and found whole: its manifest, the state, and the pieces of
    history up to it.
    """

    manifest: Mapping[str, Any]
    tree: Any
    history: list[Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])


class Checkpoints:
    """The checkpoints in one folder, which belongs to one process at a time.

    `identity` goes into each manifest: what the state is the state of. `below`: the folder is made
    with the first save, below one that is there; one that was taken away is not made anew.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], below: Path | None = None
    ) -> None:
        self.folder, self.identity, self.below = folder, dict(identity), below
        self._history: AppendFile | None = None
        self._hash, self._size = hashlib.sha256(), 0

    def save(self, step: int, epoch: int, tree: Any, rows: Sequence[Any], elapsed: float) -> None:
        """Make the state durable, then visible, then take the oldest away. OSError leaves what was
        there.
        """
        if self._history is None and self.below is not None:
            make_folder(self.folder, self.below)
        for stale in self.folder.glob(".tmp-*"):  # of a writer that died: the folder is ours alone
            stale.unlink(missing_ok=True)
        self._append(rows)
        name = f"state-{step:012d}"
        data = tree_file.dump(tree)
        write_bytes_atomic(self.folder / f"{name}.safetensors", data, durable=True)
        manifest = {
            "format": FORMAT,
            "step": step,
            "epoch": epoch,
            "state": {
                "file": f"{name}.safetensors",
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            },
            "history": {"size": self._size, "sha256": self._hash.hexdigest()},
            "elapsed": elapsed,
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            **self.identity,
        }
        write_json(self.folder / f"{name}.json", manifest, durable=True)
        for older in sorted(steps(self.folder))[:-KEPT]:
            self._remove(older)

    def _append(self, rows: Sequence[Any]) -> None:
        """What was measured since the last save. A failure cuts it off again."""
        if self._history is None:
            path = self.folder / HISTORY
            self._history = AppendFile(path, resume=path.exists())
            self._history.truncate(self._size)
        if rows:
            data = tree_file.dump(list(rows))
            piece = len(data).to_bytes(8, "little") + data
            self._history.append(piece)
            self._hash.update(piece)
            self._size += len(piece)
        self._history.sync()

    def _remove(self, step: int) -> None:
        """The manifest first: a state without one does not count."""
        (self.folder / f"state-{step:012d}.json").unlink(missing_ok=True)
        (self.folder / f"state-{step:012d}.safetensors").unlink(missing_ok=True)

    def resume(self, saved: Saved) -> None:
        """Go on behind this checkpoint: what is later, and was found damaged, is taken away, as is
        the history beyond it.
        """
        for step in steps(self.folder):
            if step > saved.step:
                self._remove(step)
        self._size = saved.manifest["history"]["size"]
        with open(self.folder / HISTORY, "rb") as file:
            self._hash = hashlib.sha256(file.read(self._size))

    def close(self) -> None:
        """Close; a second call does nothing."""
        if self._history is not None:
            self._history.close()
        self._history = None

    def remove(self) -> None:
        """Take all checkpoints away."""
        self.close()
        for step in steps(self.folder):
            self._remove(step)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / HISTORY).unlink()


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first, damaged ones among them."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(
        (int(match[1]) for match in map(_MANIFEST.fullmatch, names) if match), reverse=True
    )


def read(folder: Path, step: int) -> Saved:
    """One checkpoint. Raises CheckpointError, naming the file, unless every byte is as it was
    written.
    """
    path = folder / f"state-{step:012d}.json"
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has the format {manifest['format']!r}; this version of mlplab reads"
                f" {FORMAT!r}."
            )
        if manifest["step"] != step:
            raise CheckpointError(
                f"{path} is the manifest of step {manifest['step']}, under another name."
            )
        data = _checked(folder / f"state-{step:012d}.safetensors", manifest["state"])
        history = _checked(folder / HISTORY, manifest["history"])
        return Saved(manifest, tree_file.parse(data), _pieces(history))
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _checked(path: Path, told: Mapping[str, Any]) -> bytes:
    """So many first bytes of a file, if they are those that the manifest tells."""
    size = told["size"]
    if (
        not isinstance(size, int)
        or not 0 <= size <= MAX_BYTES
        or path.is_symlink()
        or path.stat().st_size < size
    ):
        raise CheckpointError(f"{path} is damaged: it should hold {size} bytes.")
    with open(path, "rb") as file:
        data = file.read(size)
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise CheckpointError(
            f"{path} is damaged: its digest is not the one that was written down."
        )
    return data


def _pieces(data: bytes) -> list[Any]:
    found: list[Any] = []
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        found += tree_file.parse(data[place + 8 : place + 8 + size])
        place += 8 + size
    return found


def newest(folder: Path) -> tuple[Saved | None, list[str]]:
    """The newest good checkpoint and the complaints about damaged ones; None where none was ever
    saved.

    Raises CheckpointError where there are some and all are damaged: a training must not begin anew
    in silence.
    """
    complaints: list[str] = []
    for step in steps(folder):
        try:
            return read(folder, step), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    orphans = [path.name for path in folder.glob("state-*.safetensors")] if folder.is_dir() else []
    if complaints:
        raise CheckpointError(
            f"No checkpoint in {folder} can be trusted, and the training is not begun anew in"
            f" silence. {' '.join(complaints)} Start it again with `mlplab rerun`."
        )
    return None, [f"{folder / name} was never completed and does not count." for name in orphans]

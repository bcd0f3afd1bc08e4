"""Checkpoints of a training: a crash at any moment leaves a good one, and reading verifies every
byte.

state-<step>.safetensors    the state between two steps (a tree of tensors and plain values)
state-<step>.json           its manifest, written last: a state without a manifest does not count
history.bin                 all measurements so far: each save appends a record, and its manifest
                            stores the size of the file
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from mlplab.errors import CheckpointError
from mlplab.io.files import AppendFile, parse_json, write_bytes_atomic, write_json
from mlplab.io.links import make_folder
from mlplab.io.reading import fault_of
from mlplab.runs import tree_file
from mlplab.runs.compute_time import ComputeTime

FORMAT = "mlplab-checkpoint-2"
HISTORY = "history.bin"
NUM_RETAINED = 2
MAX_BYTES = 64 << 30
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "epoch": int,
    "elapsed": (int, float),
    "cpu_elapsed": (int, float),
    "saved": str,
    "data_hash": str,
    "split_hash": str,
    "fingerprint": dict,
    "config": dict,
    "jobs": dict,
}
"""The types of the values of a manifest that are used without a check of their own."""
_MANIFEST = re.compile(r"state-(\d{12})\.json")


@dataclass(frozen=True)
class Saved:
    """A verified checkpoint: its manifest, the state, and the rows of history up to it."""

    manifest: Mapping[str, Any]
    tree: Any
    history: list[dict[str, Tensor]]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])


class Checkpoints:
    """The checkpoints in one folder, which belongs to one process at a time.

    `identity` is stored in each manifest and describes the training. With `below`, the first save
    creates the folder below that existing folder; later saves do not create it again if it was
    deleted.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, object], below: Path | None = None
    ) -> None:
        self.folder, self.identity, self.below = folder, dict(identity), below
        self._history: AppendFile | None = None
        self._hash, self._size = hashlib.sha256(), 0

    def save(
        self,
        step: int,
        epoch: int,
        tree: object,
        rows: Sequence[dict[str, Tensor]],
        elapsed: ComputeTime,
    ) -> None:
        """Write the state and flush it to disk, then its manifest, then delete older checkpoints.

        `rows` are the measurements since the last save, `elapsed` the time of training. An
        OSError leaves the previous checkpoints intact.
        """
        if self._history is None and self.below is not None:
            make_folder(self.folder, self.below)
        # left by a process that died: no other one uses the folder
        for stale in self.folder.glob(".tmp-*"):
            stale.unlink(missing_ok=True)
        self._append(rows)
        name = f"state-{step:012d}"
        data = tree_file.dump(tree)
        write_bytes_atomic(self.folder / f"{name}.safetensors", data, durable=True)
        write_json(
            self.folder / f"{name}.json",
            {
                "format": FORMAT,
                "step": step,
                "epoch": epoch,
                "state": {
                    "file": f"{name}.safetensors",
                    "size": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                },
                "history": {"size": self._size, "sha256": self._hash.hexdigest()},
                "elapsed": elapsed.wall,
                "cpu_elapsed": elapsed.cpu,
                "saved": datetime.now(UTC).isoformat(timespec="seconds"),
                **self.identity,
            },
            durable=True,
        )
        for older in sorted(steps(self.folder))[:-NUM_RETAINED]:
            self._remove(older)

    def _append(self, rows: Sequence[dict[str, Tensor]]) -> None:
        """Append the measurements since the last save; a failure leaves the file unchanged."""
        if self._history is None:
            path = self.folder / HISTORY
            self._history = AppendFile(path, resume=path.exists())
            self._history.truncate(self._size)
        if rows:
            data = tree_file.dump(list(rows))
            record = len(data).to_bytes(8, "little") + data
            self._history.append(record)
            self._hash.update(record)
            self._size += len(record)
        self._history.sync()

    def _remove(self, step: int) -> None:
        """Remove the manifest first: a state without one does not count."""
        (self.folder / f"state-{step:012d}.json").unlink(missing_ok=True)
        (self.folder / f"state-{step:012d}.safetensors").unlink(missing_ok=True)

    def resume(self, saved: Saved) -> None:
        """Continue from this checkpoint: later checkpoints, which are damaged, are deleted, and
        the next save cuts off the history after it.
        """
        for step in steps(self.folder):
            if step > saved.step:
                self._remove(step)
        self._size = saved.manifest["history"]["size"]
        with open(self.folder / HISTORY, "rb") as file:
            self._hash = hashlib.sha256(file.read(self._size))

    def close(self) -> None:
        """Close the history file; closing it again does nothing."""
        if self._history is not None:
            self._history.close()
        self._history = None

    def remove(self) -> None:
        """Delete all checkpoints."""
        self.close()
        for step in steps(self.folder):
            self._remove(step)
        (self.folder / HISTORY).unlink(missing_ok=True)


def steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, newest first, including damaged ones."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(
        (int(match[1]) for match in map(_MANIFEST.fullmatch, names) if match), reverse=True
    )


def read(folder: Path, step: int) -> Saved:
    """Read one checkpoint. Raises CheckpointError, naming the file, unless every byte is as it was
    written.
    """
    path = folder / f"state-{step:012d}.json"
    try:
        manifest = parse_json(path.read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has the format {manifest['format']!r}; this version of mlplab reads"
                f" {FORMAT!r}."
            )
        if manifest["step"] != step:
            raise CheckpointError(
                f"{path} is the manifest of step {manifest['step']}, not of step {step}."
            )
        for key, kind in _KINDS.items():
            if key in manifest and not isinstance(manifest[key], kind):
                raise TypeError(f"`{key}` is {manifest[key]!r}"[:200])
        data = _read_verified(folder / f"state-{step:012d}.safetensors", manifest["state"])
        history = _read_verified(folder / HISTORY, manifest["history"])
        return Saved(manifest, tree_file.parse(data), _parse_history(history))
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {fault_of(error)}") from error


def _read_verified(path: Path, entry: Mapping[str, object]) -> bytes:
    """The start of a file, if its size and digest are those in the manifest's entry."""
    size = entry["size"]
    if not path.exists():
        raise CheckpointError(f"{path} is missing.")
    if (
        not isinstance(size, int)
        or not 0 <= size <= MAX_BYTES
        or path.is_symlink()
        or path.stat().st_size < size
    ):
        raise CheckpointError(f"{path} is damaged: it should hold {size} bytes.")
    with open(path, "rb") as file:
        data = file.read(size)
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(
            f"{path} is damaged: its digest differs from the one in the manifest."
        )
    return data


def _parse_history(data: bytes) -> list[dict[str, Tensor]]:
    rows: list[dict[str, Tensor]] = []
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 8], "little")
        rows += tree_file.parse(data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    return rows


def newest(folder: Path) -> tuple[Saved | None, list[str]]:
    """Return the newest good checkpoint (None if none was ever saved) and the problems of damaged
    ones.

    Raises CheckpointError if all checkpoints are damaged.
    """
    problems: list[str] = []
    for step in steps(folder):
        try:
            return read(folder, step), problems
        except CheckpointError as error:
            problems.append(str(error))
    orphans = [path.name for path in folder.glob("state-*.safetensors")] if folder.is_dir() else []
    if problems:
        raise CheckpointError(f"No checkpoint in {folder} can be used. {' '.join(problems)}")
    return None, [f"{folder / name} was never completed and is ignored." for name in orphans]

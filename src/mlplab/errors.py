"""The errors that users can cause. The command prints one paragraph and exits with code 2.

    MlplabError                     root; also a ValueError
     ├─ ConfigError                 a command line, an override or a configuration
     │   └─ FieldError              the value of one key
     ├─ IncompatibleSettingsError   settings that exclude each other or do not suit this machine
     ├─ DataError                   a table or a dataset
     ├─ MissingExtraError           a package that is not installed; also an ImportError
     ├─ NotFiniteError              a network output that is NaN or infinite
     └─ FolderError                 the folder of a run or a sweep
         ├─ FolderInUseError        another process or another run uses it
         ├─ LinkError               a symbolic link inside it
         ├─ DamagedFileError        an unreadable file in it
         ├─ CheckpointError         no valid checkpoint
         │   ├─ StateError          the state belongs to another training
         │   └─ TreeError           the bytes do not encode a state
         ├─ PlaybackError           nothing to play back
         └─ UnfinishedRunError      a run without weights

All other errors are failures with exit code 1: `StorageError` (runs), `RankLost` (training), and
any exception that is raised while training, which `failure_text` describes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DamagedFileError",
    "DataError",
    "FieldError",
    "FolderError",
    "FolderInUseError",
    "IncompatibleSettingsError",
    "LinkError",
    "MissingExtraError",
    "MlplabError",
    "NotFiniteError",
    "PlaybackError",
    "StateError",
    "TreeError",
    "UnfinishedRunError",
    "failure_text",
    "is_out_of_memory",
]


class MlplabError(ValueError):
    """Invalid input. The message is one paragraph: what is wrong, where, and what to do."""


class ConfigError(MlplabError):
    """An invalid command line, override or configuration."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))


class FieldError(MlplabError):
    """A value that a field does not accept.

    `key` is the field; `reason` completes the sentence "key = value ...".
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        super().__init__(f"{key} = {value!r} {reason}")
        self.key, self.value, self.reason = key, value, reason


class IncompatibleSettingsError(MlplabError):
    """Settings that exclude each other or do not suit the data or this machine."""


class DataError(MlplabError):
    """A table or a dataset that cannot be used."""


class MissingExtraError(ImportError, MlplabError):
    """A required package is not installed."""


class NotFiniteError(MlplabError):
    """The output of a network for a row is NaN or infinite."""


class FolderError(MlplabError):
    """A folder that does not contain, or cannot contain, a run or a sweep."""


class FolderInUseError(FolderError):
    """The folder belongs to another run, or another process is writing to it."""


class LinkError(FolderError):
    """A symbolic link instead of a folder or file of a run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"{path} is a symbolic link. mlplab does not write through links inside outputs/ or the"
            " folder of a run or a sweep: remove the link, or replace it with what it points to."
        )


class DamagedFileError(FolderError):
    """An unreadable file of a run or a sweep.

    Args:
        path: the file.
        fault: what is wrong, as in "it ends after 12 bytes".
        remedy: a sentence that says what to do.
    """

    def __init__(self, path: str | os.PathLike[str], fault: object, remedy: str) -> None:
        reason = " ".join(str(fault).split()).rstrip(".")
        self.path, self.fault = Path(path), f"{path} cannot be read: {reason}"
        super().__init__(f"{self.fault}. {remedy}")


class CheckpointError(FolderError):
    """A folder without a valid checkpoint."""


class StateError(CheckpointError):
    """A checkpoint whose state belongs to another training."""


class TreeError(CheckpointError):
    """Bytes that do not encode a tree of tensors and plain values."""


class PlaybackError(FolderError):
    """A run that lacks the data for its playback page."""


class UnfinishedRunError(FolderError):
    """A run that has no weights: it is training, was killed or failed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a failed allocation, which torch reports as RuntimeError on the CPU."""
    # by name: torch is not imported by commands that do not train
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        "RuntimeError" in names and "DefaultCPUAllocator" in str(error)
    )


def failure_text(error: BaseException) -> str:
    """Return what a failure is told as: its class and message, or for a failed allocation its size
    and what helps.
    """
    if not is_out_of_memory(error):
        return f"{type(error).__name__}: {error}"
    size = re.search(r"allocate ([\d.]+) ?(bytes|[KMGT]iB)", str(error), re.IGNORECASE)
    amount = "" if size is None else f" while allocating {_size(float(size[1]), size[2])}"
    return (
        f"out of memory{amount}. Try a smaller model.hidden or training.batch_size, or fewer jobs"
        " at once; `ulimit -v` and the limits of a container count too."
    )


def _size(number: float, unit: str) -> str:
    return f"{number / 1e6:,.0f} MB" if unit == "bytes" else f"{number:g} {unit}"

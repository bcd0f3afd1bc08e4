"""Every error that a user can cause. The command reports one as a paragraph and exits with code 2.

    MlplabError                     root; also a ValueError
     ├─ ConfigError                 a command line, an override or a configuration
     │   └─ FieldError              the value of one key
     ├─ IncompatibleSettingsError   settings that exclude each other, or that this machine lacks
     ├─ DataError                   a table or a dataset
     ├─ MissingExtraError           a package that is not installed; also an ImportError
     ├─ NotFiniteError              an output of a network that is NaN or infinite
     └─ FolderError                 the folder of a run or a sweep
         ├─ FolderInUseError        another process or another run has it
         ├─ LinkError               a symbolic link inside it
         ├─ DamagedFileError        a file in it that cannot be read
         ├─ CheckpointError         no checkpoint that can be trusted
         │   ├─ StateError          the state belongs to another training
         │   └─ TreeError           the bytes are not a state
         └─ PlaybackError           nothing to play back

Errors that are not in the tree are failures, with exit code 1: `StorageError` (runs), `RankLost`
(training), and whatever a training raises.
"""

from __future__ import annotations

import os

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
]


class MlplabError(ValueError):
    """Input that mlplab refuses. The message is one paragraph: what is wrong, where, what to do."""


class ConfigError(MlplabError):
    """A command line, an override or a configuration that is refused."""

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
    """The request needs a package that is not installed."""


class NotFiniteError(MlplabError):
    """The network's output for a row is NaN or infinite."""


class FolderError(MlplabError):
    """A folder that cannot hold, or does not hold, a run or a sweep."""


class FolderInUseError(FolderError):
    """The folder belongs to another run, or another process is writing to it."""


class LinkError(FolderError):
    """A symbolic link in place of a run's folder or file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"{path} is a symbolic link. mlplab does not write through links inside the folder of"
            " a run or a sweep: remove the link, or replace it with what it points to."
        )


class DamagedFileError(FolderError):
    """A file of a run or a sweep that cannot be read.

    Args:
        path: the file.
        fault: what is wrong, as in "it ends after 12 bytes".
        remedy: what to do about it, a sentence.
    """

    def __init__(self, path: str | os.PathLike[str], fault: object, remedy: str) -> None:
        reason = " ".join(str(fault).split()).rstrip(".")
        super().__init__(f"{path} cannot be read: {reason}. {remedy}")


class CheckpointError(FolderError):
    """No checkpoint that can be trusted."""


class StateError(CheckpointError):
    """The state of a checkpoint that belongs to another training."""


class TreeError(CheckpointError):
    """Bytes that are not a tree of tensors and plain values."""


class PlaybackError(FolderError):
    """A run without what its playback page needs."""

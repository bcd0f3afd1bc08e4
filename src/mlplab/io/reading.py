"""Files of a run or a sweep read back: whatever is wrong with one, the error names it."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlplab.errors import DamagedFileError, MlplabError
from mlplab.io.files import parse_json


@contextlib.contextmanager
def reading(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Raise DamagedFileError, with the file and a remedy, for any error inside the block.

    The block reads and interprets one file and does nothing else: libraries report damage with
    dozens of exception classes, of which none names the file.
    """
    try:
        yield
    except (MlplabError, MemoryError):  # a file that is too large for this machine is not damaged
        raise
    except Exception as error:
        raise DamagedFileError(path, fault_of(error), remedy or restore_or_rerun(path)) from error


def fault_of(error: Exception) -> str:
    """What an exception says about the file that was read, without the name of its class."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    match error:
        case FileNotFoundError():
            return "it does not exist"
        case OSError():
            return error.strerror or text
        case json.JSONDecodeError():
            return f"it is not JSON ({text})"
        case UnicodeDecodeError():
            return "it is not text"
        case KeyError():
            return f"{text} is missing"
    return text


RESTORE = "Restore the file from a copy."
"""The remedy for a file that training again would read too."""


def restore_or_rerun(path: Path) -> str:
    """The remedy for a file of a run folder that `mlplab rerun` does not read."""
    command = shlex.join(["mlplab", "rerun", str(path.parent)])
    return f"Restore the file from a copy, or train again: {command}"


def read_json(path: Path, remedy: str | None = None) -> dict[str, Any]:
    """Return the mapping that a JSON file holds. Raises DamagedFileError."""
    with reading(path, remedy):
        value = parse_json(path.read_bytes())
        if not isinstance(value, dict):
            raise TypeError(f"it holds a {type(value).__name__} in place of keys and values")
    return value

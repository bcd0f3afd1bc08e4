"""The names that a run may have: those that are valid on every file system."""

from __future__ import annotations

import re
from collections.abc import Collection

from mlplab.errors import FolderError

_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}
_MAX_NAME_BYTES = 200  # file systems allow 255


def check_name(name: str) -> None:
    """Raise FolderError unless each segment of the name, separated by /, is a valid folder name."""
    reason = next(filter(None, map(_fault, name.split("/"))), None)
    if reason:
        raise FolderError(f"The name {name!r} cannot be a folder: {reason}. Choose another name.")


def _fault(segment: str) -> str | None:
    """Return why the segment is refused, or None if it is valid."""
    forbidden = re.search(r'[\x00-\x1f\x7f\ud800-\udfff\\:*?"<>|]', segment)
    if segment in ("", ".", ".."):
        return f"{segment!r} is not a name" if segment else "it is empty or has an empty segment"
    if forbidden:
        return f"it contains {forbidden[0]!r}"
    if segment[0] in "~-":
        return f"it starts with {segment[0]}"
    if segment[-1] in ". ":
        return "it ends with a period or a space"
    if segment.split(".")[0].rstrip().lower() in _DEVICES:
        return f"{segment!r} names a device on Windows"
    if len(segment.encode()) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    return None


LOCK = ".lock"
_SET_UP_NAMES = (
    LOCK,
    "log.txt",
    "data_report.md",
    "checkpoints",
    "data.safetensors",
    "overrides.yaml",
    "provenance.json",
)


def is_set_up_only(entries: Collection[str]) -> bool:
    """Whether a folder with these entries is empty or holds only what a run writes before its
    config.yaml: a full disk or a kill ended its set-up, and nothing was trained.
    """
    return not entries or (
        LOCK in entries
        and all(name in _SET_UP_NAMES or name.startswith(".tmp-") for name in entries)
    )

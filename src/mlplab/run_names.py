"""Which names a run may have: those that every file system can hold."""

from __future__ import annotations

import re

from mlplab.errors import FolderError

_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}
_LONGEST_NAME = 200  # bytes; file systems allow 255


def check_name(name: str) -> None:
    """Raise FolderError unless the name, whose parts / may separate, can be a folder on every
    system.
    """
    reason = next(filter(None, map(_fault, name.split("/"))), None)
    if reason:
        raise FolderError(f"The name {name!r} cannot be a folder: {reason}. Choose another name.")


def _fault(part: str) -> str | None:
    """Why the part of a name is refused."""
    forbidden = re.search(r'[\x00-\x1f\x7f\ud800-\udfff\\:*?"<>|]', part)
    if part in ("", ".", ".."):
        return f"{part!r} is not a name" if part else "it is empty, or has an empty part"
    if forbidden:
        return f"it contains {forbidden[0]!r}"
    if part[0] in "~-":
        return f"it starts with {part[0]}"
    if part[-1] in ". ":
        return "it ends with a point or a space"
    if part.split(".")[0].rstrip().lower() in _DEVICES:
        return f"{part!r} names a device on Windows"
    if len(part.encode()) > _LONGEST_NAME:
        return f"it is longer than {_LONGEST_NAME} bytes"
    return None

"""Open folders and files inside a run or sweep folder without following symbolic links.

A run folder may come from someone else, and a link in it may point anywhere. Only links inside the
folder are refused: the folder itself and its parents are the user's choice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mlplab.errors import LinkError

_APPEND_FLAGS = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise LinkError for the first of these paths that is a symbolic link."""
    for path in paths:
        if path.is_symlink():
            raise LinkError(path)


def refuse_links_below(folder: Path, deep: bool = True) -> None:
    """Raise LinkError if the folder or anything below it is a symbolic link.

    With `deep=False`, only the folder and its direct entries are checked.
    """
    refuse_links([folder])
    for directory, folders, files in os.walk(folder):
        refuse_links(Path(directory, name) for name in (*folders, *files))
        if not deep:
            return


def make_folder(path: Path, below: Path | None = None) -> Path:
    """Create the folder at `path`, with `below` also the folders between them, and return `path`.

    Raises LinkError if one of them is a symbolic link.
    """
    missing_parents = (
        [] if below is None else [folder for folder in path.parents if below in folder.parents]
    )
    for attempt in range(3):  # another process may remove an empty folder meanwhile
        try:
            for folder in (*reversed(missing_parents), path):
                refuse_links([folder])
                folder.mkdir(exist_ok=True)
            return path
        except FileNotFoundError:
            if below is None or attempt == 2 or not below.is_dir():
                raise
    raise AssertionError("unreachable")


def open_to_append(path: Path) -> BinaryIO:
    """Open a file for appending, and create it if needed. Raises LinkError if it is a link."""
    refuse_links([path])  # for systems without O_NOFOLLOW
    try:
        return os.fdopen(os.open(path, _APPEND_FLAGS, 0o666), "ab")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LinkError(path) from None
        raise

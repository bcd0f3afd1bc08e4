"""Open folders and files inside a run or sweep folder without following symbolic links.

A run folder may come from somebody else, and a link in it may point anywhere. Only entries inside
the folder are refused: the folder itself and its parents are the user's choice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mlplab.errors import LinkError

_APPEND = (
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
    """Raise LinkError if the folder or anything below it is a link; `deep=False`: its entries."""
    refuse_links([folder])
    for place, folders, files in os.walk(folder):
        refuse_links(Path(place, name) for name in (*folders, *files))
        if not deep:
            return


def make_folder(path: Path, below: Path | None = None) -> Path:
    """Create the folder at `path`, with `below` also the folders between the two, and return it.

    Raises LinkError if one of them is a link.
    """
    between = [] if below is None else [one for one in path.parents if below in one.parents]
    for attempt in range(3):  # another process may take an empty one away meanwhile
        try:
            for one in (*reversed(between), path):
                _make(one)
            return path
        except FileNotFoundError:
            if below is None or attempt == 2 or not below.is_dir():
                raise
    raise AssertionError("unreachable")


def _make(path: Path) -> None:
    refuse_links([path])
    path.mkdir(exist_ok=True)


def open_to_append(path: Path) -> BinaryIO:
    """Open a file for appending, and create it if needed. Raises LinkError if it is a link."""
    refuse_links([path])  # where the system cannot be told to follow none
    try:
        return os.fdopen(os.open(path, _APPEND, 0o666), "ab")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LinkError(path) from None
        raise

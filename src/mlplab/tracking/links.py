"""Folders and files inside the folder of a run or a sweep, never through a symbolic link: such a
folder may be somebody else's, and a link in it may lead anywhere.

Only what lies inside is refused. The folder itself, and those above it, are the user's choice.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_APPEND = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)


class LinkError(ValueError):
    """A symbolic link where a folder or a file of a run belongs. The command ends with
    `exit_code`.
    """

    exit_code = 2

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"{path} is a symbolic link, and nothing is written through a link inside the folder"
            " of a run or a sweep: remove it, or put what it leads to in its place."
        )


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise LinkError for the first of these paths that is a link, wherever it leads."""
    for path in paths:
        if path.is_symlink():
            raise LinkError(path)


def refuse_links_below(folder: Path, deep: bool = True) -> None:
    """The same for the folder and all that it holds; not `deep`: its entries alone."""
    refuse_links([folder])
    for place, folders, files in os.walk(folder):
        refuse_links(Path(place, name) for name in (*folders, *files))
        if not deep:
            return


def own_folder(path: Path, below: Path | None = None) -> Path:
    """The folder at `path`, made where there is none, and with `below` those between the two. A
    link in the place of one is a LinkError.
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
    """The file at `path`, made where there is none, for writing at its end. A link in its place is
    a LinkError.
    """
    refuse_links([path])  # where the system cannot be told to follow none
    try:
        return os.fdopen(os.open(path, _APPEND, 0o666), "ab")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LinkError(path) from None
        raise

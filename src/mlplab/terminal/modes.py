"""How much a command prints: --quiet and --verbose, and --json, with which the output stream is for
one document and everything else goes to the error stream.

The mode belongs to the process, since it concerns the terminal and not what is computed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

QUIET, NORMAL, VERBOSE = -1, 0, 1


@dataclass
class _Mode:
    level: int = NORMAL
    documents: TextIO | None = None
    """The output stream of the process, if it is for a document."""
    has_printed: bool = False


_mode = _Mode()


@contextlib.contextmanager
def printing(level: int, as_json: bool) -> Iterator[None]:
    """Context manager in which this much is printed, and with `as_json` nothing but a document to
    the output stream.
    """
    global _mode
    before = _mode
    _mode = _Mode(level, sys.stdout if as_json else None)
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            yield
    finally:
        _mode = before


def discard_output() -> None:
    """Discard what is written to the output stream from now on, since nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def is_quiet() -> bool:
    """Whether notes, progress, and tables that accompany a result are left out."""
    return _mode.level <= QUIET


def is_verbose() -> bool:
    """Whether the log of a run is shown while it trains."""
    return _mode.level >= VERBOSE


def lacks_document() -> bool:
    """Whether a document is expected on the output stream and has not been printed."""
    return _mode.documents is not None and not _mode.has_printed


def write_document(*lines: str) -> None:
    """Print the lines of a document to the output stream of the process."""
    stream = sys.stdout if _mode.documents is None else _mode.documents
    print(*lines, sep="\n", file=stream, flush=True)
    _mode.has_printed = True

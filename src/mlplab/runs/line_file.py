"""Append-only files of JSON values, one a line with its checksum, that several processes share.

They are caches: a line that is torn or damaged is skipped, a write that fails is dropped, and a
file that cannot be read is empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from mlplab.errors import LinkError
from mlplab.io.files import open_atomic, parse_json, parse_json_lines, remove_leftovers
from mlplab.io.links import make_folder, open_to_append
from mlplab.io.locks import try_lock

MAX_BYTES = 1 << 27
"""Size of a file that is read: about that of 100,000 runs."""
MAX_LINE = 1 << 20


class LineFile:
    """The values in one file. `read` comes first: `replace` keeps what others append meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_lines, self.too_large = 0, False
        self._stamp: tuple[int, int] | None = None  # inode and size of what was read

    def read(self) -> list[Any]:
        """Return the values of the sound lines, oldest first; none if there is no readable file."""
        bodies = [
            line[9:]
            for line in self._bytes().split(b"\n")
            if 9 < len(line) <= MAX_LINE and line[:9] == _checksum(line[9:])
        ]
        self.num_lines = len(bodies)
        with contextlib.suppress(ValueError):
            return parse_json_lines(bodies)
        values = []
        for body in bodies:
            with contextlib.suppress(ValueError):
                values.append(parse_json(body))
        return values

    def _bytes(self) -> bytes:
        with contextlib.suppress(OSError):
            if self.path.parent.is_symlink() or not stat.S_ISREG(os.lstat(self.path).st_mode):
                return b""
            with open(self.path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
                status = os.fstat(file.fileno())
                self._stamp = status.st_ino, status.st_size
            self.too_large = len(data) > MAX_BYTES
            return b"" if self.too_large else data
        return b""

    def append(self, values: Sequence[object]) -> None:
        """Append values."""
        with contextlib.suppress(OSError, LinkError), self._open() as file:
            if _locked(file) and self._is_current(file):
                # a line that was torn ends before these
                file.write(b"\n" + b"".join(map(_line, values)))

    def replace(self, values: Sequence[object]) -> None:
        """Write a file of these values only, unless another process has changed the file since it
        was read.
        """
        with contextlib.suppress(OSError, LinkError), self._open() as file:
            remove_leftovers(self.path.parent)
            status = os.fstat(file.fileno())
            is_unchanged = (status.st_ino, status.st_size) == self._stamp
            if _locked(file) and self._is_current(file) and is_unchanged:
                with open_atomic(self.path) as (_, new):
                    new.write(b"".join(map(_line, values)))

    def _open(self) -> BinaryIO:
        """Open the file to append to it. Raises OSError, or LinkError if it is a link."""
        make_folder(self.path.parent)
        if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
            raise FileExistsError(self.path)  # opening a named pipe would wait
        return open_to_append(self.path)

    def _is_current(self, file: BinaryIO) -> bool:
        """Whether the open file is still the one of this name."""
        return os.fstat(file.fileno()).st_ino == os.lstat(self.path).st_ino


def _locked(file: BinaryIO) -> bool:
    """Lock the file, which lasts until it is closed; False if another process has locked it.

    Without locks, lines are still appended in one write.
    """
    try:
        return try_lock(file.fileno())
    except OSError:
        return True


def _checksum(body: bytes) -> bytes:
    return b"%08x " % crc32(body)


def _line(value: object) -> bytes:
    """A value as a line; empty if JSON cannot represent it, or it is too long to be read."""
    try:
        body = json.dumps(value, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return b""
    return _checksum(body) + body + b"\n" if len(body) + 9 <= MAX_LINE else b""

"""Where the text of a table comes from: a file, compressed or in an archive, or text made from
another format.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mlplab.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".data")
CONVERTED_SUFFIXES = (".xlsx", ".xlsm", ".jsonl", ".ndjson", ".json")
"""Formats that are read as the text that a CSV file with their cells would have."""
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class TextSource:
    """Delimited text that can be read several times.

    Attributes:
        path: the file, for messages.
        text: the text in UTF-8 with commas between cells, if it was made from another format.
        has_names: whether the first line of `text` has the names of the columns.
        objects: the cells of columns that `text` cannot hold, such as lists, by name.
        notes: how the text was made.
    """

    path: Path
    text: bytes | None = None
    has_names: bool = False
    objects: Mapping[str, Sequence[object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_plain_file(self) -> bool:
        """Whether the text is the content of the file as it is."""
        return self.text is None and not suffixes(self.path)[1]

    def open(self) -> IO[bytes]:
        """Return the text, opened for reading."""
        return io.BytesIO(self.text) if self.text is not None else open_decompressed(self.path)


def suffixes(path: Path) -> tuple[str, str]:
    """Return the suffix of the format and that of the compression: (.csv, .gz) for x.csv.gz.

    That of an archive is the suffix of the file in it. Raises DataError for an archive that holds
    no file or several.
    """
    outer = path.suffix.lower()
    if outer == ".zip":
        return Path(_only_member(path)).suffix.lower(), outer
    if outer in COMPRESSED_SUFFIXES:
        return path.with_suffix("").suffix.lower(), outer
    return outer, ""


def open_decompressed(path: Path) -> IO[bytes]:
    """Return the file, opened for reading and decompressed as its suffix says.

    Raises DataError for an archive that holds no file or several.
    """
    import bz2
    import lzma

    openers: dict[str, Any] = {
        "": open,
        ".gz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
        ".zst": _open_zstandard,
        ".zip": _open_member,
    }
    file: IO[bytes] = openers[suffixes(path)[1]](path, "rb")
    return file


def _open_zstandard(path: Path, mode: str) -> IO[bytes]:
    import pyarrow as pa

    file: IO[bytes] = pa.input_stream(str(path), compression="zstd")
    return file


def _open_member(path: Path, mode: str) -> IO[bytes]:
    import zipfile

    name = _only_member(path)
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(name).flag_bits & 1:
            raise DataError(f"{path}: {name} is encrypted. Unpack it, and name the unpacked file.")
        return io.BytesIO(archive.read(name))


def _only_member(path: Path) -> str:
    """Return the name of the only file in an archive, apart from what systems add to it."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/")
            and not name.startswith("__MACOSX/")
            and Path(name).name not in (".DS_Store", "Thumbs.db")
        ]
    if len(names) != 1:
        listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
        raise DataError(
            f"{path} holds {len(names)} files{f' ({listed})' if names else ''}, but a data file is"
            " one table: unpack it, and name one of its files."
        )
    return names[0]

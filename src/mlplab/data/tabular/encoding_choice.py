"""Choose the encoding of a file, or refuse to guess."""

from __future__ import annotations

from pathlib import Path
from typing import IO, BinaryIO

from mlplab.data.tabular.encodings import (
    WESTERN,
    decoded,
    proposals,
    recognized_encoding,
    share_of_utf8,
)
from mlplab.errors import DataError

_SECTION_BYTES = 1 << 24
_WINDOW_BYTES = 1 << 18
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet: its name must end in .zip or .xlsx"),
    (b"\x1f\x8b", "compressed by gzip: its name must end in .gz"),
    (b"BZh", "compressed by bzip2: its name must end in .bz2"),
    (b"\xfd7zXZ", "compressed by xz: its name must end in .xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: its name must end in .zst"),
    (b"PAR1", "Parquet: its name must end in .parquet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file: save it as .xlsx or CSV"),
    (b"%PDF", "a PDF document, not a table"),
)
"""First bytes of a file -> what it is."""


def detected_encoding(text: bytes, path: Path, is_complete: bool) -> str:
    """Return the encoding of the start of a file.

    Raises DataError, which names the encoding to type, if the text is neither Unicode nor Western,
    and if it is no text.
    """
    for start, what in _OTHER_FORMATS:
        if text.startswith(start):
            raise DataError(f"{path} is not text; it is {what}.")
    encoding = recognized_encoding(text, is_complete)
    if encoding is not None:
        if encoding in ("utf-8", WESTERN) and b"\0" in text:
            raise DataError(f"{path} is not text: byte {text.index(0) + 1} is 0.")
        return encoding
    if share_of_utf8(text) > 0.8:
        raise DataError(
            f"{path} is UTF-8, but not all of it: the line {_first_invalid_line(text)!r} has other"
            " bytes. Correct it, or write the file again in one encoding."
        )
    likely = proposals(text, is_complete)
    if not likely:
        raise DataError(
            f"{path} is not UTF-8, and its text is not Western. Name its encoding, such as"
            " dataset.encoding=cp949, shift_jis, gb18030 or cp1251 (--encoding of a command)."
        )
    first, others = likely[0], ", ".join(map(str, likely[1:]))
    raise DataError(
        f"{path} is not UTF-8, and its text is not Western. It looks like {first}: set"
        f" dataset.encoding={first.encoding} (--encoding {first.encoding} of a command)."
        + (f" It may also be {others}." if others else "")
    )


def _first_invalid_line(text: bytes) -> str:
    """Return the first line that is not UTF-8, as Western text, at most 60 characters of it."""
    lines = (line for line in text.splitlines() if decoded(line, "utf-8") is None)
    return next(lines, b"")[:60].decode(WESTERN, errors="replace")


def invalid_utf8(head: bytes, file: IO[bytes] | BinaryIO) -> bytes | None:
    """Return some bytes around the first that are not UTF-8 after the head; None if all are."""
    rest = head[-4:]
    while section := file.read(_SECTION_BYTES):
        text = rest + section
        if not text.isascii() and decoded(text[_first_start(text) :], "utf-8", False) is None:
            return _window(text)
        rest = text[-4:]
    return None


def _first_start(text: bytes) -> int:
    """Return the index of the first byte that does not continue a character of UTF-8."""
    return next((i for i, byte in enumerate(text[:4]) if byte & 0xC0 != 0x80), 0)


def _window(text: bytes) -> bytes:
    start = _first_start(text)
    try:
        text[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        start = max(start, text.rfind(b"\n", 0, start + error.start) + 1)
    return text[start : start + _WINDOW_BYTES]


def decode_head(head: bytes, path: Path, encoding: str, is_complete: bool) -> str:
    """Return the start of a file as text. Raises DataError if it is not in the encoding."""
    try:
        text = decoded(head, encoding, is_complete)
    except LookupError as error:
        raise DataError(
            f"There is no encoding {encoding!r}. Name another, such as dataset.encoding=cp949,"
            " shift_jis, gb18030, cp1251 or latin-1."
        ) from error
    if text is None:
        proposed = recognized_encoding(head, is_complete)
        likely = [proposed] if proposed else [one.encoding for one in proposals(head, is_complete)]
        raise DataError(
            f"{path} is not in the encoding {encoding}. Name its encoding, such as"
            f" dataset.encoding={next(iter(likely), 'latin-1')} (--encoding of a command)."
        )
    return text

"""Files as data frames: what kind of file it is, and how a text file is written, is found out and told.

Text is read by pyarrow, strictly: a row with more or fewer cells than the header is an error and not a row with holes. Nothing here unpickles.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.table import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A")
"""Texts that are taken for a missing value."""
DELIMITERS = (",", ";", "\t", "|")
TEXT = (".csv", ".tsv", ".txt", ".tab", ".data")
KINDS = "CSV and TSV (also .gz, .bz2, .xz), Parquet (.parquet), Feather (.feather), NumPy (.npz, .npy), IDX (-ubyte, also .gz)"
_SAMPLE = 1 << 18
_LEAST_LINES = 2


@dataclass(frozen=True)
class Format:
    """How a text file is written; None is found out."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class Reading:
    """What was read, and what was found out on the way, in words."""

    frame: pd.DataFrame
    path: Path
    told: list[str] = field(default_factory=list)


def read(path: str | Path, form: Format | None = None, columns: list[str] | None = None) -> Reading:
    """The file as a data frame; its suffix says what it is. Raises DataError."""
    place, form = Path(path), form or Format()
    pandas()
    if place.is_dir():
        raise DataError(f"{place} is a folder; a data file is needed.")
    if not place.is_file():
        raise DataError(
            f"{place} does not exist (looked for {place.resolve()}; paths are relative to the folder of the command).{_near(place)}"
        )
    if place.stat().st_size == 0:
        raise DataError(f"{place} is empty (0 bytes).")
    inner, outer = _suffixes(place)
    try:
        if inner == ".parquet":
            return Reading(_arrow("parquet").read_table(place, columns=columns).to_pandas(), place)
        if inner in (".feather", ".arrow"):
            return Reading(_arrow("feather").read_table(place, columns=columns).to_pandas(), place)
        if inner in (".npz", ".npy"):
            return Reading(_numpy(place), place)
        if place.name.removesuffix(".gz").endswith("ubyte") or inner in (".idx", ".idx1-ubyte", ".idx3-ubyte"):
            return Reading(_idx(place, outer == ".gz"), place)
        if inner in TEXT:
            return _text(place, form)
    except DataError:
        raise
    except Exception as error:  # the readers raise whatever they like for a damaged file
        raise DataError(f"{place} cannot be read as {inner.removeprefix('.') or 'data'}: {_first(error)}") from error
    raise DataError(f"{place}: files of the kind {''.join(place.suffixes[-2:]) or 'without a suffix'} are not known. There are {KINDS}.")


def pandas() -> Any:
    """The library, or a clear word about the extra that brings it."""
    try:
        import pandas as module
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError("Data files need pandas and pyarrow: pip install 'mlplab[files]'.") from error
    return module


def _arrow(module: str) -> Any:
    from importlib import import_module

    return import_module(f"pyarrow.{module}")


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _near(place: Path) -> str:
    """The files of the same folder with the nearest names."""
    import difflib

    folder = place.parent
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    near = difflib.get_close_matches(place.name, names, n=3, cutoff=0.5)
    return f" There is {', '.join(near)}." if near else ""


def _suffixes(place: Path) -> tuple[str, str]:
    """(.csv, .gz) of x.csv.gz."""
    outer = place.suffix.lower()
    if outer in (".gz", ".bz2", ".xz", ".zip"):
        return place.with_suffix("").suffix.lower(), outer
    return outer, ""


def _numpy(place: Path) -> pd.DataFrame:
    """x (or the only array) as x1, x2, ..., y as y; pickled objects are refused."""
    found = np.load(place, allow_pickle=False)
    arrays = {name: found[name] for name in found.files} if hasattr(found, "files") else {"x": found}
    frame: dict[str, Any] = {}
    rows = {len(array) for array in arrays.values() if array.ndim}
    if len(rows) != 1:
        raise DataError(
            f"{place}: its arrays have different numbers of rows: " + ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        )
    for name, array in arrays.items():
        if array.dtype.kind in "cO":
            raise DataError(f"{place}: the array {name} is of type {array.dtype}, which is not data that can be learnt from.")
        flat = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None]
        names = [name] if flat.shape[1] == 1 else [f"{name}{i + 1}" for i in range(flat.shape[1])]
        frame.update({column: flat[:, i] for i, column in enumerate(names)})
    return pandas().DataFrame(frame)


_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _idx(place: Path, compressed: bool) -> pd.DataFrame:
    """The format of MNIST: two zero bytes, a type, the number of dimensions, their sizes, the numbers. Labels lie in a file beside it."""
    values = _idx_array(place, compressed)
    frame = {f"x{i + 1}": column for i, column in enumerate(values.reshape(len(values), -1).T)} if values.ndim > 1 else {"y": values}
    labels = place.with_name(place.name.replace("images-idx3", "labels-idx1"))
    if values.ndim > 1 and labels != place and labels.is_file():
        y = _idx_array(labels, compressed)
        if len(y) != len(values):
            raise DataError(f"{labels} has {len(y)} labels, and {place} {len(values)} rows.")
        frame["y"] = y
    return pandas().DataFrame(frame)


def _idx_array(place: Path, compressed: bool) -> np.ndarray:
    data = gzip.decompress(place.read_bytes()) if compressed else place.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise DataError(f"{place} is no IDX file: it begins with {data[:4].hex(' ')}.")
    dims = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    dtype = np.dtype(_IDX_TYPES[data[2]])
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) - 4 - 4 * dims != wanted:
        raise DataError(f"{place} is cut off or damaged: {shape} needs {wanted} bytes, and {len(data) - 4 - 4 * dims} are there.")
    return np.frombuffer(data, dtype, offset=4 + 4 * dims).reshape(shape).astype(np.float64 if dtype.kind == "f" else np.int64)


@dataclass(frozen=True)
class Found:
    """How a text file is written."""

    delimiter: str
    encoding: str
    decimal: str
    header: bool
    names: list[str]


def sniff(place: Path, form: Format) -> Found:
    """Find out how a text file is written, from its first lines; what the format says is taken. Raises DataError."""
    head = _sample(place)
    encoding = form.encoding or _encoding(head)
    try:
        sample = head.decode(encoding, errors="ignore" if len(head) == _SAMPLE else "strict")
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"{place} is not in the encoding {encoding}: {error}. Say which it is with dataset.encoding=latin-1, or another."
        ) from error
    lines = [line for line in sample.splitlines()[:200] if line.strip()]
    delimiter = form.delimiter or _delimiter(lines)
    decimal = form.decimal or _decimal(lines, delimiter)
    header = _header(lines, delimiter, decimal) if form.header is None else form.header
    return Found(delimiter, encoding, decimal, header, _names(place, lines, delimiter, header))


def _text(place: Path, form: Format) -> Reading:
    found = sniff(place, form)
    frame = _parsed(place, found.encoding, found.delimiter, found.decimal, found.header, found.names)
    told = [f"{place}: {_word(found.delimiter)} between cells, {'comma' if found.decimal == ',' else 'point'} in numbers, encoding {found.encoding}, "
            f"{'a header' if found.header else 'no header'}; {len(frame)} rows, {len(found.names)} columns"]  # fmt: skip
    return Reading(frame, place, told)


def _word(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}.get(delimiter, repr(delimiter))


def _sample(place: Path) -> bytes:
    import bz2
    import lzma

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers.get(place.suffix.lower(), open)(place, "rb") as file:
        return bytes(file.read(_SAMPLE))


def _encoding(head: bytes) -> str:
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return name
    try:
        head[: -4 if len(head) == _SAMPLE else None].decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        return "cp1252" if error.start < len(head) - 8 else "utf-8"


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _delimiter(lines: list[str]) -> str:
    """The one that cuts most lines into the same number of cells, of at least two."""
    best, chosen = 0.0, ","
    for delimiter in DELIMITERS:
        counts = Counter(len(_cells(line, delimiter)) for line in lines)
        size, times = counts.most_common(1)[0] if counts else (1, 0)
        agreement = times / max(len(lines), 1) + 0.001 * size
        if size > 1 and agreement > best:
            best, chosen = agreement, delimiter
    return chosen


def _decimal(lines: list[str], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell for line in lines[1:] for cell in _cells(line, delimiter)]
    commas = sum(_is_number(cell.replace(",", ".", 1)) and "," in cell for cell in cells)
    points = sum(_is_number(cell) and "." in cell for cell in cells)
    return "," if commas > points else "."


def _is_number(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False


def _header(lines: list[str], delimiter: str, decimal: str) -> bool:
    """No cell of the first line is a number, or a word for a missing one."""
    first = _cells(lines[0], delimiter) if lines else []
    plain = [cell.replace(decimal, ".") for cell in first]
    return any(first) and not any(_is_number(cell) for cell in plain) and all(not cell or cell not in MISSING for cell in first)


def _names(place: Path, lines: list[str], delimiter: str, header: bool) -> list[str]:
    if not lines:
        raise DataError(f"{place} holds no rows: only empty lines.")
    first = _cells(lines[0].lstrip("\ufeff"), delimiter)
    if not header:
        return [f"x{i + 1}" for i in range(len(first))]
    if len(lines) < _LEAST_LINES:
        raise DataError(f"{place} holds a header and no rows.")
    twice = [name for name, count in Counter(first).items() if count > 1]
    if twice:
        places = [i + 1 for i, name in enumerate(first) if name == twice[0]]
        raise DataError(
            f"{place}, line 1: the column '{twice[0]}' is there {len(places)} times (columns {', '.join(map(str, places))}). Give each a name of its own."
        )
    if "" in first:
        raise DataError(f"{place}, line 1: column {first.index('') + 1} has no name.")
    return first


def _parsed(place: Path, encoding: str, delimiter: str, decimal: str, header: bool, names: list[str]) -> pd.DataFrame:
    arrow, engine = _arrow("csv"), pandas()
    bad: list[str] = []

    def invalid(row: Any) -> str:
        if not bad:
            bad.append(_ragged(row, int(header)))
        return "error"

    source: Any = str(place)
    if encoding not in ("utf-8", "utf-8-sig"):
        source = io.BytesIO(
            place.read_bytes().decode(encoding).encode() if place.suffix.lower() in TEXT else _whole(place).decode(encoding).encode()
        )
    try:
        table = arrow.read_csv(
            source,
            read_options=arrow.ReadOptions(column_names=names, skip_rows=int(header), use_threads=True),
            parse_options=arrow.ParseOptions(delimiter=delimiter, invalid_row_handler=invalid, newlines_in_values=False),
            convert_options=arrow.ConvertOptions(null_values=list(MISSING), strings_can_be_null=True, decimal_point=decimal),
        )
    except Exception as error:
        if bad:
            raise DataError(f"{place}: {bad[0]}") from error
        raise
    if table.num_rows == 0:
        raise DataError(f"{place} holds a header and no rows.")
    frame = table.to_pandas(split_blocks=True, self_destruct=True, types_mapper=None)
    return engine.DataFrame(frame)


def _ragged(row: Any, skipped: int) -> str:
    where = f"line {row.number}, row {row.number - skipped}" if row.number is not None else "a row"
    return f"{where} has {row.actual_columns} cells, not {row.expected_columns}: {row.text[:80]!r}"


def _whole(place: Path) -> bytes:
    import bz2
    import lzma

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers[place.suffix.lower()](place, "rb") as file:
        return bytes(file.read())

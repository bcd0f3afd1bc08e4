"""Files as data frames: what kind of file it is, and how a text file is written, is found out and
told. Nothing here unpickles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.data.tabular.arrays import idx_frame, numpy_frame
from mlplab.data.tabular.csv import arrow_module, parsed, release
from mlplab.data.tabular.sniffing import Format, sniff, word
from mlplab.errors import DataError
from mlplab.extras import require

if TYPE_CHECKING:
    import pandas as pd

TEXT = (".csv", ".tsv", ".txt", ".tab", ".data")
KINDS = (
    "CSV and TSV (also .gz, .bz2, .xz), Parquet (.parquet), Feather (.feather), NumPy (.npz, .npy),"
    " IDX (-ubyte, also .gz)"
)


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
            f"{place} does not exist (looked for {place.resolve()}; paths are relative to the"
            f" folder of the command).{_near(place)}"
        )
    if place.stat().st_size == 0:
        raise DataError(f"{place} is empty (0 bytes).")
    inner, outer = suffixes(place)
    try:
        if inner == ".parquet":
            return Reading(
                arrow_module("parquet").read_table(place, columns=columns).to_pandas(), place
            )
        if inner in (".feather", ".arrow"):
            return Reading(
                arrow_module("feather").read_table(place, columns=columns).to_pandas(), place
            )
        if inner in (".npz", ".npy"):
            return Reading(numpy_frame(place), place)
        if place.name.removesuffix(".gz").endswith("ubyte") or inner in (
            ".idx",
            ".idx1-ubyte",
            ".idx3-ubyte",
        ):
            return Reading(idx_frame(place, outer == ".gz"), place)
        if inner in TEXT:
            return _text(place, form)
    except DataError:
        raise
    except Exception as error:  # the readers raise whatever they like for a damaged file
        raise DataError(
            f"{place} cannot be read as {inner.removeprefix('.') or 'data'}: {_first(error)}"
        ) from error
    raise DataError(
        f"{place}: files of the kind {''.join(place.suffixes[-2:]) or 'without a suffix'} are not"
        f" known. There are {KINDS}."
    )


def pandas() -> Any:
    """The library, or a clear word about the extra that brings it."""
    require("A data file", "files", "pandas", "pyarrow")
    import pandas as module

    return module


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _near(place: Path) -> str:
    """The files of the same folder with the nearest names."""
    import difflib

    folder = place.parent
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    near = difflib.get_close_matches(place.name, names, n=3, cutoff=0.5)
    return f" There is {', '.join(near)}." if near else ""


def suffixes(place: Path) -> tuple[str, str]:
    """(.csv, .gz) of x.csv.gz."""
    outer = place.suffix.lower()
    if outer in (".gz", ".bz2", ".xz", ".zip"):
        return place.with_suffix("").suffix.lower(), outer
    return outer, ""


def _text(place: Path, form: Format) -> Reading:
    found = sniff(place, form)
    frame = parsed(place, found, plain=suffixes(place)[1] == "")
    release()
    told = [
        f"{place}: {word(found.delimiter)} between cells,"
        f" {'comma' if found.decimal == ',' else 'point'} in numbers, encoding {found.encoding},"
        f" {'a header' if found.header else 'no header'}; {len(frame)} rows, {len(found.names)}"
        " columns"
    ]
    return Reading(frame, place, told)

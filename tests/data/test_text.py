"""A large text file read in sections gives the same frame as read at once.

This holds whatever the later sections contain.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlplab.data.tabular import csv
from mlplab.data.tabular.readers import read
from mlplab.errors import DataError

ROWS = 400


def frames(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the frame read at once, that read in sections, and the number of tables parsed."""
    whole = read(path).frame
    parsed, parse_table = [], csv._table
    monkeypatch.setattr(csv, "SECTION_BYTES", 512)
    monkeypatch.setattr(
        csv, "_table", lambda *args, **kwargs: parsed.append(1) or parse_table(*args, **kwargs)
    )
    return whole, read(path).frame, len(parsed)


def lines(**changes: str) -> list[str]:
    """Return a header and rows of number, fraction, category, empty; `row_7=...` replaces a row."""
    return [
        "n,f,w,e",
        *(changes.get(f"row_{i}", f"{i},{i / 7:.4f},{'ab'[i % 2]},") for i in range(ROWS)),
    ]


@pytest.mark.parametrize(
    "late",
    [
        "",
        "1.5,2,a,",
        "7,x,a,",
        "word,2,a,",
        "7,2,a,1",
        "7,2,a,now",
        "2020-01-01,2,a,",
        "7,2,5,",
        "7,2,,",
        '7,2,"a,b",',
        "true,2,a,",
    ],
)
def test_in_sections_the_frame_is_that_of_the_whole_file(
    late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines(**({f"row_{ROWS - 3}": late} if late else {}))) + "\n")
    whole, sections, parsed = frames(path, monkeypatch)
    assert parsed > 5
    pd.testing.assert_frame_equal(whole, sections)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_byte_order_marks_and_line_endings_are_not_cells(
    start: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((start + ending.join(lines())).encode())
    whole, sections, parsed = frames(path, monkeypatch)
    assert parsed > 5
    assert list(whole.columns) == ["n", "f", "w", "e"]
    assert whole["n"].tolist() == list(range(ROWS))
    pd.testing.assert_frame_equal(whole, sections)


def test_without_a_header_the_first_line_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines()[1:]))
    whole, sections, _ = frames(path, monkeypatch)
    assert len(whole) == ROWS
    pd.testing.assert_frame_equal(whole, sections)


def test_a_bad_row_of_a_late_section_gives_the_same_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines(**{f"row_{ROWS - 5}": "1,2"})))
    with pytest.raises(DataError) as whole:
        read(path)
    monkeypatch.setattr(csv, "SECTION_BYTES", 512)
    with pytest.raises(DataError) as sections:
        read(path)
    assert str(whole.value) == str(sections.value)
    assert "has 2 cells, not 4" in str(whole.value)


def test_a_large_file_is_not_held_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow allocates the table and a few sections at a time, but not all text of the file."""
    path, rows, columns = tmp_path / "a.csv", 60_000, 12
    values = np.random.default_rng(0).normal(size=(rows, columns)).round(12)
    pd.DataFrame(values, columns=[f"x{i}" for i in range(columns)]).to_csv(path, index=False)
    monkeypatch.setattr(csv, "SECTION_BYTES", 1 << 20)
    assert path.stat().st_size > 8 * csv.SECTION_BYTES
    default = pa.default_memory_pool()
    proxy = pa.proxy_memory_pool(default)
    pa.set_memory_pool(proxy)
    try:
        assert read(path).frame.shape == (rows, columns)
        peak = proxy.max_memory()
    finally:
        pa.set_memory_pool(default)
    assert rows * columns * 8 <= peak < rows * columns * 8 + (4 << 20)

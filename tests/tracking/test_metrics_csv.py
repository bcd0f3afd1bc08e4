"""metrics.csv: exact, whole line by whole line, harmless in a spreadsheet."""

from __future__ import annotations

import math
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.errors import DamagedFileError
from mlplab.tracking.metrics_file import MetricsFile, bulk_metrics, read_metrics


def bits(values: list[float]) -> list[bytes]:
    return [b"nan" if math.isnan(value) else struct.pack("<d", value) for value in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats(width=32)), max_size=8))
def test_values_come_back_to_the_last_bit(rows: list[tuple[float, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one.csv"), Path(folder, "two.csv")
        with MetricsFile(one, ["train/loss", "val/accuracy"]) as file:
            for number, (loss, accuracy) in enumerate(rows):
                file.write(number, 10 * number, {"val/accuracy": accuracy, "train/loss": loss})
        bulk_metrics(
            two, ["train/loss", "val/accuracy"], [(n, 10 * n, *row) for n, row in enumerate(rows)]
        )
        assert one.read_bytes() == two.read_bytes()
        columns = read_metrics(one)
    assert list(columns) == ["epoch", "step", "train/loss", "val/accuracy"]
    assert columns["step"] == [10.0 * n for n in range(len(rows))]
    assert bits(columns["train/loss"]) == bits([loss for loss, _ in rows])
    assert bits(columns["val/accuracy"]) == bits([accuracy for _, accuracy in rows])


def test_the_text_is_plain(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "m.csv", ["a", "b"]) as file:
        file.write(1, 2, {"a": -0.5})
        file.write(2, 4, {"a": math.nan, "b": -math.inf})
        file.write(3, 6, {"a": np.float32(0.1), "b": np.int64(3)})
    assert (
        tmp_path / "m.csv"
    ).read_text() == "epoch,step,a,b\n1,2,-0.5,\n2,4,nan,-inf\n3,6,0.10000000149011612,3\n"
    assert math.isnan(read_metrics(tmp_path / "m.csv")["b"][0])


@pytest.mark.parametrize(
    "name", ["=1+1", "-2+3", "+x", "@x", "\tx", "a,b", 'quo"te', "new\nline", "größe"]
)
def test_a_name_is_no_formula_and_comes_back(name: str, tmp_path: Path) -> None:
    bulk_metrics(tmp_path / "m.csv", [name], [(1, 1, -0.5)])
    first = (
        (tmp_path / "m.csv").read_bytes().decode().removeprefix("epoch,step,").removeprefix('"')[0]
    )
    assert first not in "=+-@\t\r"
    assert read_metrics(tmp_path / "m.csv") == {"epoch": [1.0], "step": [1.0], name: [-0.5]}


def test_a_carriage_return_neither_starts_a_cell_nor_ends_a_line(tmp_path: Path) -> None:
    bulk_metrics(tmp_path / "m.csv", ["\r=1", "a\rb"], [(1, 1, 2.0, 3.0)])
    assert (tmp_path / "m.csv").read_bytes() == b"epoch,step,' =1,a b\n1,1,2.0,3.0\n"


def test_a_file_cut_anywhere_gives_its_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    bulk_metrics(path, ["x"], [(n, n, n / 7) for n in range(10)])
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = max(data[:length].count(b"\n") - 1, 0)
        assert read_metrics(path).get("x", []) == [n / 7 for n in range(whole)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a,b\n1,2\n", "does not begin with the columns epoch and step"),
        (b"epoch,step,x\n1,1,\x93\n", "it is not text"),
        (b"epoch,step,x\n1,nan,0.5\n", "an epoch or a step is not an integer"),
        (b"epoch,step,x\n1,1\n", "line 2 has 2 cells in place of 3"),
    ],
)
def test_another_file_is_refused_by_its_name(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=re.escape(fault)) as caught:
        read_metrics(path)
    assert str(path) in str(caught.value)


def test_each_row_is_there_at_once(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "m.csv", ["x"])
    for n in range(3):
        file.write(n, n, {"x": 1.0})
        assert len(read_metrics(tmp_path / "m.csv")["x"]) == n + 1
    file.close()
    file.close()


def test_an_existing_file_is_refused_and_a_resumed_one_repaired(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with MetricsFile(path, ["x"]) as file:
        file.write(1, 1, {"x": 1.0})
    with pytest.raises(FileExistsError):
        MetricsFile(path, ["x"])
    with path.open("a") as torn:
        torn.write("2,2,0.3")
    with pytest.raises(ValueError, match="are not epoch, step, y"):
        MetricsFile(path, ["y"], resume=True)
    with MetricsFile(path, ["x"], resume=True) as file:
        file.write(2, 2, {"x": 2.0})
    assert read_metrics(path)["x"] == [1.0, 2.0]


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "m.csv", ["x"]) as file, pytest.raises(KeyError, match="val/los"):
        file.write(1, 1, {"val/los": 1.0})

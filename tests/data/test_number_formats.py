"""Columns of numbers that are written for people."""

from __future__ import annotations

import io
import sys

import numpy as np
import pandas as pd
import pytest

import mlplab
from mlplab.cli import main
from mlplab.data.tabular.number_formats import NumberFormat, recognize

TABLE = [
    (["1,234", "56"], {}, [1234, 56]),
    (["1.234,56", "7"], {}, [1234.56, 7]),
    (["1 234", "-5"], {}, [1234, -5]),
    (["1\u00a0234,5", "1"], {}, [1234.5, 1]),
    (["1'234", "2"], {}, [1234, 2]),
    (["$1,234.50", "$2"], {}, [1234.5, 2]),
    (["-$5", "($3)", "$-2"], {}, [-5, -3, -2]),
    (["5 €", "1.234,5 €"], {}, [5, 1234.5]),
    (["₩1,000", "₩20"], {}, [1000, 20]),
    (["5%", "100 %"], {}, [5, 100]),
    (["\u22125", "3"], {}, [-5, 3]),
    (["1,234", "2"], {"decimal": ","}, [1.234, 2]),
    (["1,234", "2"], {"thousands": "none"}, [1.234, 2]),
    (["5%", "3"], {}, None),
    (["$5", "€3"], {}, None),
    (["007", "1,234"], {}, None),
    (["1", "2"], {}, None),
    (["192.168.0.1", "10.0.0.1"], {}, None),
    (["2020-01-01", "2020-01-02"], {}, None),
    (["10:00", "11:00"], {}, None),
]


@pytest.mark.parametrize(("cells", "options", "numbers"), TABLE)
def test_a_column_is_read_in_the_format_that_all_its_cells_fit(cells, options, numbers):
    recognized = recognize(pd.Series(cells), **options)
    if numbers is None:
        assert recognized is None
    else:
        assert recognized is not None
        assert [recognized.form.value(cell) for cell in cells] == numbers
        assert NumberFormat.from_dict(recognized.form.to_dict()) == recognized.form


def test_an_ambiguous_separator_is_noted_with_the_option_that_reads_it_otherwise():
    note = recognize(pd.Series(["1,234", "5"])).note("price")
    assert "'1,234' is 1234" in note
    assert "dataset.thousands=none reads it as 1.234" in note


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prices")
    rng = np.random.default_rng(0)
    price, share = rng.uniform(-5000, 5000, 80), rng.uniform(0, 100, 80).round(1)
    frame = pd.DataFrame(
        {
            "price": [f"-${-p:,.2f}" if p < 0 else f"${p:,.2f}" for p in price],
            "share": [f"{s}%" for s in share],
            "y": [f"{1000 * s + p:,.1f}" for s, p in zip(share, price, strict=True)],
        }
    )
    frame.to_csv(folder / "t.csv", index=False)
    line = ["dataset=file", f"dataset.path={folder / 't.csv'}", "training.epochs=2"]
    run = mlplab.run([*line, "dataset.target=y", "tracking=summary"], str(folder / "run"))
    return folder, frame, run


def test_files_frames_and_pipes_read_formatted_numbers_alike(priced, capsys, monkeypatch):
    folder, frame, run = priced
    expected = run.predict(frame)[:, 0]
    numbers = pd.DataFrame(
        {
            "price": frame["price"].str.replace("[$,]", "", regex=True).astype(float),
            "share": frame["share"].str.rstrip("%").astype(float),
        }
    )
    assert np.array_equal(run.predict(numbers)[:, 0], expected)
    path = folder / "t.csv"
    capsys.readouterr()
    assert main(["predict", str(run.folder), str(path)]) == 0
    from_file = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert main(["predict", str(run.folder), "-"]) == 0
    assert capsys.readouterr().out == from_file
    assert np.array_equal(pd.read_csv(io.StringIO(from_file))["y"], expected)
    assert main(["evaluate", str(run.folder), str(path)]) == 0


def test_a_later_cell_in_another_format_is_refused(priced):
    _, frame, run = priced
    with pytest.raises(mlplab.errors.DataError, match="column 'price', row 1: '€5'"):
        run.predict(frame.head(1).assign(price="€5"))


def test_decimals_of_a_database_are_numbers(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    values = pa.array([f"{i}.25" for i in range(30)]).cast(pa.decimal128(8, 2))
    table = pa.table({"x": values, "y": ["a", "b"] * 15})
    parquet.write_table(table, tmp_path / "t.parquet")
    line = ["dataset=file", f"dataset.path={tmp_path / 't.parquet'}", "training.epochs=1"]
    run = mlplab.run([*line, "tracking=summary"], str(tmp_path / "run"))
    assert run.preprocessing.encoder.columns[0].kind == "number"

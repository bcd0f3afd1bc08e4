"""A row that is passed as a mapping: its forms, its errors, and what a prediction of it costs."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import mlplab
from mlplab.errors import DataError
from mlplab.runs.run import Run

NUMBERS, CATEGORIES = 11, 5
MAX_CALLS = 700
"""Calls of Python functions for a row of 20 columns: 509 when it was written."""


def table(rows: int = 400) -> pd.DataFrame:
    """20 columns of all kinds, and the target."""
    rng = np.random.default_rng(0)
    columns = {f"n{i}": rng.normal(size=rows) for i in range(NUMBERS)}
    columns |= {f"c{i}": rng.choice(list("abcdefgh")[: 3 + i], rows) for i in range(CATEGORIES)}
    columns["price"] = [f"${value:,.2f}" for value in rng.uniform(100, 9000, rows)]
    columns["rate"] = [f"{value} %" for value in rng.integers(0, 100, rows)]
    columns["ok"] = rng.random(rows) < 0.5
    days = pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), "D")
    frame = pd.DataFrame({**columns, "when": days.strftime("%Y-%m-%d")})
    frame["y"] = np.where(frame["n0"] + (frame["c0"] == "a") * frame["n1"] > 0, "yes", "no")
    for name in ("n3", "c2", "when", "price"):
        frame.loc[rng.random(rows) < 0.05, name] = None
    return frame


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("one_row") / "run"
    return mlplab.fit(table(), "y", ["training.epochs=3", "tracking=off"], folder=folder)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    frame = table().drop(columns="y")
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_a_mapping_is_a_row(run, rows):
    expected = run.predict_proba(table())
    assert np.array_equal(run.predict_proba(rows), expected)
    for i in range(0, 60, 7):
        assert np.array_equal(run.predict_proba(rows[i]), expected[[i]])
        assert run.predict(rows[i]).tolist() == run.predict(rows)[[i]].tolist()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert np.array_equal(run.predict_proba(columns), expected)
    more = {**rows[3], "note": "of no column of the training"}
    assert np.array_equal(run.predict_proba(more), expected[[3]])


def test_cells_of_numpy_and_missing_ones(run, rows):
    row = dict(rows[0])
    expected = run.predict_proba(row)
    row |= {
        "n0": np.float64(row["n0"]),
        "when": np.datetime64(row["when"]),
        "c0": np.str_(row["c0"]),
    }
    assert np.array_equal(run.predict_proba(row), expected)
    empty = run.predict_proba({**row, "n3": None, "when": None, "c2": None})
    for cell in (np.nan, pd.NA, pd.NaT):
        missing = {**row, "n3": cell, "when": cell, "c2": cell}
        assert np.array_equal(run.predict_proba(missing), empty), cell
    several = [{name: cell for name, cell in row.items() if name != "n3"}, row]
    assert np.array_equal(run.predict_proba(several)[0], run.predict_proba({**row, "n3": None})[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n0": "many"}, "column 'n0', row 1: 'many' is not a number"),
        ({"n0": "1_000"}, "'1_000' is not a number"),
        ({"n0": [1.0, 2.0]}, "the columns have different numbers of cells: n0 has 2, n1 has 1"),
        ({"n0": 1e300}, "too large for single precision"),
        ({"price": "many"}, "not a number like those of the training"),
        ({"ok": "maybe"}, "one of true, false, 1 and 0"),
        ({"when": "tomorrow"}, "not a date such as 2020-05-13"),
    ],
)
def test_a_cell_is_refused_as_in_a_file(run, rows, change, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        run.predict({**rows[0], **change})


def test_a_missing_column_and_other_rows_are_refused(run, rows):
    row = dict(rows[0])
    del row["n0"]
    with pytest.raises(DataError, match=r"x lacks the column\(s\) n0"):
        run.predict(row)
    with pytest.raises(DataError, match="row 2: a list among rows that are mappings"):
        run.predict([rows[0], [1.0]])


def test_a_mapping_for_a_network_of_an_array():
    x_NF = np.random.default_rng(0).normal(size=(80, 2))
    run = mlplab.fit(x_NF, x_NF.sum(1), ["training.epochs=2", "tracking=off"], folder="array")
    row = dict(zip(("x1", "x2"), x_NF[7].tolist(), strict=True))
    assert np.array_equal(run.predict(row), run.predict(x_NF[[7]]))
    with pytest.raises(DataError, match="column 'x1', row 1: nan is not a finite number"):
        run.predict({**row, "x1": None})


def test_a_row_takes_few_calls_and_no_pandas(run, rows):
    run.predict(rows[0])
    modules: Counter[str] = Counter()

    def count(frame, event, argument):
        if event == "call":
            modules[frame.f_globals.get("__name__", "")] += 1

    sys.setprofile(count)
    try:
        run.predict(rows[1])
    finally:
        sys.setprofile(None)
    assert not [name for name in modules if name.startswith("pandas")]
    assert 100 < modules.total() < MAX_CALLS, modules.most_common(12)


@pytest.mark.campaign("timing")
def test_a_row_takes_less_than_a_millisecond(run, rows):
    seconds = []
    for i in range(1100):
        start = time.perf_counter()
        run.predict(rows[i % len(rows)])
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds[100:]) < 0.001

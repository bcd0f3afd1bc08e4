"""Columns of plain numbers are checked and encoded together, with the results of one at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlplab.data.preparation.examples import prepare
from mlplab.data.tabular import File, data_checks, encoder, encoder_fitting, number_columns
from mlplab.data.tabular import table_builder as builder


def wide_table(n=80):
    """Return columns of all kinds, some with empty cells, constant, or equal to the target."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"g{i}": rng.normal(size=n) for i in range(8)})
    frame["few"], frame["constant"] = rng.integers(0, 4, n), 7
    frame["large"], frame["id"] = rng.integers(2**30, 2**31, n), np.arange(n)[::-1]
    frame["half"] = np.where(rng.random(n) < 0.5, np.nan, rng.normal(size=n))
    frame["late"] = np.where(np.arange(n) == 11, np.nan, 1.5)
    frame["leak"], frame["flag"] = rng.integers(0, 2, n), rng.random(n) < 0.5
    frame["ties"], frame["word"] = np.round(rng.exponential(size=n)), rng.choice(["a", "b"], n)
    frame["y"] = np.where(frame["leak"] == 1, "p", "q")
    frame["value"] = frame["g3"] * 2 + 1
    return frame


def prepared(target, **options):
    other = {"y": "value", "value": "y"}[target]
    return prepare(File(path="x.csv", target=target, ignore=[other], **options), 0, True)


@pytest.mark.parametrize("target", ["y", "value"])
@pytest.mark.parametrize("scaling", ["robust_clip", "standard", "minmax", "normal"])
def test_together_as_one_at_a_time(target, scaling, monkeypatch):
    wide_table().to_csv("x.csv", index=False)
    options = {"missing": "impute", "scaling": scaling}
    for module in (encoder, builder):
        if hasattr(module, "_MAX_REMOVED"):
            monkeypatch.setattr(module, "_MAX_REMOVED", 3)
    monkeypatch.setattr(data_checks, "MIN_WIDE", 3)
    together = prepared(target, **options)
    monkeypatch.setattr(number_columns, "BATCH_CELLS", 1)
    monkeypatch.setattr(builder, "BATCH_CELLS", 1)
    monkeypatch.setattr(encoder, "_MAX_REMOVED", 500)
    monkeypatch.setattr(data_checks, "_number_columns", lambda table: {})
    monkeypatch.setattr(data_checks, "MIN_WIDE", 500)
    monkeypatch.setattr(encoder_fitting, "_fit_numbers", lambda *_: {})
    alone = prepared(target, **options)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(together, split).x, getattr(alone, split).x)
    assert together.encoder == alone.encoder
    assert together.report.columns == alone.report.columns
    assert together.report.findings == alone.report.findings
    leaks = [one.column for one in together.report.findings if "by itself" in one.observation]
    assert leaks == (["leak"] if target == "y" else ["g3"])


def test_statistics_are_those_of_numpy():
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(31, 6)).round(1)
    x_NF[rng.random(x_NF.shape) < 0.3] = np.nan
    x_NF[:, 0], x_NF[:, 1] = np.nan, rng.integers(0, 3, 31)
    empty, *columns = number_columns.statistics(x_NF)
    assert (empty.missing, empty.distinct) == (31, 0)
    for f, stats in enumerate(columns, 1):
        values = x_NF[:, f][~np.isnan(x_NF[:, f])]
        assert stats.missing == 31 - len(values)
        assert stats.distinct == len(np.unique(values))
        assert (stats.low, stats.high) == (values.min(), values.max())
        assert stats.median == np.median(values)
        assert stats.all_integers == (f == 1)


def test_cells_of_a_wide_table_that_are_refused():
    frame = wide_table()
    frame.loc[4, "g2"] = np.inf
    frame.to_csv("x.csv", index=False)
    with pytest.raises(Exception, match=r"column 'g2', row 5: inf is not finite"):
        prepared("y", missing="impute")
    wide_table().to_csv("x.csv", index=False)
    with pytest.raises(Exception, match=r"column 'half', row \d+: the cell is empty"):
        prepared("y", missing="refuse")


def test_hundreds_of_columns_in_few_operations():
    """The number of rows is small, so that what a column costs is seen."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 700)).round(3), columns=[f"g{i}" for i in range(700)])
    frame.assign(y=rng.choice(["p", "q"], 40)).to_csv("x.csv", index=False)
    result = prepare(File(path="x.csv", target="y", scaling="robust_clip"), 0, True)
    assert result.train.x.shape == (24, 700)

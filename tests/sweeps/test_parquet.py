"""results.parquet and histories.parquet of `mlplab report SWEEP --parquet`."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

import mlplab
from mlplab.cli import main
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report import parquet

pq = pytest.importorskip("pyarrow.parquet")
SMALL = [
    *("dataset=moons", "dataset.num_samples=60", "model.hidden=3", "device=cpu"),
    *("training.epochs=3", "tracking=summary"),
]
SWEPT = ["model.dropout=0,0.5", "training.shuffle=true,false", "seed=0,1", "optimizer=sgd"]
"""Numbers, truth values, and texts."""


def tables(folder):
    return [
        pd.read_parquet(Path(folder, name)) for name in ("results.parquet", "histories.parquet")
    ]


@pytest.mark.parametrize("jobs", ["folders", "packed"])
def test_the_tables_are_those_of_the_sweep(jobs, capsys, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 7)
    more = [f"tracking.jobs={jobs}", "activation=tanh,relu", "optimizer.lr=0.1,1e30"]
    assert main(["train", "-m", *SMALL, *SWEPT, *more, "hydra.sweep.dir=s"]) == 1
    before = sorted(os.listdir("s"))
    capsys.readouterr()
    assert main(["report", "s", "--parquet"]) == 0
    assert capsys.readouterr().out.splitlines() == ["s/results.parquet", "s/histories.parquet"]
    assert sorted(os.listdir("s")) == sorted([*before, "results.parquet", "histories.parquet"])
    results, histories = tables("s")
    written = pd.read_csv("s/results.csv").fillna({"reason": ""})
    pd.testing.assert_frame_equal(results, written, check_exact=True)
    assert {"diverged", "done"} == set(results.status)
    assert pq.ParquetFile("s/histories.parquet").num_row_groups > 1
    for number, of_job in histories.groupby("job"):
        run = mlplab.load(f"s:{number}")
        expected = run.history.to_frame()
        of_job = of_job.drop(columns="job").reset_index(drop=True)
        pd.testing.assert_frame_equal(of_job, expected[of_job.columns], check_exact=True)
    assert list(dict.fromkeys(histories.job)) == [job.number for job in read_plan(Path("s")).jobs]

"""A cell means the same everywhere: all ways to predict give the same numbers for the same rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mlplab
from mlplab.cli import main
from mlplab.data.scaling import identity
from mlplab.export.checking import random_rows
from mlplab.export.columns import coded_inputs, inputs, raw_inputs
from mlplab.export.pipeline import Pipeline
from mlplab.fitting import Fitted
from mlplab.pictures.study import Study
from mlplab.runs.ensemble import Predictor
from mlplab.runs.run import Run
from mlplab.training import Frames, prepare_members

TARGETS = {"class": "[v,w]", "v": "[class,w]", "[v,w]": "[class]"}
NUM_ROWS = 60


def table(rows: int = 300) -> pd.DataFrame:
    """A column of every kind, with empty cells where the kind allows them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": rng.normal(5, 3, rows),
            "count": rng.poisson(2, rows),
            "town": rng.choice(["x", "y", "zürich"], rows, p=[0.6, 0.38, 0.02]),
            "code": rng.choice([1, 2, 3], rows),
            "ok": rng.random(rows) < 0.4,
            "when": pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), "D"),
        }
    )
    frame["v"] = frame.amount * 2 + frame["count"] * (frame.town == "x") + frame.when.dt.month
    frame["w"] = 1e5 * (frame["count"] - frame.amount)
    frame["class"] = np.where(frame.v > frame.v.median(), "up", "down")
    for name in ("amount", "town", "when"):
        frame.loc[rng.random(rows) < 0.08, name] = None
    return frame


@pytest.fixture(
    scope="module",
    params=[
        ("class", {"dtype": "float32"}),
        ("v", {"dtype": "float64", "dataset.scaling": "quantile"}),
        ("[v,w]", {"dtype": "float32", "dataset.encode": "ordinal"}),
    ],
    ids=["classes", "value", "values"],
)
def run(request, tmp_path_factory) -> Run:
    target, more = request.param
    folder = tmp_path_factory.mktemp("run")
    table().to_csv(folder / "t.csv", index=False)
    overrides = [
        *(
            "experiment=null",
            "dataset=file",
            f"dataset.path={folder}/t.csv",
            f"dataset.target={target}",
        ),
        *(f"dataset.ignore={TARGETS[target]}", "dataset.missing=impute"),
        *("dataset.categories=[code]", "training.epochs=3", "model.normalization=batch"),
        *("tracking=off", *(f"{key}={value}" for key, value in more.items())),
    ]
    return mlplab.run(overrides, folder / "run")


@pytest.fixture
def rows(run) -> pd.DataFrame:
    """Rows with empty cells, unknown categories and values beyond those of the training, as a file
    has them.
    """
    random_rows(run, NUM_ROWS).to_csv("new.csv", index=False)
    return pd.read_csv("new.csv", parse_dates=["when"], dtype={"code": str})


@pytest.fixture
def expected(run, rows) -> np.ndarray:
    """What `Run` predicts: probabilities [N, C] or values [N, T]."""
    classifies = run.preprocessing.task.classifies
    scores = run.predict_proba(rows) if classifies else run.predict(rows)
    assert rows.isna().any().sum() >= 3
    assert len(np.unique(scores, axis=0)) > NUM_ROWS / 2
    return scores


def columns(run: Run, predictions: pd.DataFrame) -> np.ndarray:
    learned = run.preprocessing
    classes = [f"P({name})" for name in learned.class_names]
    return predictions[
        classes if learned.task.classifies else list(learned.target_names)
    ].to_numpy()


def test_a_loaded_run(run, rows, expected):
    loaded = mlplab.load(run.folder)
    assert np.array_equal(loaded.model.scores(loaded.preprocessing.features(rows))[0], expected)
    if run.preprocessing.task.classifies:
        assert np.array_equal(loaded.predict_codes(rows), expected.argmax(1))


def test_a_row_alone(run, rows, expected):
    for i in (0, 17, NUM_ROWS - 1):
        one = Predictor((run,)).table(rows.iloc[i : i + 1], "rows")
        assert np.array_equal(columns(run, one)[0], expected[i])


def test_a_table_and_a_file(run, rows, expected):
    assert np.array_equal(columns(run, Predictor((run,)).table(rows, "rows")), expected)
    for out in ("out.csv", "out.parquet"):
        assert main(["predict", str(run.folder), "new.csv", "-o", out]) == 0
    assert np.array_equal(columns(run, pd.read_csv("out.csv")), expected)
    assert np.array_equal(columns(run, pd.read_parquet("out.parquet")), expected)


def test_an_ensemble_of_the_same_run(run, rows, expected):
    mean, spread = Predictor((run, run)).scores(rows, "rows")
    assert np.array_equal(mean, expected)
    assert not spread.any()


def test_an_estimator(run, rows, expected):
    learned = run.preprocessing
    unscaled = replace(learned, feature_scaler=identity(len(learned.feature_names)))
    fitted = Fitted(run.settings, replace(run.model, preprocessing=unscaled), [0], [1], {}, {})
    assert np.array_equal(fitted.predict(learned.features(rows)), expected)


def test_the_pictures(run, rows, expected):
    member = prepare_members([run.settings])[0]
    step = np.zeros(1, np.int64)
    frames = Frames(step, step, run.model.theta_KP, run.model.buffers)
    study = Study(member.settings, member.prepared, frames, 0, run.history)
    assert np.array_equal(study.outputs(run.preprocessing.features(rows), [0])[0], expected)


def test_the_evaluation_of_a_split(run):
    from mlplab.runs.evaluate import Rows, compute_metrics

    prepared = prepare_members([run.settings])[0].prepared
    rows = Rows.of_split(prepared, "test", Path("run"))
    measured = compute_metrics(run.scores(rows.x_NF), rows.y, rows.task)
    assert {f"test/{name}" for name in measured} & set(run.metrics)
    for name, value in measured.items():
        if f"test/{name}" in run.metrics:
            assert value == pytest.approx(run.metrics[f"test/{name}"], rel=1e-5), name


def test_an_exported_pipeline(run, rows, expected):
    """The pipeline computes in the precision of the training."""
    module, arrays = (
        Pipeline([run]).eval(),
        coded_inputs(inputs([run]), raw_inputs(inputs([run]), rows)),
    )
    with torch.no_grad():
        scores = module(*map(torch.from_numpy, arrays))[0].numpy()
    tolerance = {"float32": 1e-6, "float64": 1e-13}[run.settings.dtype]
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=tolerance * expected.std())

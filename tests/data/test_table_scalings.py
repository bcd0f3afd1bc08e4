"""The scalings robust_clip and normal, and clamped predictions, against closed forms, in a stored
run, and in both engines.
"""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import torch

import mlplab
from mlplab.cli import main
from mlplab.data.scaling import Scaler, fit_scaler
from mlplab.data.tabular.ranks import rank_values

QUICK = ["training.epochs=3", "tracking=off", "experiment=null", "dataset.missing=impute"]


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.standard_cauchy(300), "b": rng.integers(0, 3, 300) * 1.0})
    frame["y"] = np.arctan(frame["a"]) + frame["b"]
    frame.loc[4, "a"] = np.nan
    return frame


def test_robust_clip_is_the_formula_of_realmlp():
    values = np.random.default_rng(1).standard_cauchy((999, 1))
    scaler = fit_scaler(values, "robust_clip", "feature")
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
    z = (values - median) / (third - first)
    np.testing.assert_allclose(scaler.apply(values), z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    assert np.abs(scaler.apply(np.array([[1e300], [-1e300]]))).max() <= 3
    near = values[np.abs(z) < 20][:, None]
    np.testing.assert_allclose(scaler.invert(scaler.apply(near)), near, rtol=1e-9, atol=1e-9)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.apply(values), scaler.apply(values))


def test_robust_clip_of_equal_quartiles_takes_half_the_range():
    values = np.array([0.0] * 9 + [4.0])[:, None]
    assert fit_scaler(values, "robust_clip", "feature").scale == 2.0
    assert fit_scaler(values[:9], "robust_clip", "feature").apply(values[:1]) == 0.0


def test_normal_ranks_are_normal_quantiles():
    expected = [NormalDist().inv_cdf(p) for p in (0.1, 0.25, 0.5, 0.75, 0.9)]
    np.testing.assert_allclose(rank_values(5, True), expected)


@pytest.mark.parametrize("scaling", ["robust_clip", "normal"])
def test_a_stored_run_scales_like_the_training(scaling, frame, tmp_path):
    run = mlplab.fit(frame, "y", [*QUICK, f"dataset.scaling={scaling}"], folder="run")
    frame.to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", "answers.csv"]) == 0
    answers = pd.read_csv("answers.csv").iloc[:, -1]
    np.testing.assert_allclose(answers, run.predict(frame).ravel(), rtol=1e-5)
    np.testing.assert_array_equal(run.predict(frame), mlplab.load("run").predict(frame))
    extreme = frame.assign(a=1e30)
    assert np.isfinite(run.predict(extreme)).all()


@pytest.mark.parametrize("scaling", ["robust_clip", "normal"])
def test_an_exported_model_scales_and_clamps_alike(scaling, frame):
    overrides = [*QUICK, f"dataset.scaling={scaling}", "dataset.target_clamp=true"]
    mlplab.fit(frame, "y", overrides, folder="run")
    assert main(["export", "run", "--format", "torch"]) == 0  # compares with the run


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_predictions_are_clamped_to_the_training_targets(engine, frame):
    overrides = [*QUICK, "activation=identity", f"engine={engine}"]
    free = mlplab.fit(frame, "y", overrides, folder="free")
    clamped = mlplab.fit(frame, "y", [*overrides, "dataset.target_clamp=true"], folder="clamped")
    for one, two in zip(free.module().parameters(), clamped.module().parameters(), strict=True):
        assert torch.equal(one, two)  # the training does not change
    low, high = clamped.preprocessing.target_bounds
    expected = np.clip(free.predict(frame), low, high)
    assert (expected != free.predict(frame)).any()
    np.testing.assert_array_equal(clamped.predict(frame), expected)
    np.testing.assert_array_equal(mlplab.load("clamped").predict(frame), expected)
    assert clamped.metrics["train/rmse"] < free.metrics["train/rmse"]
    history = clamped.history["train/rmse"]
    best = clamped.summary["best_epoch"]
    np.testing.assert_allclose(history[best], clamped.metrics["train/rmse"], rtol=1e-5)

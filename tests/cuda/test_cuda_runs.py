"""Runs, sweeps and estimators trained on the device, and loaded on a machine without one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from building import make_settings
from comparing import assert_close, needs_configuration

import mlplab
from mlplab.data.preparation.examples import prepare
from mlplab.training import build_population, prepare_members
from mlplab.training.device import choose_device

QUICK = ["tracking=summary", "dtype=float64", "training.epochs=10"]
CLASSIFICATION = ["dataset=two_layer_radial", "dataset.num_samples=200", *QUICK]
REGRESSION = ["dataset=diabetes", *QUICK]
WITHOUT_CUDA = """
import json, sys
import mlplab
from mlplab.cli import main

folder, rows = sys.argv[1], json.loads(sys.argv[2])
run = mlplab.load(folder)
assert not __import__("torch").cuda.is_available()
assert main(["evaluate", folder]) == 0
predict = run.predict_proba if run.preprocessing.task.classifies else run.predict
print(json.dumps({"predicted": predict(rows).tolist(), "metrics": run.metrics}))
"""


def predicted(run, rows):
    """The probabilities of the classes, or the values."""
    return (run.predict_proba if run.preprocessing.task.classifies else run.predict)(rows)


def raw_features(run, split="test"):
    prepared = prepare(
        run.settings.dataset, run.settings.seed, not run.settings.loss.original_units
    )
    return prepared.feature_scaler.invert(getattr(prepared, split).x)


@needs_configuration
@pytest.mark.parametrize("overrides", [CLASSIFICATION, REGRESSION], ids=["classes", "values"])
def test_a_run_equals_that_of_the_cpu(overrides, tmp_path, device_under_test):
    actual, reference = (
        mlplab.run([*overrides, f"device={device}"], tmp_path / f"run{number}")
        for number, device in enumerate((device_under_test, "cpu"))
    )
    assert torch.device(actual.summary["device"]).type == device_under_test
    assert next(actual.module().parameters()).device.type == "cpu"
    for name, value in reference.metrics.items():
        assert actual.metrics[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    rows = raw_features(actual)
    assert_close(predicted(actual, rows), predicted(reference, rows), 1e-7)


@needs_configuration
@pytest.mark.parametrize("overrides", [CLASSIFICATION, REGRESSION], ids=["classes", "values"])
def test_a_run_is_loaded_without_cuda(overrides, tmp_path, device_under_test):
    """In a process without visible devices, as on another machine."""
    run = mlplab.run([*overrides, f"device={device_under_test}"], tmp_path / "run")
    rows = raw_features(run)
    source = Path(mlplab.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CUDA, str(run.folder), json.dumps(rows.tolist())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(source)},
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(loaded["predicted"], predicted(run, rows), rtol=1e-12)
    assert loaded["metrics"] == run.metrics


@needs_configuration
def test_a_configuration_of_the_device_is_loaded_without_one(tmp_path, monkeypatch):
    """The same without a second process: the folder's configuration has device=cuda."""
    run = mlplab.run([*CLASSIFICATION, "device=cpu"], tmp_path / "run")
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = raw_features(run)
    np.testing.assert_array_equal(mlplab.load(run.folder).predict(rows), run.predict(rows))


@needs_configuration
def test_pictures_and_frames_of_a_run(tmp_path, device_under_test):
    pytest.importorskip("matplotlib")
    overrides = ["experiment=xor_mlp", "tracking=full", "training.epochs=5"]
    run = mlplab.run([*overrides, f"device={device_under_test}"], tmp_path / "run")
    assert run.status == "done"
    assert any((run.folder / "pictures").iterdir())
    assert (run.folder / "frames.safetensors").is_file()
    assert "Traceback" not in (run.folder / "log.txt").read_text()


def test_auto_selects_cuda_for_large_work():
    available = torch.cuda.is_available()
    large, small = choose_device("auto", 1000, 10_000, 100), choose_device("auto", 1, 10, 10)
    assert large[0].type == ("cuda" if available else "cpu")
    assert small[0].type == "cpu"
    settings = make_settings(hidden=(1024, 1024), training="batch", epochs=1)
    population, reason = build_population(
        prepare_members([dataclasses.replace(settings, device="auto")])
    )
    assert population.theta_KP.device.type == large[0].type, reason


@needs_configuration
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=0.003,0.01", "seed=range(3)", "training.epochs=4,9"],
        ["validation=kfold", "validation.folds=3", "model.dropout=0.1"],
        ["optimizer=torch", "optimizer.class_name=Adam", "optimizer.lr=0.01", "seed=range(2)"],
    ],
    ids=["population", "folds", "one by one"],
)
def test_a_sweep_equals_that_of_the_cpu(overrides, tmp_path, device_under_test):
    pytest.importorskip("pandas")
    actual, reference = (
        mlplab.sweep([*CLASSIFICATION, *overrides, f"device={device}"], tmp_path / f"sweep{number}")
        for number, device in enumerate((device_under_test, "cpu"))
    )
    assert len(actual) == len(reference) > 1
    assert set(actual["status"]) == {"done"}
    for name in (column for column in actual.columns if str(column).endswith("/loss")):
        np.testing.assert_allclose(actual[name], reference[name], rtol=1e-6, err_msg=name)
    for summary in Path(actual.attrs["folder"]).glob("jobs/*/summary.json"):
        assert torch.device(json.loads(summary.read_text())["device"]).type == device_under_test


def moons(number=200):
    from sklearn.datasets import make_moons

    return make_moons(number, noise=0.2, random_state=0)


@pytest.mark.parametrize("n_members", [1, 5])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_the_classifier_equals_that_of_the_cpu(normalization, n_members, device_under_test):
    from mlplab.sklearn import MLPClassifier

    X, y = moons()
    sample_weight = np.linspace(0.5, 1.5, len(X))
    probabilities = []
    for device in (device_under_test, "cpu"):
        model = MLPClassifier(
            hidden=(16,),
            epochs=10,
            normalization=normalization,
            n_members=n_members,
            random_state=0,
            dtype="float64",
            device=device,
        )
        model.fit(X, y, sample_weight)
        fitted = model.predict_proba(X)
        model.partial_fit(X, y)  # one more epoch, which continues from the weights and statistics
        model.partial_fit(X, y)
        probabilities.append((fitted, model.predict_proba(X)))
    for actual, reference in zip(*probabilities, strict=True):
        assert_close(actual, reference, 1e-7)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_regressor_equals_that_of_the_cpu(early_stopping, device_under_test):
    from mlplab.sklearn import MLPRegressor

    X, _ = moons()
    y = np.stack([X[:, 0] * X[:, 1], X.sum(1)], axis=1)
    actual, reference = (
        MLPRegressor(
            hidden=(16, 8),
            epochs=10,
            early_stopping=early_stopping,
            random_state=0,
            dtype="float64",
            device=device,
        )
        .fit(X, y)
        .predict(X)
        for device in (device_under_test, "cpu")
    )
    assert_close(actual, reference, 1e-7)


def test_memory_is_estimated_on_the_device(device_under_test):
    from mlplab.sweeps.plan.memory import bytes_per_member, max_population

    member = prepare_members([make_settings(epochs=1)])[0]
    num_bytes = bytes_per_member(member, shares_data=False)
    assert max_population([num_bytes], torch.device(device_under_test)) > 1

"""`mlplab predict --interval`, and what `mlplab evaluate` says of calibration and intervals."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlplab
from mlplab.cli import main
from mlplab.errors import DataError
from mlplab.terminal.output import digits

QUICK = ["training.epochs=15", "tracking=summary", "optimizer.lr=0.02", "device=cpu"]


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n))
    return pd.DataFrame(
        {
            "x": x,
            "z": z,
            "kind": np.where(x + rng.normal(size=n) > 1.2, "rare", "usual"),
            "value": 3 * x + rng.normal(size=n) * np.exp(z),
        }
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of values, of classes, of a quantile, and a cross-validation, in one folder."""
    folder = tmp_path_factory.mktemp("runs")
    with contextlib.chdir(folder):
        table().to_csv("table.csv", index=False)
        table(40, 1).drop(columns=["kind", "value"]).to_csv("new.csv", index=False)
        base = [*QUICK, "experiment=null", "dataset=file", "dataset.path=table.csv"]
        values = [*base, "dataset.target=value", "dataset.ignore=[kind]"]
        classes = [*base, "dataset.target=kind", "dataset.ignore=[value]"]
        mlplab.run(values, "values", quiet=True)
        mlplab.run([*classes, "training.calibration=auto"], "classes", quiet=True)
        mlplab.run([*values, "loss=quantile", "loss.tau=0.8"], "quantile", quiet=True)
        mlplab.sweep([*values, "validation=kfold", "validation.folds=3"], "folds", quiet=True)
        mlplab.sweep([*values, "dataset.seed=1", "seeds=2"], "seeds", quiet=True)
    return folder


@pytest.fixture(autouse=True)
def in_folder(runs, monkeypatch):
    monkeypatch.chdir(runs)


def evaluation(name, capsys):
    assert main(["evaluate", name]) == 0
    return capsys.readouterr().out, json.loads((Path(name) / "evaluation.json").read_text())


def test_evaluate_shows_coverage_with_its_interval(capsys):
    out, stored = evaluation("values", capsys)
    [entry] = stored["intervals"]
    assert entry["level"] == 0.9
    assert entry["low"] < entry["coverage"] < entry["high"]
    assert entry["calibration_rows"] == 60
    assert f"90 % intervals contain {100 * entry['coverage']:.1f} % of the rows" in out
    assert "mean width" in out


def test_evaluate_shows_the_calibration_error_and_a_dominant_class(capsys):
    out, stored = evaluation("classes", capsys)
    calibration = stored["calibration"]
    assert calibration["temperature"] == mlplab.load("classes").summary["temperature"]
    assert sum(row["rows"] for row in calibration["bins"]) == 60
    assert f"ece {calibration['ece']:.2f}"[:7] in out
    assert "temperature" in out
    assert "balanced_accuracy says more than accuracy" in out


def test_the_remark_compares_accuracies_at_the_threshold(capsys):
    assert main(["evaluate", "classes", "--threshold", "0.9"]) == 0
    out = capsys.readouterr().out
    metrics = json.loads(Path("classes", "evaluation.json").read_text())["metrics"]
    balanced, accuracy = (metrics[name]["value"] for name in ("balanced_accuracy", "accuracy"))
    assert f"accuracy: {digits(balanced)} against {digits(accuracy)}" in out


def test_rows_of_one_class_have_no_dominant_class(capsys):
    frame = table(40, 1)
    frame[frame["kind"] == "usual"].to_csv("one_class.csv", index=False)
    assert main(["evaluate", "classes", "one_class.csv"]) == 0
    assert "says more than accuracy" not in capsys.readouterr().out


def test_evaluate_of_a_quantile_shows_pinball_loss_and_coverage(capsys):
    out, stored = evaluation("quantile", capsys)
    assert set(stored["metrics"]) == {"pinball", "coverage"}
    assert "rmse" not in out
    from sklearn.metrics import mean_pinball_loss

    run = mlplab.load("quantile")
    frame = table()
    assert main(["evaluate", "quantile", "table.csv", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = mean_pinball_loss(frame["value"], run.predict(frame)[:, 0], alpha=0.8)
    assert document["metrics"]["pinball"]["value"] == pytest.approx(expected)
    assert document["metrics"]["coverage"]["value"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("name", ["values", "quantile", "folds", "seeds"])
def test_predict_adds_the_ends_of_intervals(name, capsys):
    assert main(["predict", name, "new.csv", "--interval", "0.9"]) == 0
    frame = pd.read_csv(pd.io.common.StringIO(capsys.readouterr().out))
    assert list(frame.columns[:4]) == ["row", "value", "value lower", "value upper"]
    assert (frame["value lower"] <= frame["value upper"]).all()
    truth = table(40, 1)["value"]
    covered = ((frame["value lower"] <= truth) & (truth <= frame["value upper"])).mean()
    assert covered > 0.75
    if name == "values":
        lower, upper = mlplab.load(name).predict_interval(pd.read_csv("new.csv"), 0.9)
        np.testing.assert_allclose(frame["value lower"], lower[:, 0])
        np.testing.assert_allclose(frame["value upper"], upper[:, 0])


def test_several_levels_are_nested(capsys):
    assert main(["predict", "values", "new.csv", "--interval", "0.5,0.9"]) == 0
    frame = pd.read_csv(pd.io.common.StringIO(capsys.readouterr().out))
    ends = ["lower 0.5", "upper 0.5", "lower 0.9", "upper 0.9"]
    assert list(frame.columns[2:6]) == [f"value {end}" for end in ends]
    run = mlplab.load("values")
    lower, upper = run.predict_interval(pd.read_csv("new.csv"), [0.5, 0.9])
    assert lower.shape == (2, len(frame), 1)
    for level, name in enumerate(("0.5", "0.9")):
        np.testing.assert_allclose(frame[f"value lower {name}"], lower[level, :, 0])
        np.testing.assert_allclose(frame[f"value upper {name}"], upper[level, :, 0])
    assert (lower[1] <= lower[0]).all()
    assert (upper[1] >= upper[0]).all()
    assert main(["predict", "values", "new.csv", "--interval", "0.5,x"]) == 2
    assert "'0.5,x' is not a probability" in capsys.readouterr().err


def test_stored_intervals_of_a_network_with_more_inputs_than_features_are_read_again():
    frame = table()
    overrides = ["embedding=piecewise_linear", "training.epochs=2", "tracking=off"]
    run = mlplab.fit(frame, "value", overrides, folder="recipe")
    assert len(run.preprocessing.input_names) > len(run.preprocessing.feature_names)
    before = run.predict_interval(frame)
    assert Path("recipe/intervals.json").is_file()
    np.testing.assert_array_equal(before, mlplab.load("recipe").predict_interval(frame))


def test_intervals_are_refused_with_reasons(capsys):
    assert main(["predict", "classes", "new.csv", "--interval", "0.9"]) == 2
    assert "intervals are for values" in capsys.readouterr().err
    assert main(["predict", "values", "new.csv", "--interval", "0.995"]) == 2
    assert "the highest level that they can hold is 0.983" in capsys.readouterr().err
    assert main(["predict", "values", "new.csv", "--interval", "90"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
    with pytest.raises(DataError, match="classes"):
        mlplab.load("classes").predict_interval(table())


def test_stored_intervals_need_no_data_and_a_damaged_file_names_the_remedy(capsys):
    frame = pd.read_csv("new.csv")
    before = mlplab.load("values").predict_interval(frame)
    Path("table.csv").rename("away.csv")
    path = Path("values/intervals.json")
    text = path.read_text()
    try:
        after = mlplab.load("values").predict_interval(frame)
        np.testing.assert_array_equal(before, after)
        path.write_text(text.replace('"version": 1', '"version": 9'))
        assert main(["predict", "values", "new.csv", "--interval", "0.9"]) != 0
        error = capsys.readouterr().err
        assert "version 9" in error
        assert "calibrated again" in error
        path.unlink()
        assert main(["predict", "values", "new.csv", "--interval", "0.9"]) == 2
        assert "where the data is" in capsys.readouterr().err
    finally:
        path.write_text(text)
        Path("away.csv").rename("table.csv")


def test_an_exported_model_is_calibrated():
    from mlplab.export.checking import random_rows
    from mlplab.export.columns import inputs
    from mlplab.export.files import export, predict_torch
    from mlplab.runs.ensemble import Predictor

    run = mlplab.load("classes")
    assert export(Predictor((run,)), "torch", Path("classes.pt2"), rows=50) < 1e-5
    frame = random_rows(run, 20, seed=3)
    actual = predict_torch(Path("classes.pt2"), inputs([run]), frame)
    np.testing.assert_allclose(actual, run.predict_proba(frame), atol=1e-6)

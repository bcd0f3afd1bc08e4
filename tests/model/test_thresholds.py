"""Thresholds between two classes: the best one of a metric, and how commands and Python use it."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import mlplab
from mlplab.cli import main
from mlplab.errors import ConfigError
from mlplab.model.thresholds import TUNED_METRICS, tune_threshold

MEASURES = {"f1": sk.f1_score, "balanced_accuracy": sk.balanced_accuracy_score}


@pytest.mark.parametrize("metric", TUNED_METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_is_better(metric, seed):
    rng = np.random.default_rng(seed)
    probability_N = rng.random(60).round(1 + seed % 2)  # with ties
    y_N = (rng.random(60) < probability_N * 0.6).astype(np.int64)
    scores_NC = np.stack([1 - probability_N, probability_N], 1)
    tuned = tune_threshold(scores_NC, y_N, metric, ("no", "yes"))
    score = MEASURES[metric]
    assert tuned.score == pytest.approx(score(y_N, probability_N >= tuned.threshold))
    assert tuned.default_score == pytest.approx(score(y_N, probability_N >= 0.5))
    others = [score(y_N, probability_N >= t) for t in np.linspace(0.01, 0.99, 50)]
    assert tuned.score >= max(others) - 1e-12


def test_a_threshold_that_changes_nothing_stays_at_one_half():
    scores_NC = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    assert tune_threshold(scores_NC, np.array([0, 0, 1]), "f1", ("a", "b")).threshold == 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two classes, one of three, and new rows."""
    folder = tmp_path_factory.mktemp("thresholds")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400)})
    noise = rng.logistic(size=400)
    frame["y"] = np.where(2 * frame["a"] + noise > 2, "yes", "no")
    frame[:300].to_csv(folder / "t.csv", index=False)
    frame[300:].to_csv(folder / "later.csv", index=False)
    overrides = [f"dataset.path={folder}/t.csv", "dataset=file", "dataset.target=y"]
    mlplab.run([*overrides, "training.epochs=5", "tracking=off"], folder / "run")
    three = frame.assign(y=np.where(frame["b"] > 1, "other", frame["y"]))
    options = ["training.epochs=1", "tracking=off"]
    mlplab.fit(three, "y", options, folder=folder / "three")
    return folder


def test_commands_and_python_agree(folder, capsys):
    run = mlplab.load(folder / "run")
    later = pd.read_csv(folder / "later.csv")
    probability_N = run.predict_proba(later)[:, 1]
    tuned = run.tuned_threshold("f1")
    assert tuned.num_rows == 60
    for given, threshold in (("0.2", 0.2), ("f1", tuned.threshold)):
        arguments = [str(folder / "run"), str(folder / "later.csv"), "--threshold", given]
        assert main(["predict", *arguments]) == 0
        captured = capsys.readouterr()
        predicted = pd.read_csv(io.StringIO(captured.out))["prediction"]
        assert predicted.tolist() == np.where(probability_N >= threshold, "yes", "no").tolist()
        value = threshold if given == "0.2" else "f1"
        assert run.predict(later, threshold=value).tolist() == predicted.tolist()
        assert ("which maximizes f1 on the 60 rows" in captured.err) == (given == "f1")
        assert main(["evaluate", *arguments, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["threshold"] == threshold
        measured = {name: entry["value"] for name, entry in document["metrics"].items()}
        y_N, positive_N = later["y"] == "yes", probability_N >= threshold
        expected = {
            "accuracy": sk.accuracy_score(y_N, positive_N),
            "balanced_accuracy": sk.balanced_accuracy_score(y_N, positive_N),
            "f1": sk.f1_score(y_N, positive_N, average="macro"),
            "f1_class_1": sk.f1_score(y_N, positive_N),
            "mcc": sk.matthews_corrcoef(y_N, positive_N),
            "auroc": sk.roc_auc_score(y_N, probability_N),
            "log_loss": sk.log_loss(y_N, probability_N),
        }
        assert {name: measured[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("given", ["1.5", "accuracy", "nan"])
def test_other_thresholds_are_refused(folder, given, capsys):
    assert main(["predict", str(folder / "run"), str(folder / "t.csv"), "--threshold", given]) == 2
    assert "A threshold is a number from 0 to 1, or f1 or balanced" in capsys.readouterr().err


def test_a_threshold_needs_two_classes_and_data(folder, capsys):
    with pytest.raises(ConfigError, match="this run predicts 3 classes"):
        mlplab.load(folder / "three").predict([[0.0, 0.0]], threshold=0.4)
    path, away = folder / "t.csv", folder / "away.csv"
    path.rename(away)
    try:
        run, later = str(folder / "run"), str(folder / "later.csv")
        assert main(["predict", run, later, "--threshold", "f1"]) == 2
        assert "is chosen on the val split of its data" in capsys.readouterr().err
        assert main(["predict", run, later, "--threshold", "0.4"]) == 0
    finally:
        away.rename(path)

"""validation=kfold: held-out rows, equal shapes, a fold trained alone and with the others, and
metrics that agree with scikit-learn.
"""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, r2_score

import mlplab
from mlplab import metrics
from mlplab.cli import main
from mlplab.config import settings_from_overrides
from mlplab.data.preparation.examples import prepare_folds
from mlplab.errors import DataError
from mlplab.sweeps.report.statistics import Statistics, student
from mlplab.training import train_population
from mlplab.validation import KFold

FAST = ["training.epochs=3", "model.hidden=5", "tracking=summary"]


def table(path, rows=103, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=rows) for i in range(3)})
    frame["town"] = rng.choice(["a", "b", "c"], rows, p=[0.7, 0.27, 0.03])
    frame.loc[0, "town"] = "once"
    frame.loc[rng.random(rows) < 0.1, "x1"] = np.nan
    frame["who"] = rng.integers(0, 17, rows)
    frame["t"] = np.where(frame.x0 + (frame.town == "a") > 0.4, "yes", "no")
    frame.loc[:9, "t"] = "maybe"
    frame["v"] = frame.x0 * 3 + frame.x2
    frame.to_csv(path, index=False)
    return frame


def table_overrides(path, target="t", **more):
    other = "v" if target == "t" else "t"
    values = {
        "experiment": "null",
        "dataset": "file",
        "dataset.path": str(path),
        "dataset.target": target,
        "dataset.ignore": f"[{other},who]",
        "dataset.missing": "impute",
    }
    return [f"{key}={value}" for key, value in {**values, **more}.items()]


def folds_of(overrides, folds=5, repeats=2):
    return prepare_folds(settings_from_overrides(overrides).dataset, 0, KFold(folds, repeats), True)


@pytest.mark.parametrize("target", ["t", "v"])
def test_each_row_is_held_out_once_per_repeat_and_splits_share_none(tmp_path, target):
    table(tmp_path / "t.csv")
    folds = folds_of(table_overrides(tmp_path / "t.csv", target))
    assert len(folds) == 10
    for repeat in (folds[:5], folds[5:]):
        assert sorted(np.concatenate([fold.test_rows for fold in repeat])) == list(range(103))
    assert {len(fold.test_rows) for fold in folds} <= {20, 21, 22}
    assert len({tuple(fold.train.x.shape) for fold in folds}) == 1
    assert (
        len({fold.val.x.shape for fold in folds}) == len({fold.test.x.shape for fold in folds}) == 1
    )
    for fold in folds:
        assert len(fold.train.real()) + len(fold.val.real()) + len(fold.test.real()) == 103
        assert np.allclose(fold.train.real().x[:, fold.encoder.numeric()].mean(0), 0, atol=1e-9)


def test_groups_stay_together_in_every_fold(tmp_path):
    frame = table(tmp_path / "t.csv")
    for fold in folds_of(
        table_overrides(
            tmp_path / "t.csv", "v", **{"dataset.ignore": "[t]", "dataset.group_column": "who"}
        ),
        repeats=1,
    ):
        inside, outside = frame.who[fold.test_rows], frame.who.drop(index=fold.test_rows)
        assert not set(inside) & set(outside)


def test_a_fold_alone_has_the_weights_that_it_has_among_the_others(tmp_path):
    table(tmp_path / "t.csv")
    settings = [
        settings_from_overrides(
            [
                *table_overrides(tmp_path / "t.csv"),
                *FAST,
                "validation=kfold",
                f"validation.fold={i}",
            ]
        )
        for i in range(5)
    ]
    outcomes = train_population(settings)
    for fold_settings, outcome in zip(settings, outcomes, strict=True):
        single = train_population([fold_settings])[0]
        assert torch.allclose(single.theta_P, outcome.theta_P, atol=1e-6)
        assert single.metrics["test/accuracy"] == pytest.approx(
            outcome.metrics["test/accuracy"], abs=1e-9
        )


def test_rows_that_a_fold_holds_out_change_nothing_that_it_learns(tmp_path):
    frame = table(tmp_path / "a.csv")
    first = folds_of(table_overrides(tmp_path / "a.csv", "v"))[2]
    rng = np.random.default_rng(5)
    for column in ("x0", "x1", "x2", "v"):
        frame.loc[first.test_rows, column] = rng.normal(size=len(first.test_rows)) * 100
    frame.to_csv(tmp_path / "b.csv", index=False)
    other = folds_of(table_overrides(tmp_path / "b.csv", "v"))[2]
    assert (other.test_rows == first.test_rows).all()
    assert (other.train.x == first.train.x).all()
    assert (other.train.y == first.train.y).all()
    assert first.encoder == other.encoder
    assert (other.test.x != first.test.x).any()


def test_rows_that_fill_up_count_in_no_metric():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 7 + [False] * 3, [True] * 10])
    scores, labels = torch.rand(2, 10, 3), torch.randint(0, 3, (2, 10))
    accuracy = metrics.classification_metrics(scores, labels, mask_KN=mask)["accuracy"]
    assert (
        accuracy[0] == metrics.classification_metrics(scores[:1, :7], labels[:1, :7])["accuracy"][0]
    )
    assert accuracy[1] == metrics.classification_metrics(scores[1:], labels[1:])["accuracy"][0]
    values, targets = torch.rand(2, 10, 2), torch.rand(2, 10, 2)
    masked, plain = (
        metrics.regression_metrics(values, targets, mask_KN=mask),
        metrics.regression_metrics(values[:1, :7], targets[:1, :7]),
    )
    for name in ("mae", "rmse", "r2"):
        assert masked[name][0].item() == pytest.approx(plain[name][0].item(), rel=1e-12)


@pytest.mark.parametrize(
    ("size", "loss"), [(1, "cross_entropy"), (7, "cross_entropy"), (7, "hinge")]
)
def test_a_batch_of_rows_that_only_fill_up_is_harmless(tmp_path, size, loss):
    table(tmp_path / "t.csv")
    overrides = [
        *table_overrides(tmp_path / "t.csv"),
        *FAST,
        f"training.batch_size={size}",
        f"loss={loss}",
        "validation=kfold",
    ]
    outcomes = train_population(
        [settings_from_overrides([*overrides, f"validation.fold={i}"]) for i in range(5)]
    )
    assert all(
        outcome.status == "done" and torch.isfinite(outcome.theta_P).all() for outcome in outcomes
    )


def test_the_command_writes_out_of_fold_predictions_that_scikit_learn_scores_alike(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    frame = table(tmp_path / "t.csv")
    assert (
        main(
            [
                "train",
                *table_overrides("t.csv"),
                *FAST,
                "validation=kfold",
                "validation.repeats=2",
                "hydra.sweep.dir=kf",
            ]
        )
        == 0
    )
    output = capsys.readouterr().out
    assert "10 folds" in output
    assert "majority class" in output
    predictions = pd.read_csv("kf/predictions.csv")
    assert sorted(predictions.row) == sorted([*range(1, 104)] * 2)
    assert (predictions.t.to_numpy() == frame.t[predictions.row - 1].to_numpy()).all()
    stored = json.loads((tmp_path / "kf" / "cross_validation.json").read_text())
    order = stored["classes"]
    assert order == ["maybe", "no", "yes"]
    by_fold = [fold for _, fold in predictions.groupby(["repeat", "fold"])]
    accuracy = [accuracy_score(fold.t, fold.prediction) for fold in by_fold]
    losses = [
        log_loss(fold.t, fold[[f"P({name})" for name in order]].astype(np.float32), labels=order)
        for fold in by_fold
    ]
    assert stored["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracy), abs=1e-6)
    assert stored["metrics"]["log_loss"]["mean"] == pytest.approx(np.mean(losses), abs=1e-6)
    width = student(9) * np.std(accuracy, ddof=1) * math.sqrt(1 / 10 + 1 / 4)
    assert stored["metrics"]["accuracy"]["half_width"] == pytest.approx(width, abs=1e-6)
    with open("kf/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test/accuracy"]) for row in rows] == pytest.approx(accuracy, abs=1e-6)
    assert (tmp_path / "kf" / "data_report.md").is_file()
    assert main(["predict", "kf", "t.csv", "-o", "out.csv"]) == 0
    assert "the mean of 10 runs" in capsys.readouterr().out


def test_values_and_a_grid_are_ranked_by_their_folds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = mlplab.sweep(
        [
            "dataset=diabetes",
            *FAST,
            "validation=kfold",
            "optimizer.lr=1e-6,0.03",
            "training.epochs=20",
        ],
        quiet=True,
    )
    assert len(results) == 10
    assert sorted(set(results["validation.fold"])) == [0, 1, 2, 3, 4]
    summary = next(tmp_path.glob("outputs/sweeps/*/*/summary.md")).read_text()
    assert "test/rmse" in summary
    assert "over folds" in summary
    assert "Nadeau" in summary
    assert "validation.fold=" not in summary
    single = mlplab.sweep(
        ["dataset=diabetes", *FAST, "validation=kfold", "validation.folds=3"], quiet=True
    )
    folder = single.attrs["folder"]
    predictions = pd.read_csv(f"{folder}/predictions.csv")
    by_fold = [
        r2_score(fold.progression, fold["progression predicted"])
        for _, fold in predictions.groupby("fold")
    ]
    assert list(single["test/r2"]) == pytest.approx(by_fold, abs=1e-6)


def test_the_interval_of_folds_is_wider_than_that_of_seeds():
    values = [0.8, 0.9, 0.85, 0.82]
    assert Statistics.of(values, overlap=0.25).half_width == pytest.approx(
        Statistics.of(values).half_width * math.sqrt(2)
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dataset.time_column": "x0"}, "rows that are later"),
        ({"dataset.test_path": "t.csv"}, "a predefined split"),
        ({"validation.folds": 104}, "too few for validation.folds=104"),
        ({"validation.folds": 1}, "validation.folds"),
        ({"validation.fold": 5}, "out of range"),
        (
            {"dataset.ignore": "[v]", "dataset.group_column": "who", "validation.folds": 18},
            "17 group(s)",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused(tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    table("t.csv")
    assert main(["train", *table_overrides("t.csv", **more), *FAST, "validation=kfold"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "outputs").exists()


def test_a_class_of_one_row_is_refused(tmp_path):
    frame = table(tmp_path / "t.csv")
    frame.loc[50, "t"] = "lonely"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="Class 'lonely' has 1 row"):
        folds_of(table_overrides(tmp_path / "t.csv"))

"""`mlplab predict` and `mlplab evaluate`."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import mlplab
from mlplab.cli import main
from mlplab.data.tabular import csv, readers, streaming

OVERRIDES = [
    "experiment=null",
    "dataset=file",
    "dataset.path=table.csv",
    "training.epochs=20",
    "tracking=summary",
    "optimizer.lr=0.02",
]


def table(n=150, seed=0):
    rng = np.random.default_rng(seed)
    x, color = rng.normal(size=n), rng.choice(["red", "green"], n)
    return pd.DataFrame(
        {
            "id": [f"k{i}" for i in range(n)],
            "x": x,
            "color": color,
            "kind": np.where((x > 0) ^ (color == "red"), "a", "=b"),
            "value": 3 * x + (color == "red") * 10,
        }
    )


def train_run(folder, *overrides):
    with contextlib.chdir(folder):
        table().to_csv("table.csv", index=False)
        mlplab.run([*OVERRIDES, *overrides], "run")


def copy_run(folder):
    """Copy the run and its table, so that the test may change them."""
    shutil.copytree(folder, ".", dirs_exist_ok=True)
    return mlplab.load("run")


@pytest.fixture(scope="module")
def run_of_classes(tmp_path_factory):
    overrides = ["dataset.target=kind", "dataset.ignore=[value]", "dataset.id_column=id"]
    folder = tmp_path_factory.mktemp("classes")
    train_run(folder, *overrides)
    return folder


@pytest.fixture(scope="module")
def run_of_values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    train_run(folder, "dataset.target=value", "dataset.ignore=[kind,id]")
    return folder


@pytest.fixture
def classes(run_of_classes):
    return copy_run(run_of_classes)


@pytest.fixture
def values(run_of_values):
    return copy_run(run_of_values)


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_predictions_keep_order_and_identifiers(out, classes, monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 1024)  # several chunks
    table(400, 1).drop(columns=["kind", "value"]).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", out]) == 0
    predictions = pd.read_csv(out) if out.endswith("csv") else pd.read_parquet(out)
    assert predictions["id"].tolist() == [f"k{i}" for i in range(400)]
    probabilities = classes.predict_proba(table(400, 1))
    np.testing.assert_allclose(predictions[["P(=b)", "P(a)"]].to_numpy(), probabilities, atol=1e-6)
    labels = np.array(classes.preprocessing.class_names)[probabilities.argmax(1)]
    column = predictions["prediction"]
    assert (column.str.lstrip("'") if out.endswith("csv") else column).tolist() == labels.tolist()
    if out.endswith("csv"):
        assert "'=b" in Path(out).read_text()  # no spreadsheet reads it as a formula


def test_predictions_are_printed(classes, capfdbinary):
    """As they are written into a file, and nothing else is on the output."""
    table(9, 1).drop(columns=["kind", "value"]).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
    capfdbinary.readouterr()
    Path("-").write_text("a file of this name stays")
    assert main(["predict", "run", "new.csv", "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == Path("out.csv").read_bytes()
    assert Path("-").read_text() == "a file of this name stays"


def test_values_are_in_the_target_s_units(values):
    table(50, 1).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
    predictions = pd.read_csv("out.csv")
    assert list(predictions.columns) == ["row", "value"]
    np.testing.assert_allclose(predictions["value"], values.predict(table(50, 1))[:, 0], rtol=1e-6)


def test_a_sweep_predicts_as_its_mean(capsys):
    table().to_csv("table.csv", index=False)
    overrides = [
        *OVERRIDES,
        "dataset.target=value",
        "dataset.ignore=[kind,id]",
        "dataset.seed=0",
        "seed=range(4)",
    ]
    mlplab.sweep(overrides, "sweep")
    table(20, 1).to_csv("new.csv", index=False)
    assert main(["predict", "sweep", "new.csv", "-o", "out.csv"]) == 0
    assert "the mean of 4 runs" in capsys.readouterr().out
    outputs = np.stack(
        [mlplab.load(f"sweep/jobs/{i}").predict(table(20, 1))[:, 0] for i in range(4)]
    )
    predictions = pd.read_csv("out.csv")
    np.testing.assert_allclose(
        predictions["value"], outputs.mean(0), rtol=1e-6, atol=1e-6 * outputs.std()
    )
    np.testing.assert_allclose(predictions["value spread"], outputs.std(0), rtol=1e-4, atol=1e-6)
    assert main(["predict", "sweep", "new.csv", "-o", "best.csv", "--best", "1"]) == 0
    losses = [mlplab.load(f"sweep/jobs/{i}").metrics["val/loss"] for i in range(4)]
    np.testing.assert_allclose(
        pd.read_csv("best.csv")["value"],
        outputs[int(np.argmin(losses))],
        rtol=1e-6,
        atol=1e-6 * outputs.std(),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="x"), "lacks the column(s) x"),
        (lambda f: f.assign(x=f["x"].where(f.index != 3)), "row 4: the cell is empty"),
        (lambda f: f.assign(x=f["x"].astype(object).where(f.index != 3, "many")), "many"),
        (lambda f: f.assign(x=f["x"].where(f.index != 3, np.inf)), "not finite"),
    ],
)
def test_new_rows_are_checked_as_those_of_the_training(change, message, classes, capsys):
    change(table(30, 1)).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "new.csv" in errors
    assert not Path("out.csv").exists()
    assert not list(Path().glob(".tmp-*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "out.xlsx"],
        ["-o", "there.csv"],
        ["-o", "no/where.csv"],
        ["-o", "out.csv", "--best", "0"],
        ["-o", "out.csv", "--id", "nobody"],
    ],
)
def test_what_is_refused(arguments, classes, capsys):
    Path("there.csv").write_text("mine")
    table(9).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert Path("there.csv").read_text() == "mine"


def test_a_network_of_a_bundled_set_predicts_too():
    from sklearn.datasets import load_iris

    mlplab.run(["experiment=iris", "training.epochs=20", "tracking=off"], "run")
    bunch = load_iris(as_frame=True)
    bunch.data.to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
    predictions = pd.read_csv("out.csv")
    assert (predictions["prediction"] == np.array(bunch.target_names)[bunch.target]).mean() > 0.9


@pytest.mark.parametrize(
    ("overrides", "baseline"),
    [
        (["dataset.target=kind", "dataset.ignore=[value,id]"], "logistic regression"),
        (["dataset.target=value", "dataset.ignore=[kind,id]"], "linear regression"),
    ],
)
def test_training_reads_the_file_once_and_evaluates_its_test_split(
    overrides, baseline, monkeypatch, capsys
):
    calls, parsed = [], csv.parse_csv
    monkeypatch.setattr(
        readers, "parse_csv", lambda *args, **options: calls.append(1) or parsed(*args, **options)
    )
    table().to_csv("table.csv", index=False)
    assert main(["train", *OVERRIDES, *overrides, "hydra.run.dir=run"]) == 0
    output = capsys.readouterr().out
    assert len(calls) == 1
    assert baseline in output
    evaluation = json.loads(Path("run/evaluation.json").read_text())
    assert main(["evaluate", "run"]) == 0
    assert json.loads(Path("run/evaluation.json").read_text()) == evaluation


def test_evaluate_agrees_with_scikit_learn(classes, capsys):
    assert main(["evaluate", "run"]) == 0
    output = capsys.readouterr().out
    assert "majority class" in output
    assert "logistic regression" in output
    evaluation = json.loads(Path("run/evaluation.json").read_text())
    for name, value in classes.metrics.items():
        if name.startswith("test/") and name != "test/loss":
            assert evaluation["metrics"][name.removeprefix("test/")]["value"] == pytest.approx(
                value, abs=1e-6
            )
    new = table(200, 5)
    new.to_csv("new.csv", index=False)
    assert main(["evaluate", "run", "new.csv"]) == 0
    evaluation = json.loads(Path("run/evaluation.json").read_text())["metrics"]
    truth = (new["kind"] == "a").astype(int)
    probability = classes.predict_proba(new)
    probability /= probability.sum(1, keepdims=True)  # single precision misses one by 1e-7
    predicted = probability.argmax(1)
    score = probability[:, 1]
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "f1": sk.f1_score(truth, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "auroc": sk.roc_auc_score(truth, score),
        "log_loss": sk.log_loss(truth, probability),
        "average_precision": sk.average_precision_score(truth, score),
        "brier": sk.brier_score_loss(truth, score),
        "f1_class_0": sk.f1_score(1 - truth, 1 - predicted),
        "f1_class_1": sk.f1_score(truth, predicted),
    }
    for name, value in expected.items():
        assert evaluation[name]["value"] == pytest.approx(value, abs=1e-6), name
        assert evaluation[name]["low"] <= evaluation[name]["value"] <= evaluation[name]["high"]


def test_evaluate_values(values, capsys):
    new = table(200, 5)
    new.to_csv("new.csv", index=False)
    assert main(["evaluate", "run", "new.csv"]) == 0
    evaluation = json.loads(Path("run/evaluation.json").read_text())
    predicted = values.predict(new)[:, 0]
    expected = {
        "mae": sk.mean_absolute_error(new["value"], predicted),
        "rmse": sk.root_mean_squared_error(new["value"], predicted),
        "r2": sk.r2_score(new["value"], predicted),
        "mape": sk.mean_absolute_percentage_error(new["value"], predicted),
    }
    for name, value in expected.items():
        assert evaluation["metrics"][name]["value"] == pytest.approx(value, rel=1e-6)
    assert evaluation["baselines"]["linear regression"]["r2"] > 0.99


def test_evaluate_refuses_new_classes_and_changed_data(classes, capsys):
    table(30, 1).assign(kind="c").to_csv("new.csv", index=False)
    assert main(["evaluate", "run", "new.csv"]) == 2
    assert "'c' is not a class of this run (=b, a); 30 such cell(s)" in capsys.readouterr().err
    table(150, 9).to_csv("table.csv", index=False)
    assert main(["evaluate", "run"]) == 2
    assert "changed since it was trained" in capsys.readouterr().err

"""An output that is not a finite number is never a class, nor a value: every way to predict refuses
the row, or says that there is nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mlplab
from mlplab.cli import main
from mlplab.commands import evaluate
from mlplab.data.tabular import streaming
from mlplab.errors import NotFiniteError
from mlplab.finite import check_finite_outputs
from mlplab.io.files import load_weights, save_weights
from mlplab.runs.ensemble import Predictor
from mlplab.sklearn import MLPClassifier, MLPRegressor

OVERRIDES = [
    "experiment=null",
    "dataset=file",
    "dataset.path=t.csv",
    "dataset.id_column=id",
    "activation=relu",
    "training.epochs=3",
    "tracking=summary",
    "dtype=float64",
]
HUGE = "2,3e37,-3e37,no"  # overflows in a network with the weights of `magnify`


def table(path: Path, rows: int = 200, at: int | None = None) -> None:
    """Small numbers, and in row `at`, counted from 1, huge ones."""
    lines = [
        f"{i},{i % 17 * 1e-3},{i % 13 * 1e-3},{'yes' if i % 17 > 8 else 'no'}" for i in range(rows)
    ]
    if at is not None:
        lines[at - 1] = HUGE
    path.write_text("\n".join(["id,a,b,y", *lines]) + "\n")


def magnify(folder: Path) -> None:
    """The weights grow by a factor of 1e285, all layers together."""
    path = folder / "weights.safetensors"
    weights, metadata = load_weights(path)
    factor = 10 ** (285 / sum(value.ndim == 2 for value in weights.values()))
    large = {name: value * factor ** (value.ndim == 2) for name, value in weights.items()}
    save_weights(path, large, metadata)


def poison(folder: Path) -> None:
    """All weights become NaN."""
    path = folder / "weights.safetensors"
    weights, metadata = load_weights(path)
    save_weights(path, {name: value * float("nan") for name, value in weights.items()}, metadata)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier and a regression of a file, and a sweep of two classifiers."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        table(Path("t.csv"))
        (folder / "bad.csv").write_text("id,a,b,y\n0,0.001,0.002,no\n1,0.001,0.1,yes\n" + HUGE)
        mlplab.run([*OVERRIDES, "dataset.target=y", "model.hidden=32-32"], "classes")
        mlplab.run(
            [*OVERRIDES, "dataset.target=b", "dataset.ignore=[y]", "model.hidden=32-32"], "values"
        )
        mlplab.sweep([*OVERRIDES, "dataset.target=y", "model.hidden=8", "seed=0,1"], "sweep")
        for run in ("classes", "values", "sweep/jobs/0", "sweep/jobs/1"):
            magnify(Path(run))
    return folder


@pytest.fixture
def work_dir(trained, tmp_path):
    import shutil

    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refusal(capfd, *arguments: str) -> str:
    capfd.readouterr()
    assert main(list(arguments)) == 2, arguments
    output, errors = capfd.readouterr()
    assert output == ""
    assert len(errors.strip().splitlines()) == 1, errors
    return errors


@pytest.mark.parametrize("out", ["o.csv", "o.parquet"])
@pytest.mark.parametrize("run", ["classes", "values", "sweep"])
def test_a_row_that_overflows_is_refused_with_its_number_and_its_file(run, out, work_dir, capfd):
    before = {path.name for path in work_dir.iterdir()}
    errors = refusal(capfd, "predict", run, "bad.csv", "-o", out)
    assert "bad.csv, row 3: the output of the network" in errors
    assert "1 such row(s)" in errors
    assert {path.name for path in work_dir.iterdir()} == before


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_number_of_a_row_counts_through_the_chunks_of_a_file(
    kind, work_dir, monkeypatch, capfd
):
    table(work_dir / "long.csv", 3000, at=2345)
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 500)
    if kind == "parquet":
        pd.read_csv("long.csv").to_parquet("long.parquet")
    errors = refusal(capfd, "predict", "classes", f"long.{kind}", "-o", "o.csv")
    assert f"long.{kind}, row 2345: " in errors
    assert not Path("o.csv").exists()


@pytest.mark.parametrize(
    ("cell", "fault"), [("1e39", "1e+39 is too large"), ("", "the cell is empty")]
)
def test_the_number_of_a_refused_cell_counts_too(cell, fault, work_dir, monkeypatch, capfd):
    table(work_dir / "long.csv", 3000)
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 500)
    frame = pd.read_csv("long.csv", dtype=str)
    frame.loc[2344, "a"] = cell
    frame.to_csv("long.csv", index=False)
    errors = refusal(capfd, "predict", "classes", "long.csv", "-o", "o.csv")
    assert f"long.csv, column 'a', row 2345: {fault}" in errors


@pytest.mark.parametrize("run", ["classes", "values"])
def test_a_run_whose_weights_are_not_finite_predicts_nothing(run, work_dir, capfd):
    poison(work_dir / run)
    for out in ("o.csv", "o.parquet"):
        assert "t.csv, row 1: the output of the network is nan" in refusal(
            capfd, "predict", run, "t.csv", "-o", out
        )
    assert "the test split of" in refusal(capfd, "evaluate", run)
    assert "t.csv, row 1: " in refusal(capfd, "evaluate", run, "t.csv")
    assert not Path(run, "evaluation.json").exists()
    loaded_run = mlplab.load(run)
    x = np.zeros((2, len(loaded_run.preprocessing.feature_names)))
    with pytest.raises(NotFiniteError, match=r"x, row 0 \(counted from 0\).* 2 such row"):
        loaded_run.predict(x)
    if run == "classes":
        assert np.isnan(loaded_run.predict_proba(x)).all()


def test_one_bad_run_of_a_sweep_is_named(work_dir, capfd):
    poison(work_dir / "sweep" / "jobs" / "1")
    errors = refusal(capfd, "predict", "sweep", "t.csv", "-o", "o.csv")
    assert "t.csv, row 1: the output of the network in sweep/jobs/1 is nan" in errors


def test_run_predict_names_the_row(work_dir):
    run = mlplab.load("classes")
    x = np.array([[0.001, 0.002], [3e37, -3e37]])
    assert run.predict(x[:1]).shape == (1,)
    assert not np.isfinite(run.predict_proba(x)[1]).any()
    with pytest.raises(NotFiniteError, match="row 1"):
        run.predict(x)
    with pytest.raises(NotFiniteError, match="row 1"):
        mlplab.load("values").predict(np.array([[0.001], [1e38]]) * [[1.0], [3.0]])


def test_evaluate_of_a_file_names_the_row(work_dir, capfd):
    assert "bad.csv, row 3: " in refusal(capfd, "evaluate", "classes", "bad.csv")
    assert "bad.csv, row 3: " not in refusal(capfd, "evaluate", "sweep", "bad.csv")


def test_a_training_that_is_done_is_not_failed_by_its_evaluation(work_dir, capfd):
    from mlplab.training import DataCache

    poison(work_dir / "classes")
    assert evaluate.evaluate_test_split(mlplab.load("classes"), DataCache()) is None
    assert "no evaluation: the test split of classes, row 1: " in capfd.readouterr().err
    assert not Path("classes/evaluation.json").exists()


def test_a_cross_validation_makes_no_classes_of_nothing(monkeypatch, capfd, tmp_path):
    from mlplab.model.model import Model

    def outputs(self, scaled_NF, predict):
        return torch.full((1, len(scaled_NF), 2), np.nan)

    monkeypatch.setattr(Model, "_outputs", outputs)
    overrides = ["dataset=moons", "dataset.num_samples=30", "training.epochs=1", "tracking=off"]
    mlplab.sweep([*overrides, "validation=kfold", "validation.folds=2"], "k")
    assert "no cross-validation: the test split of k/jobs/0, row 1: " in capfd.readouterr().err
    assert Path("k/results.csv").exists()
    assert not Path("k/predictions.csv").exists()


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (MLPClassifier, np.array([0, 1, 0, 1])),
        (MLPClassifier, np.array([[0, 1], [1, 1], [0, 0], [1, 0]])),
        (MLPRegressor, np.array([0.0, 1.0, 2.0, 3.0])),
    ],
    ids=["classes", "labels", "values"],
)
@pytest.mark.parametrize("members", [1, 2])
def test_the_estimators_predict_nothing(model, y, members):
    x = np.arange(8.0).reshape(4, 2)
    fitted = model(hidden=(3,), epochs=1, n_members=members, random_state=0).fit(x, y)
    assert len(fitted.predict(x)) == 4
    fitted.fitted_.model.theta_KP[-1] = np.nan
    with pytest.raises(ValueError, match=r"X, row 0 .* 4 such row"):
        fitted.predict(x)
    if model is MLPClassifier:
        assert np.isnan(fitted.predict_proba(x)).all()


def test_an_exported_program_gives_no_label(work_dir):
    import torch

    from mlplab.export.pipeline import Pipeline

    run = mlplab.load("classes")
    columns = [torch.tensor([[0.001], [3e37]]).double(), torch.tensor([[0.002], [-3e37]]).double()]
    probabilities, label = Pipeline([run])(*columns)
    assert probabilities[0].isfinite().all()
    assert label[0] == probabilities[0].argmax()
    assert not probabilities[1].isfinite().any()
    assert label[1] == -1


@pytest.mark.slow
def test_an_exported_onnx_model_gives_an_empty_label(work_dir):
    runtime = pytest.importorskip("onnxruntime")
    from mlplab.export import files

    run = mlplab.load("classes")
    files.export(Predictor((run,)), "onnx", work_dir / "m.onnx")
    session = runtime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    rows = {"a": np.array([[0.001], [3e37], [0.003]]), "b": np.array([[0.002], [-3e37], [0.001]])}
    label, probabilities = session.run(["label", "probabilities"], rows)
    names = run.preprocessing.class_names
    assert label.tolist() == [
        names[probabilities[0].argmax()],
        "",
        names[probabilities[2].argmax()],
    ]
    assert not np.isfinite(probabilities[1]).any()


def test_the_check_names_the_first_row_and_counts_them():
    check_finite_outputs(np.zeros((3, 2)), "x")
    check_finite_outputs(np.zeros((0, 2)), "x")
    outputs = np.zeros((5, 2))
    outputs[2, 1], outputs[4, 0] = np.inf, np.nan
    with pytest.raises(NotFiniteError, match=r"^f\.csv, row 12: .* in jobs/3 is inf.* 2 such row"):
        check_finite_outputs(outputs, "f.csv", 10, "jobs/3")


def test_every_choice_of_a_class_is_known():
    """A module that turns outputs into classes takes them from where they are checked, or is listed
    here with a reason.
    """
    source = Path(mlplab.__file__).parent
    choosing = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == "argmax"
        and "data" not in path.relative_to(source).parts
        and "pictures" not in path.relative_to(source).parts  # which only draw
    }
    checked = {  # scores of model/model.py
        "model/thresholds.py",
        "explain/attribution.py",
        "sklearn.py",
        "sweeps/report/cross_validation.py",
    }
    known = {
        "finite.py",  # the check
        "commands/uncertainty.py",
        "model/packed.py",  # the member with the largest weight
        "model/reliability.py",
        "explain/row_losses.py",
        "export/pipeline.py",  # a graph: -1
        "losses/base.py",  # metrics while training, where such a member is diverged
        "metrics.py",  # the same
        "doctor/reference.py",  # fits to indicators of classes
        "one_step/mean_loss.py",  # the largest derivative, of finite ones
        "training/eager.py",  # steps
        "training/frames.py",
        "sweeps/report/modes.py",  # a split of finite scores
    }
    assert choosing == checked | known
    calls = [path for path in source.rglob("*.py") if "check_finite_outputs(" in path.read_text()]
    assert {path.relative_to(source).as_posix() for path in calls} == {
        "finite.py",
        "model/model.py",
    }

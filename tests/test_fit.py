"""mlplab.fit: arrays, tensors, lists and data frames in; a run and its folder out."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from drawing import draw_only
from scipy.sparse import csr_array

import mlplab
from mlplab.cli import main
from mlplab.data.tabular import in_memory
from mlplab.data.tabular.collecting import collect
from mlplab.data.tabular.in_memory import FILE, InMemoryData
from mlplab.data.tabular.stored_columns import store_series
from mlplab.errors import ConfigError, DamagedFileError, DataError, MlplabError

QUICK = ["training.epochs=2", "tracking=off", "device=cpu", "model.hidden=[4]"]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = np.where(X[:, 0] * X[:, 1] > 0, "same", "different")
VALUES = X @ [1.0, -2.0, 0.5] + 3
NAMES = ["x1", "x2", "x3"]


def fit(*arguments, overrides=(), **keywords):
    return mlplab.fit(*arguments, overrides=[*QUICK, *overrides], **keywords)


def weights(run):
    return torch.cat([value.flatten() for value in run.module().state_dict().values()])


def mixed_frame():
    return pd.DataFrame(
        {
            "number": X[:, 0],
            "count": pd.array(RNG.integers(0, 9, 60), dtype="Int64"),
            "color": RNG.choice(["red", "green", "blue"], 60),
            "flag": X[:, 1] > 0,
            "date": pd.date_range("2020-01-01", periods=60, freq="13h"),
            "y": CLASSES,
        }
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return fit(X, CLASSES, folder=tmp_path_factory.mktemp("fit") / "run")


@pytest.mark.parametrize(
    ("features", "targets"),
    [
        (X.tolist(), CLASSES.tolist()),
        (torch.from_numpy(X).requires_grad_(), CLASSES.astype(object)),
        (np.asfortranarray(X), pd.Series(CLASSES)),
        (X.astype(">f8"), pd.Series(CLASSES, dtype="category")),
        (csr_array(X), CLASSES[:, None]),
        (pd.DataFrame(X, columns=NAMES), CLASSES),
        (pd.DataFrame(X, columns=NAMES).assign(y=CLASSES), "y"),
        (pd.DataFrame(X, columns=NAMES).assign(y=CLASSES), None),
        (pd.DataFrame(X, columns=NAMES, index=range(60, 0, -1)), pd.DataFrame({"y": CLASSES})),
        (X.astype(object), CLASSES),
    ],
    ids=[
        *("lists", "tensor", "fortran", "big endian", "sparse", "frame", "column", "column y"),
        *("index", "objects"),
    ],
)
def test_every_kind_of_input_gives_the_same_weights(features, targets, reference):
    run = fit(features, targets)
    assert torch.equal(weights(run), weights(reference))
    assert run.preprocessing.class_names == ("different", "same")
    assert run.preprocessing.target_names == ("y",)
    new = features.drop(columns="y", errors="ignore") if hasattr(features, "drop") else features
    np.testing.assert_array_equal(run.predict(new), reference.predict(X))


def test_a_data_frame_is_treated_like_its_csv_file():
    frame = mixed_frame()
    frame.to_csv("table.csv", index=False)
    from_file = mlplab.run([*QUICK, "dataset=file", "dataset.path=table.csv"])
    run = fit(frame)
    assert run.preprocessing.feature_names == from_file.preprocessing.feature_names
    assert torch.equal(weights(run), weights(from_file))
    np.testing.assert_array_equal(
        run.predict_proba(frame), from_file.predict_proba(pd.read_csv("table.csv"))
    )


def test_classes_and_values_are_distinguished_as_in_a_table():
    def task(y, *overrides):
        return fit(X, y, overrides=overrides).preprocessing.task

    assert task(VALUES).kind == "regression"
    assert task(np.arange(60) % 3).num_classes == 3
    assert task((np.arange(60) % 3).astype(float)).num_classes == 3
    assert task(X[:, 0] > 0).num_classes == 2
    assert task(np.arange(60) % 3, "dataset.task=regression").kind == "regression"
    assert task(X[:, 0] > 0, "dataset.task=regression").kind == "regression"
    assert task(np.arange(60) // 3, "dataset.task=classification").num_classes == 20
    assert task(np.stack([VALUES, X[:, 0]], 1)).num_targets == 2


def test_values_are_predicted_in_the_units_of_the_target():
    y = torch.from_numpy(VALUES).bfloat16()
    run = mlplab.fit(torch.from_numpy(X), y, ["tracking=off", "optimizer.lr=0.03"])
    assert run.metrics["test/r2"] > 0.9
    assert run.predict(torch.from_numpy(X)).shape == (60, 1)
    assert run.predict(X).mean() == pytest.approx(VALUES.mean(), abs=0.5)
    assert fit(X[:, 0], VALUES).predict(X[:5, :1]).shape == (5, 1)  # one feature


@pytest.mark.parametrize("kind", [np.asarray, lambda x: pd.DataFrame(x, columns=NAMES)])
def test_separate_splits_keep_their_rows(kind):
    splits = tuple((kind(X[rows]), CLASSES[rows]) for rows in np.split(np.arange(60), [40, 50]))
    data = collect(splits)
    assert {name: len(rows) for name, rows in data.given_split.items()} == {
        "train": 40,
        "val": 10,
        "test": 10,
    }
    three, two = fit(splits), fit(splits[:2])
    assert torch.equal(weights(three), weights(two))
    assert "test/accuracy" in three.metrics
    assert "test/accuracy" not in two.metrics
    predicted = three.predict(splits[1][0])
    assert three.metrics["val/accuracy"] == (predicted == splits[1][1]).mean()


def test_sample_weights_count_like_a_column_of_weights():
    sample_weight = RNG.integers(1, 5, 60)
    frame = pd.DataFrame(X, columns=NAMES).assign(w=sample_weight)
    runs = [
        fit(X, CLASSES, sample_weight=sample_weight),
        fit(frame.drop(columns="w"), CLASSES, sample_weight=frame["w"]),
        fit(frame, CLASSES, overrides=["dataset.weight_column=w"]),
        fit((*((X[r], CLASSES[r], sample_weight[r]) for r in (slice(40), slice(40, 60))),)),
    ]
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert torch.equal(weights(runs[0]), weights(runs[2]))
    assert not torch.equal(weights(runs[0]), weights(fit(X, CLASSES)))
    assert runs[3].status == "done"


def test_options_for_columns_apply_to_arrays():
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    run = fit(gaps, CLASSES, overrides=["dataset.missing=impute", "dataset.ignore=[x3]"])
    assert run.preprocessing.feature_names == ("x1", "x2", "x2 missing")
    frame = fit(
        pd.DataFrame(gaps, columns=NAMES),
        CLASSES,
        overrides=["dataset.missing=impute", "dataset.ignore=[x3]"],
    )
    assert torch.equal(weights(run), weights(frame))


def test_a_categorical_column_is_a_category_whatever_it_contains():
    frame = pd.DataFrame({"zip": pd.Categorical(np.arange(60) % 30 + 501), "x": X[:, 0]})
    run = fit(frame, CLASSES)
    assert run.preprocessing.feature_names[:2] == ("zip=501", "zip=502")
    new = pd.DataFrame({"zip": pd.Categorical([501, 7]), "x": [0.0, 1.0]})
    np.testing.assert_array_equal(
        run.predict_proba(new), run.predict_proba(new.assign(zip=["501", "other"]))
    )


# The folder of a run


@pytest.mark.slow
def test_commands_work_on_the_folder_wherever_it_is(monkeypatch, capsys):
    draw_only(monkeypatch, "curves", "decision")
    frame = mixed_frame()
    run = mlplab.fit(frame, "y", [*QUICK, "tracking=full"], folder="first")
    frame.to_csv("new.csv", index=False)
    Path("elsewhere").mkdir()
    shutil.move("first", "elsewhere/run")
    for line in (
        ["evaluate", "elsewhere/run"],
        ["evaluate", "elsewhere/run", "new.csv"],
        ["predict", "elsewhere/run", "new.csv", "-o", "answers.csv"],
        ["report", "elsewhere/run"],
        ["rerun", "elsewhere/run", "--check", "--out", "again"],
        ["rerun", "again", "seed=1", "--out", "other"],
        ["export", "elsewhere/run", "--format", "torch"],
    ):
        assert main(line) == 0, line
    answers = pd.read_csv("answers.csv")["prediction"]
    np.testing.assert_array_equal(answers, run.predict(frame))
    assert mlplab.load("again").settings.dataset.data_hash == collect(frame, "y").sha256


@pytest.mark.parametrize("y", [CLASSES, VALUES], ids=["classes", "values"])
def test_a_longer_run_resumes_to_the_same_weights(y):
    longer = fit(X, y, overrides=["training.epochs=4"])
    by_command, by_python = (fit(X, y, folder=name) for name in ("one", "two"))
    assert main(["resume", str(by_command.folder), "training.epochs=4"]) == 0
    assert main(["resume", str(by_command.folder), "training.epochs=1"]) == 2  # it has 4
    again = mlplab.fit(X, y, ["training.epochs=4"], resume=by_python.folder)
    assert torch.equal(weights(again), weights(longer))
    assert torch.equal(weights(mlplab.load("one")), weights(longer))


def test_large_data_is_not_stored_but_passed_again(monkeypatch, capsys):
    monkeypatch.setattr(in_memory, "MAX_STORED_BYTES", 1000)
    run = fit(X, CLASSES, folder="run")
    assert not (run.folder / FILE).exists()
    assert mlplab.load("run").predict(X).shape == (60,)
    assert main(["resume", "run", "training.epochs=4"]) == 2
    assert "mlplab.fit(X, y, resume='run')" in capsys.readouterr().err
    with pytest.raises(DataError, match="not the data that the run was trained on"):
        mlplab.fit(X + 1, CLASSES, ["training.epochs=4"], resume="run")
    again = mlplab.fit(X, CLASSES, ["training.epochs=4"], resume="run")
    assert again.summary["epochs"] == 4
    assert torch.equal(weights(again), weights(fit(X, CLASSES, overrides=["training.epochs=4"])))


def test_the_same_data_has_the_same_hash_and_other_data_another():
    first = collect(X, CLASSES)
    assert first.sha256 == collect(X.tolist(), CLASSES.tolist()).sha256
    for other in (
        collect(X[::-1], CLASSES),
        collect(X.astype(np.float32), CLASSES),
        collect(X, CLASSES[::-1]),
        collect(X, CLASSES, np.ones(60)),
        collect(((X[:40], CLASSES[:40]), (X[40:], CLASSES[40:]))),
    ):
        assert other.sha256 != first.sha256


def test_the_data_is_a_copy():
    features = X.copy()
    run = fit(features, CLASSES)
    features[:] = 0
    np.testing.assert_array_equal(run.settings.dataset.data().x_NF, X)


COLUMNS = {
    "float32": pd.Series(np.float32([0.1, np.nan, -0.0])),
    "int8": pd.Series([1, -2, 3], dtype="int8"),
    "uint64": pd.Series([2**63, 1, 2], dtype="uint64"),
    "Int64 with a gap": pd.Series([2**40, None, 3], dtype="Int64"),
    "decimal": pd.Series([1, 2.5, None], dtype=object),
    "bool": pd.Series([True, False, True]),
    "boolean with a gap": pd.Series([True, None, False], dtype="boolean"),
    "object of bool": pd.Series([True, None, False], dtype=object),
    "str": pd.Series(["a", None, "ü\0"]),
    "string[pyarrow]": pd.Series(["a", None, ""], dtype="string[pyarrow]"),
    "int64[pyarrow]": pd.Series([1, None, 3], dtype="int64[pyarrow]"),
    "timestamp[pyarrow]": pd.Series(
        pd.to_datetime(["2020-01-01 10:00", None, "1999-12-31 00:00"]),
        dtype="timestamp[us][pyarrow]",
    ),
    "category": pd.Series([3, None, 1], dtype="category"),
    "time zone": pd.Series(
        pd.to_datetime(["2020-06-01 10:00", None, "2020-01-01 00:00"])
    ).dt.tz_localize("Asia/Seoul"),
    "dates": pd.Series([datetime.date(2020, 1, 2), None, datetime.date(1066, 10, 14)]),
    "empty": pd.Series([None, None, None], dtype=object),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_stored_exactly(name, tmp_path):
    data = InMemoryData(None, {"c": store_series(COLUMNS[name], "c")})
    data.save(tmp_path / FILE)
    loaded = InMemoryData.load(tmp_path / FILE, data.sha256)
    before, after, expected = data.frame()["c"], loaded.frame()["c"], COLUMNS[name]
    pd.testing.assert_series_equal(before, after)
    assert before.isna().tolist() == expected.isna().tolist()
    assert loaded.columns["c"].empty().tolist() == expected.isna().tolist()
    for cell, wanted in zip(before.dropna(), expected.dropna(), strict=True):
        if name in ("time zone", "dates"):
            assert pd.Timestamp(cell) == pd.Timestamp(wanted).tz_localize(None)
        else:
            assert cell == (str(wanted) if name == "category" else wanted)
    if isinstance(expected.dtype, np.dtype) and expected.dtype.kind in "iuf":
        assert before.dtype == expected.dtype


class Frame:
    """A frame as other libraries have it, lazy or not."""

    def __init__(self, frame: pd.DataFrame, is_lazy: bool = False) -> None:
        self.frame = frame
        if is_lazy:
            self.lazy, self.collect = None, lambda: Frame(frame)
        else:
            self.to_pandas = lambda: frame


def test_frames_of_other_libraries_are_those_of_pandas():
    frame = pd.DataFrame(X, columns=NAMES).assign(kind=np.where(CLASSES[0] == CLASSES, "a", "b"))
    table = pa.Table.from_pandas(frame)
    target = pd.Series(CLASSES, name="y")
    chunks = pa.chunked_array([pa.array(target[:20]), pa.array(target[20:])])
    run = fit(frame, target, folder="run")
    expected = collect(frame, target).sha256
    others = {
        "Arrow table": (table, chunks),
        "Arrow batch": (table.combine_chunks().to_batches()[0], pa.array(target)),
        "frame": (Frame(frame), Frame(target)),
        "lazy frame": (Frame(frame, is_lazy=True), target),
    }
    for name, (features, y) in others.items():
        assert collect(features, y).sha256 == expected, name
        assert run.predict(features).tolist() == run.predict(frame).tolist(), name


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x1": X[:, 0], "kind": np.where(X[:, 1] > 0, "a", "b")})
    target = polars.Series("y", CLASSES)
    run = fit(frame, target, folder="run")
    categorical = frame.with_columns(polars.col("kind").cast(polars.Categorical))
    for same in (frame, frame.lazy(), categorical):
        assert run.predict(same).tolist() == run.predict(frame.to_pandas()).tolist()
    assert fit(frame.with_columns(y=target), "y").predict(frame).shape == (60,)
    assert fit(frame, target, sample_weight=polars.Series(np.ones(60))).status == "done"


def test_other_bytes_are_refused(tmp_path):
    data = collect(X, CLASSES)
    data.save(tmp_path / FILE)
    with pytest.raises(DamagedFileError, match="other data"):
        InMemoryData.load(tmp_path / FILE, "0" * 64)
    collect(X, CLASSES[::-1]).save(tmp_path / FILE)
    with pytest.raises(DamagedFileError, match=r"Restore the file from a copy\.$"):
        InMemoryData.load(tmp_path / FILE, data.sha256)


# Invalid input


FRAME = pd.DataFrame(X, columns=NAMES)
EMPTY_TARGET = [*CLASSES[:-1], None]
REFUSE = ["dataset.missing=refuse"]
INVALID = {
    "too few targets": ((X, CLASSES[1:]), r"60 row\(s\), but y has the shape \[59\]"),
    "too few weights": ((X, CLASSES, [], np.ones(3)), r"sample_weight has the shape \[3\]"),
    "no rows": ((X[:0], CLASSES[:0]), "needs rows and columns"),
    "no columns": ((X[:, :0], CLASSES), "needs rows and columns"),
    "images": ((X.reshape(20, 3, 3), np.arange(20)), "X.reshape"),
    "ragged": (([[1, 2], [3]], [0, 1]), "different lengths"),
    "a number": ((3.0, 4.0), r"shape \[\]"),
    "one class": ((X, ["a"] * 60), "all 60 rows are of one class, 'a'"),
    "all different": ((X, [f"c{i}" for i in range(60)]), "too many for classes"),
    "NaN in X": ((np.where(X > 2, np.nan, X), CLASSES, REFUSE), "dataset.missing=impute"),
    "infinity in X": ((np.where(X > 2, np.inf, X), CLASSES), "is not finite"),
    "NaN in y": ((X, [*VALUES[:-1], np.nan], REFUSE), "target 'y', row 60: the cell is empty"),
    "None in y": ((X, EMPTY_TARGET, REFUSE), "target 'y', row 60: the cell is empty"),
    "None in y of a frame": (
        (FRAME, EMPTY_TARGET, REFUSE),
        "target 'y', row 60: the cell is empty",
    ),
    "infinity in y": ((X, [*VALUES[:-1], np.inf]), "is not finite"),
    "strings in X": ((X.astype(str), CLASSES), "pandas data frame"),
    "objects in X": ((np.array([[1, "a"]] * 60, object), CLASSES), "pandas data frame"),
    "complex X": ((X + 1j, CLASSES), "X is an array of type complex128"),
    "complex y": ((X, VALUES + 1j), "complex128"),
    "objects in y": ((X, [object()] * 60), "type object"),
    "mixed y": ((X, ["a", 1] * 30), r"several types, such as 'a' \(text\) and 1 \(number\)"),
    "mixed column": (
        (FRAME.assign(m=["a", 1] * 30), CLASSES),
        r"X, column 'm', has cells of several types",
    ),
    "lists in a column": ((FRAME.assign(m=[[1]] * 60), CLASSES), "column 'm', is of type list"),
    "durations": ((FRAME.assign(m=pd.Timedelta("1h")), CLASSES), "'m', is of type Timedelta"),
    "free text": ((FRAME.assign(m=[f"t{i}" for i in range(60)]), CLASSES), "dataset.ignore"),
    "duplicate columns": (
        (pd.DataFrame(X, columns=["a", "b", "a"]), CLASSES),
        "several columns named 'a'",
    ),
    "duplicate names as text": ((pd.DataFrame(X, columns=[1, "1", 2]), CLASSES), "named '1'"),
    "target in X": ((FRAME.assign(y=CLASSES), CLASSES), "X has a column 'y', which is also"),
    "unknown column": ((FRAME, "x9"), "X has no target 'x9'. Did you mean 'x"),
    "column of an array": ((X, "y"), "whose columns have no names"),
    "no y": ((X,), "y must be the targets"),
    "y twice": ((X, CLASSES, ["dataset.target=x1"]), "leave out one"),
    "text as values": ((X, CLASSES, ["dataset.task=regression"]), "must be numbers"),
    "several classes": (
        (X, np.stack([CLASSES, CLASSES], 1), ["dataset.task=classification"]),
        "several targets",
    ),
    "negative weights": ((X, CLASSES, [], -np.ones(60)), "'-1.0' is not a valid weight"),
    "two columns of weights": ((X, CLASSES, [], np.ones((60, 2))), "one value per row"),
    "weights in X": (
        (FRAME.assign(sample_weight=1.0), CLASSES, [], np.ones(60)),
        "X has a column 'sample_weight'",
    ),
    "one split": ((((X, CLASSES),),), "tuple of two or three pairs"),
    "rows without y": ((tuple(X.tolist()),), "tuple of two or three pairs"),
    "other columns in val": (((FRAME, CLASSES), (FRAME[["x1"]], CLASSES)), "splits differ in X"),
    "other kind in val": (((FRAME, CLASSES), (X, CLASSES)), "splits differ in X"),
    "y for train only": (((FRAME, CLASSES), (FRAME, "x1")), "splits differ in y"),
    "too small": ((FRAME[:2], CLASSES[:2]), "at least 3 are needed"),
    "another dataset": ((X, CLASSES, ["dataset=iris"]), "dataset"),
    "unknown key": ((X, CLASSES, ["dataset.noise=1"]), "noise"),
    "loss": ((X, CLASSES, ["loss=mse"]), "does not fit"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_input_is_refused_in_one_paragraph(name):
    arguments, message = INVALID[name]
    if isinstance(arguments[0], tuple) and len(arguments) == 2 and name.endswith(("val", "only")):
        arguments = (arguments,)  # a tuple of splits
    given = dict(zip(("X", "y", "overrides", "sample_weight"), arguments, strict=False))
    given["overrides"] = [*QUICK, *given.get("overrides", [])]
    with pytest.raises(MlplabError, match=message) as error:
        mlplab.fit(**given)
    assert "\n" not in str(error.value)
    assert not Path("outputs").exists()


def test_the_command_line_has_no_arrays(capsys):
    assert main(["train", "dataset=arrays"]) == 2
    assert "mlplab.fit(X, y)" in capsys.readouterr().err


def test_a_resumed_run_is_the_same_training():
    run = fit(X, CLASSES, folder="run")
    with pytest.raises(ConfigError, match="different training"):
        mlplab.fit(X, CLASSES, ["optimizer.lr=1"], resume=run.folder)
    other = mlplab.run([*QUICK, "dataset=iris"])
    with pytest.raises(DataError, match="leave dataset="):
        mlplab.fit(X, CLASSES, resume=other.folder)


def test_the_hash_is_recorded_as_for_other_data():
    first, second = fit(X, CLASSES, folder="a"), fit(X, CLASSES, folder="b")
    hashes = [
        json.loads((r.folder / "provenance.json").read_text())["data_hash"] for r in (first, second)
    ]
    assert hashes[0] == hashes[1] != ""
    assert torch.equal(weights(first), weights(second))


@pytest.mark.slow
def test_the_example_of_the_documentation(capsys, monkeypatch):
    draw_only(monkeypatch, "decision")
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    [code] = [c for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "mlplab.fit" in c]
    names: dict[str, object] = {}
    exec(compile(code, "files.md", "exec"), names)  # our own file
    assert names["longer"].summary["epochs"] == 150
    accuracy, *classes = capsys.readouterr().out.splitlines()[0].split()
    assert float(accuracy) > 0.9
    assert classes == ["[", "True", "True", "False]"]

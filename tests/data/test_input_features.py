"""Input features computed from columns: names, values, scaling, storage, export, pictures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlplab
from mlplab.data.input_features import FUNCTIONS, InputFeatures, resolve
from mlplab.data.preparation.examples import prepare, prepare_folds
from mlplab.data.preparation.registry import DATASETS
from mlplab.errors import DataError, FieldError
from mlplab.model.preprocessing import Preprocessing
from mlplab.validation import KFold

QUICK = ["training.epochs=2", "tracking=summary", "model.hidden=[4]"]
FEATURES = ["x1", "x2", "x1_squared", "x1_x2", "sin_x1"]


def expected(x):
    a, b = x[:, 0], x[:, 1]
    return np.stack([a, b, a**2, a * b, np.sin(a)], 1)


@pytest.mark.parametrize(
    ("name", "columns", "function", "operands"),
    [
        ("x1", ["x1", "x2"], "column", ["x1"]),
        ("x1_squared", ["x1", "x2"], "squared", ["x1"]),
        ("x1_squared", ["x1", "x1_squared"], "column", ["x1_squared"]),
        ("x1_squared_cubed", ["x1", "x1_squared"], "cubed", ["x1_squared"]),
        ("sin_x1", ["x1", "x2"], "sin", ["x1"]),
        ("sin_x1", ["x1", "sin_x1"], "column", ["sin_x1"]),
        ("sin__x1", ["x1", "sin"], "sin", ["x1"]),
        ("x2_x1", ["x1", "x2"], "product", ["x2", "x1"]),
        ("a_b_c", ["a", "b_c"], "product", ["a", "b_c"]),
        ("a__b_c", ["a", "b_c", "a_b", "c"], "product", ["a", "b_c"]),
        ("a_b__c", ["a", "b_c", "a_b", "c"], "product", ["a_b", "c"]),
        ("petal_width_cm_squared", ["petal width (cm)"], "squared", ["petal width (cm)"]),
        ("exp_pixel_0_1", ["pixel_0_0", "pixel_0_1"], "exp", ["pixel_0_1"]),
        ("log_größe", ["größe"], "log", ["größe"]),
    ],
)
def test_a_name_stands_for_one_formula(name, columns, function, operands):
    formula = resolve(name, columns, "the table")
    assert (formula.function, list(formula.operands)) == (function, operands)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("x1_sqared", ["x1", "x2"], "Did you mean 'x1_squared'?"),
        ("Sin_x2", ["x1", "x2"], "Did you mean 'sin_x2'?"),
        ("x1_X2", ["x1", "x2"], "Did you mean 'x1_x2'?"),
        ("width", ["x1", "x2"], "Columns of numbers: x1, x2."),
        ("a_b_c", ["a", "b_c", "a_b", "c"], "may be product of a and b_c or product of a_b and c"),
        ("sin_x1", ["sin", "x1"], "may be sin of x1 or product of sin and x1"),
        ("a b_squared", ["a b", "a.b"], "a b_squared"),
    ],
)
def test_other_names_are_refused_with_the_nearest(name, columns, message):
    if name == "a b_squared":  # two columns share the spelling a_b; their own names still work
        assert resolve(name, columns, "the table").operands == ("a b",)
        name, message = "a_b_squared", "has no column 'a_b_squared'"
    with pytest.raises(DataError) as refusal:
        resolve(name, columns, "the table")
    assert message in str(refusal.value)


@given(
    st.lists(st.from_regex(r"[a-z]{1,3}(_[a-z]{1,3})?", fullmatch=True), unique=True, min_size=1)
)
@settings(deadline=None, max_examples=15)
def test_every_suggestion_is_a_feature(columns):
    for wrong in (f"{columns[0]}_squarred", f"sinn_{columns[-1]}", f"{columns[0]}__{columns[-1]}s"):
        try:
            resolve(wrong, columns, "the table")
        except DataError as error:
            suggested = str(error).partition("Did you mean '")[2].partition("'")[0]
            if suggested:
                assert resolve(suggested, columns, "the table").name == suggested


def test_features_are_scaled_as_the_train_split_has_them():
    dataset = DATASETS["xor"](num_samples=100, features=FEATURES)
    plain = prepare(DATASETS["xor"](num_samples=100, scaling="none"), 3, True)
    prepared = prepare(dataset, 3, True)
    assert prepared.feature_names == tuple(FEATURES)
    assert prepared.data_hash == plain.data_hash
    raw = expected(plain.train.x)
    for split in ("train", "val", "test"):
        wanted = (expected(getattr(plain, split).x) - raw.mean(0)) / raw.std(0)
        np.testing.assert_allclose(getattr(prepared, split).x, wanted, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(getattr(prepared, split).columns, getattr(plain, split).x)


def test_each_fold_computes_features():
    folds = prepare_folds(DATASETS["iris"](features=["petal_width_cm_squared"]), 0, KFold(4), True)
    for fold in folds:
        assert fold.train.x.shape == (len(fold.train.columns), 1)
        real = fold.train.real()
        np.testing.assert_allclose(
            fold.feature_scaler.invert(real.x)[:, 0], real.columns[:, 3] ** 2, rtol=1e-12
        )


@pytest.mark.parametrize("features", [["x1", "x1"], "x1", [1, 2]])
def test_a_list_of_different_names_is_required(features):
    with pytest.raises(FieldError):
        DATASETS["xor"](features=features).check()


def test_a_function_is_refused_where_it_is_not_defined():
    with pytest.raises(DataError, match=r"'log_x2' of x2 = .* log takes numbers above 0"):
        prepare(DATASETS["xor"](features=["x1", "log_x2"]), 0, True)


def mixed_table(path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.uniform(1, 5, 120),
            "b_c": rng.normal(size=120),
            "k": rng.choice(["u", "v", "w"], 120),
            "on": rng.random(120) < 0.5,
        }
    )
    frame["y"] = frame.a**2 + frame.b_c
    frame.loc[rng.random(120) < 0.1, "a"] = np.nan
    frame.to_csv(path, index=False)
    return frame


def test_a_table_has_features_of_its_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = mixed_table(tmp_path / "t.csv")
    table = [
        "experiment=null",
        "dataset=file",
        "dataset.path=t.csv",
        "dataset.missing=impute",
        *QUICK,
    ]
    run = mlplab.run([*table, "dataset.features=[k,a_squared,a_b_c,log_a]"])
    assert run.preprocessing.feature_names == ("k=u", "k=v", "k=w", "a_squared", "a_b_c", "log_a")
    filled = frame.a.fillna(run.preprocessing.encoder.columns[1].fill)
    raw = run.preprocessing.feature_scaler.invert(run.preprocessing.features(frame))
    np.testing.assert_allclose(raw[:, 3:].T, [filled**2, filled * frame.b_c, np.log(filled)])
    assert set(np.unique(raw[:, :3])) == {0.0, 1.0}
    again = mlplab.load(run.folder)
    np.testing.assert_array_equal(again.predict(frame), run.predict(frame))
    for wrong, message in (
        ("k_squared", "which is a category"),
        ("a_on", "which is a boolean"),
        ("y_squared", "has no column 'y_squared'"),
        ("log_b_c", "log takes numbers above 0"),
    ):
        with pytest.raises(DataError, match=message):
            mlplab.run([*table, f"dataset.features=[a,{wrong}]"])
    with pytest.raises(DataError, match=r"dataset\.scaling=standard"):
        mlplab.run([*table, "dataset.features=[a_squared]", "dataset.scaling=quantile"])


def test_a_run_takes_the_columns_of_its_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    run = mlplab.fit(
        x, x[:, 0] ** 2, ["dataset.features=[x1_squared,x3]", *QUICK], folder=tmp_path / "run"
    )
    again = mlplab.load(run.folder)
    assert again.preprocessing.column_names == ("x1", "x2", "x3")
    np.testing.assert_array_equal(again.predict(x), run.predict(x))
    np.testing.assert_array_equal(
        again.predict(pd.DataFrame(x, columns=["x1", "x2", "x3"])), run.predict(x)
    )
    with pytest.raises(DataError, match="takes rows of 3"):
        run.predict(x[:, :2])


def test_the_stored_form_has_a_version_and_is_checked():
    prepared = prepare(DATASETS["xor"](num_samples=60, features=FEATURES), 0, True)
    text = Preprocessing.of(prepared).to_json()
    assert Preprocessing.from_json(text).input_features == prepared.input_features
    fields = json.loads(text)
    assert fields["version"] == 2
    for damage in (
        {"version": 9},
        {"input_features": {**fields["input_features"], "formulas": [["column", [0]]]}},
        {"input_features": {**fields["input_features"], "formulas": [["eval", [0]]] * 5}},
        {"input_features": {**fields["input_features"], "formulas": [["column", [2]]] * 5}},
        {"input_features": {**fields["input_features"], "ranges": []}},
    ):
        with pytest.raises(ValueError, match=r"version|input features"):
            Preprocessing.from_json(json.dumps(fields | damage))
    without = prepare(DATASETS["xor"](num_samples=60), 0, True)
    assert "version" not in json.loads(Preprocessing.of(without).to_json())


def test_every_function_has_its_formula():
    x = np.array([[0.5], [1.5], [2.0]])
    formulas = [resolve(f"a__{f}", ["a"], "t") for f in ("squared", "cubed")]
    formulas += [
        resolve(f"{f}__a", ["a"], "t") for f in ("sin", "cos", "tanh", "abs", "exp", "log", "sqrt")
    ]
    assert {formula.function for formula in formulas} == set(FUNCTIONS)
    a = x[:, 0]
    wanted = [a**2, a**3, np.sin(a), np.cos(a), np.tanh(a), a, np.exp(a), np.log(a), np.sqrt(a)]
    features = InputFeatures.of(formulas, ["a"], x)
    np.testing.assert_allclose(features.apply(x, "t").T, wanted, rtol=1e-14)


def test_pictures_stay_on_the_plane_of_the_columns(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from mlplab.playback.revisit import revisit

    monkeypatch.chdir(tmp_path)
    overrides = ["dataset=xor", f"dataset.features=[{','.join(FEATURES)}]", "training.epochs=2"]
    run = mlplab.run([*overrides, "dataset.num_samples=60", "tracking=scalars"])
    _, study = revisit(run.folder, needs_frames=False)
    assert study.plane.names == ("x1", "x2")
    points = study.points("train")
    raw = prepare(DATASETS["xor"](num_samples=60, scaling="none"), run.settings.seed, True)
    np.testing.assert_allclose(study.positions(points), raw.train.x, atol=1e-12)
    centers = np.stack([v.ravel() for v in np.meshgrid(*study.plane.cell_centers(5))], 1)
    np.testing.assert_allclose(study.plane.grid(5), run.preprocessing.features(centers))


def test_a_class_of_more_columns_is_drawn_on_their_components(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from mlplab.pictures.gallery.hidden import hidden
    from mlplab.playback.revisit import revisit

    monkeypatch.chdir(tmp_path)
    features = "[petal_length_cm,petal_width_cm_squared]"
    run = mlplab.run(
        ["dataset=iris", f"dataset.features={features}", "training.epochs=2", "tracking=scalars"]
    )
    _, study = revisit(run.folder, needs_frames=False)
    assert study.plane.note.startswith("4 columns projected")
    assert np.isfinite(study.plane.grid(5)).all()
    assert hidden(study, 0) is not None

"""What `mlplab explain` says, against closed forms, scikit-learn, and data with planted effects.

Shapes: N rows, R columns.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.inspection import partial_dependence, permutation_importance

import mlplab
from mlplab.cli import main
from mlplab.data.preparation.raw_rows import RawRows
from mlplab.errors import DamagedFileError
from mlplab.explain.attribution import attribute
from mlplab.explain.columns_scorer import ColumnsScorer
from mlplab.explain.dependence import dependence
from mlplab.explain.explanation import explain
from mlplab.explain.importance import correlated_groups, cramers_v, importances
from mlplab.explain.slices import worst_slices
from mlplab.explain.stored import read_explanation
from mlplab.runs.raw_split import raw_rows_of_run
from mlplab.training import prepare_members


def table(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, num_rows).astype(float),
            "income": rng.normal(50, 15, num_rows).round(2),
            "town": rng.choice(["Seoul", "Busan", "Daegu"], num_rows),
            "member": rng.random(num_rows) < 0.4,
            "joined": pd.Timestamp("2015-01-01")
            + pd.to_timedelta(rng.integers(0, 3000, num_rows), unit="D"),
            "noise": rng.random(num_rows),
        }
    )
    frame["spending"] = frame["income"] + rng.normal(0, 1, num_rows)
    z = 0.08 * (frame["age"] - 49) + 0.1 * (frame["income"] - 50) + 1.5 * (frame["town"] == "Seoul")
    frame["y"] = np.where(rng.random(num_rows) < 1 / (1 + np.exp(-z)), "yes", "no")
    frame.loc[rng.random(num_rows) < 0.05, "age"] = np.nan
    return frame


OVERRIDES = [
    "dataset.missing=impute",
    "training.epochs=15",
    "optimizer.lr=0.02",
    "tracking=summary",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return mlplab.fit(table(500), "y", OVERRIDES, folder=tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture
def linear(tmp_path):
    """A network of one affine layer, y = 3 x1 - 2 x2, and rows that it predicts exactly."""
    x_NR = np.random.default_rng(1).normal(size=(400, 3))
    y = 3 * x_NR[:, 0] - 2 * x_NR[:, 1]
    overrides = ["experiment=null", "model.hidden=[]", "dataset.scaling=none"]
    overrides.append("dataset.target_scaling=none")
    fitted = mlplab.fit(x_NR, y, [*overrides, "training.epochs=1"], folder=tmp_path / "linear")
    fitted.model.theta_KP[:] = torch.tensor([3.0, -2.0, 0.0, 0.0])
    rows = RawRows({f"x{i + 1}": x_NR[:, i] for i in range(3)}, y[:, None], "x")
    return fitted.model, rows


def test_importances_of_a_linear_function_have_a_closed_form(linear):
    """The mean square of w (x - x') is 2 w^2 var(x)."""
    model, rows = linear
    scorer = ColumnsScorer([model], rows)
    results = importances(
        scorer, [(name,) for name in scorer.names], "rmse", 30, np.random.default_rng(0)
    )
    values = {one.name: one for one in results}
    for name, weight in (("x1", 3), ("x2", 2)):
        expected = np.sqrt(2 * weight**2 * rows.columns[name].var())
        assert values[name].value == pytest.approx(expected, rel=0.02)
        assert values[name].low < expected < values[name].high
    assert values["x3"].low == values["x3"].value == values["x3"].high == 0
    joint = importances(scorer, [("x1", "x2")], "rmse", 30, np.random.default_rng(0))[0]
    assert joint.value == pytest.approx(np.sqrt(2 * rows.y.var()), rel=0.02)


def test_partial_dependence_of_a_linear_function_is_its_line(linear):
    model, rows = linear
    one = dependence(ColumnsScorer([model], rows), "x1", np.arange(len(rows)))
    expected = 3 * np.array(one.values) - 2 * rows.columns["x2"].mean()
    np.testing.assert_allclose(one.mean[:, 0], expected, rtol=1e-10)


def test_values_agree_with_scikit_learn(run):
    rows = raw_rows_of_run(run.folder, run.settings, "train")
    frame = pd.DataFrame(dict(rows.columns))

    class Wrapped:
        _estimator_type = "classifier"
        classes_ = np.array([0, 1])

        def __sklearn_tags__(self):
            from sklearn.base import BaseEstimator, ClassifierMixin

            class Empty(ClassifierMixin, BaseEstimator):
                pass

            return Empty().__sklearn_tags__()

        def fit(self, x, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, x):
            return run.predict_proba(x)

    theirs = permutation_importance(
        Wrapped(), frame, rows.y, scoring="neg_log_loss", n_repeats=10, random_state=0
    )
    scorer = ColumnsScorer([run.model], rows)
    ours = {
        one.name: one
        for one in importances(
            scorer, [(name,) for name in scorer.names], "log_loss", 10, np.random.default_rng(0)
        )
    }
    for name, mean in zip(frame.columns, theirs.importances_mean, strict=True):
        assert ours[name].low - 0.01 <= mean <= ours[name].high + 0.01
    one = dependence(scorer, "income", np.arange(len(rows)))
    reference = partial_dependence(
        Wrapped(), frame, ["income"], custom_values={"income": np.array(one.values)}, kind="average"
    )
    np.testing.assert_allclose(one.mean[:, 1], reference["average"][0], rtol=1e-7)


def test_permuting_encoded_features_is_permuting_the_cells(run):
    rows = raw_rows_of_run(run.folder, run.settings, "test")
    scorer = ColumnsScorer([run.model], rows)
    frame = pd.DataFrame(dict(rows.columns))
    np.testing.assert_array_equal(scorer.scores, run.predict_proba(frame))
    order_N = np.random.default_rng(2).permutation(len(rows))
    for name in scorer.names:
        changed = frame.assign(**{name: frame[name].to_numpy()[order_N]})
        np.testing.assert_array_equal(scorer.permuted([name], order_N), run.predict_proba(changed))


def test_the_rows_of_a_split_are_those_of_the_training(run):
    prepared = prepare_members([run.settings])[0].prepared
    for split in ("train", "val", "test"):
        rows = raw_rows_of_run(run.folder, run.settings, split)
        features = run.preprocessing.features(pd.DataFrame(dict(rows.columns)))
        np.testing.assert_array_equal(features, getattr(prepared, split).x)
        np.testing.assert_array_equal(rows.y, getattr(prepared, split).y)


def test_what_matters_is_distinguished_from_noise(run):
    explanation = run.explain("train", num_dependences=7)
    values = {one.name: one for one in explanation.importances}
    assert values["age"].low > 0
    assert explanation.importances[-1].name in ("noise", "joined", "member")
    assert [one.columns for one in explanation.correlated] == [("income", "spending")]
    joint = explanation.correlated[0].value
    assert joint > max(values["income"].value, values["spending"].value)
    assert {one.column for one in explanation.dependences} == set(values)
    kinds = {one.column: one.kind for one in explanation.dependences}
    assert kinds["town"] == "category"
    assert kinds["joined"] == "date"
    assert kinds["member"] == "boolean"
    assert run.explain("train").to_json() == run.explain("train").to_json()


def rows_with_errors(seed, planted, num_rows=1500):
    rng = np.random.default_rng(seed)
    frame = table(num_rows, seed)
    error_N = (rng.random(num_rows) < 0.15).astype(float)
    inside = (frame["town"] == "Seoul") & (frame["age"] < 40)
    if planted:
        error_N[inside] = rng.random(inside.sum()) < 0.5
    columns = {name: frame[name] for name in frame.columns if name != "y"}
    return RawRows(columns, error_N, "x"), error_N, inside.to_numpy()


def test_a_planted_slice_is_recognized():
    rows, error_N, inside_N = rows_with_errors(0, planted=True)
    worst = worst_slices(rows, error_N, np.random.default_rng(0))[0]
    assert worst.error == pytest.approx(error_N[inside_N].mean(), abs=0.15)
    assert any("town=Seoul" in condition for condition in worst.conditions)
    assert any("age<" in condition for condition in worst.conditions)


def test_slices_of_pure_noise_are_rare():
    """At a false discovery rate of 5 %, one of twenty tables of noise names a slice."""
    named = sum(
        bool(worst_slices(rows, error_N, np.random.default_rng(seed)))
        for seed in range(40)
        for rows, error_N, _ in [rows_with_errors(seed, planted=False, num_rows=400)]
    )
    assert named <= 6  # 40 draws of 5 %: more than 6 in 1.4 % of the cases


def test_few_rows_have_no_slices():
    rows, error_N, _ = rows_with_errors(0, planted=True, num_rows=60)
    assert worst_slices(rows, error_N, np.random.default_rng(0)) == []


def test_correlated_columns_are_grouped(linear):
    model, rows = linear
    columns = {**rows.columns, "x3": rows.columns["x1"] ** 3}
    scorer = ColumnsScorer([model], RawRows(columns, rows.y, "x"))
    assert correlated_groups(scorer) == [("x1", "x3")]


def test_the_command_writes_what_it_prints(run, capsys):
    assert main(["explain", str(run.folder), "--curves", "3", "--repeats", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("100 rows of the test split, log_loss 0.")
    assert lines[-1].endswith("explain.png")
    stored = json.loads((run.folder / "explain.json").read_text())
    assert stored["format"] == "mlplab-explain-1"
    first = stored["importances"][0]
    assert any(line.startswith(first["columns"][0]) for line in lines)
    assert (run.folder / "pictures" / "explain.png").stat().st_size > 10_000
    assert main(["explain", str(run.folder), "--json", "--dark", "--repeats", "4"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(run.folder)
    assert document["metric"] == "log_loss"
    assert (run.folder / "pictures" / "explain-dark.png").is_file()


def test_a_file_is_explained_like_the_rows_it_holds(run, tmp_path, capsys):
    table(200, seed=5).to_csv(tmp_path / "later.csv", index=False)
    arguments = [str(run.folder), str(tmp_path / "later.csv"), "--repeats", "2", "--curves", "0"]
    assert main(["explain", *arguments, "--metric", "accuracy"]) == 0
    assert capsys.readouterr().out.startswith(f"200 rows of {tmp_path / 'later.csv'}, accuracy 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "acuracy"], "Did you mean `accuracy`?"),
        (["--group", "age,incom"], "no column 'incom'. Did you mean `income`?"),
        (["--repeats", "0"], "--repeats 0: at least 1"),
        (["--seed", "-1"], "not negative"),
    ],
)
def test_wrong_arguments_are_refused(run, arguments, message, capsys):
    assert main(["explain", str(run.folder), *arguments]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_sweep_needs_a_file(tmp_path, capsys):
    folder = tmp_path / "sweep"
    overrides = ["dataset=moons", "training.epochs=2", "seeds=2", "tracking=summary"]
    assert main(["train", *overrides, f"hydra.sweep.dir={folder}"]) == 0
    assert main(["explain", str(folder)]) == 2
    assert "name a file with rows and targets" in capsys.readouterr().err.replace("\n", " ")
    preprocessing = mlplab.load(folder / "jobs" / "0").preprocessing
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 2)), columns=["x1", "x2"])
    target = dict.fromkeys(preprocessing.target_names, preprocessing.class_names[0])
    frame.assign(**target).to_csv(tmp_path / "rows.csv", index=False)
    capsys.readouterr()
    assert main(["explain", str(folder), str(tmp_path / "rows.csv"), "--repeats", "2"]) == 0
    assert "100 rows of" in capsys.readouterr().out
    assert (folder / "explain.json").is_file()


def test_several_models_are_explained_by_their_mean(linear):
    model, rows = linear
    one = explain([model], rows, "rows", repeats=2)
    two = explain([model, model], rows, "rows", repeats=2)
    assert two.to_json() == one.to_json()


def test_contributions_of_a_linear_function_have_a_closed_form(linear):
    """Those of y = 3 x1 - 2 x2 are w (x - mean of the drawn rows), without an error of orders."""
    model, rows = linear
    [one] = attribute([model], rows, 5, "the rows")
    assert one.prediction == pytest.approx(rows.y[4, 0])
    values = {contribution.column: contribution for contribution in one.contributions}
    for name, weight in (("x1", 3), ("x2", -2)):
        x_N = rows.columns[name]
        assert values[name].value == pytest.approx(
            weight * (x_N[4] - x_N.mean()), abs=5 * abs(weight) * x_N.std() / np.sqrt(1000)
        )
    assert values["x3"].value == values["x3"].error == 0
    assert one.contributions[0].column == max(values, key=lambda name: abs(values[name].value))


def test_contributions_are_shapley_values_and_add_up(run):
    """Against walks in 700 orders drawn another way."""
    rows = raw_rows_of_run(run.folder, run.settings, "test")
    rows = rows.take(np.arange(12))
    [one] = attribute([run.model], rows, 3, "the rows")
    total = one.mean + sum(contribution.value for contribution in one.contributions)
    assert total == pytest.approx(one.prediction, abs=1e-12)
    expected = run.model.scores(run.preprocessing.features(pd.DataFrame(dict(rows.columns))))
    assert one.prediction == expected[0, 2, 1]
    scorer = ColumnsScorer([run.model], rows)
    others = np.delete(np.arange(12), 2)
    orders = np.array(list(itertools.permutations(range(len(scorer.names)))))
    orders = orders[np.random.default_rng(0).permutation(len(orders))[:700]]
    scores_MSC = scorer.walked(2, np.tile(others, 64)[:700], orders)
    steps_MR = np.diff(scores_MSC[..., 1], axis=1)
    by_column_MR = np.take_along_axis(steps_MR, np.argsort(orders, axis=1), axis=1)
    for r, name in enumerate(scorer.names):
        contribution = next(c for c in one.contributions if c.column == name)
        spread = by_column_MR[:, r].std() / np.sqrt(700) + contribution.error
        assert contribution.value == pytest.approx(by_column_MR[:, r].mean(), abs=5 * spread + 1e-9)


def test_the_command_explains_a_row_without_its_target(run, tmp_path, capsys):
    table(40, seed=2).drop(columns="y").to_csv("new.csv", index=False)
    assert main(["explain", str(run.folder), "new.csv", "--row", "17", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "mlplab-explain-row-1"
    [one] = document["outputs"]
    assert one["output"] == "P(yes)"
    contributions = {c["column"]: c["value"] for c in one["contributions"]}
    assert set(contributions) == set(run.preprocessing.raw_column_names)
    assert one["mean"] + sum(contributions.values()) == pytest.approx(one["prediction"], abs=1e-9)
    probability = run.predict_proba(pd.read_csv("new.csv", parse_dates=["joined"]))[16, 1]
    assert one["prediction"] == pytest.approx(probability, abs=1e-9)
    assert main(["explain", str(run.folder), "new.csv", "--row", "17"]) == 0
    assert capsys.readouterr().out.startswith("P(yes) of row 17, compared with 40 rows of new.csv")
    [again] = run.explain_row(2)
    assert again.row == 2
    for number in ("0", "41"):
        assert main(["explain", str(run.folder), "new.csv", "--row", number]) == 2
        assert "new.csv has the rows 1 to 40" in capsys.readouterr().err
    table(5).drop(columns="y").to_csv("few.csv", index=False)
    assert main(["explain", str(run.folder), "few.csv", "--row", "1"]) == 2
    assert "at least 10 are needed" in capsys.readouterr().err


def test_an_explanation_of_another_version_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "explain.json").write_text('{"format": "mlplab-explain-9", "slices": []}')
    with pytest.raises(DamagedFileError) as caught:
        read_explanation(tmp_path)
    message = str(caught.value)
    assert "its format is 'mlplab-explain-9', and this version of mlplab reads" in message
    assert message.endswith("`mlplab explain` writes it again.")


def test_categories_of_which_one_follows_from_the_other_are_a_group(tmp_path):
    rng = np.random.default_rng(0)
    town = rng.choice(list("abcdefgh"), 300)
    frame = pd.DataFrame({"town": town, "other": rng.choice(list("uvw"), 300)})
    frame["region"] = np.where(frame["town"] < "e", "north", "south")
    frame["y"] = rng.normal(size=300)
    fitted = mlplab.fit(frame, "y", ["training.epochs=1", "tracking=off"], folder=tmp_path / "run")
    columns = {name: frame[name] for name in ("town", "other", "region")}
    scorer = ColumnsScorer([fitted.model], RawRows(columns, frame[["y"]].to_numpy(), "x"))
    assert correlated_groups(scorer) == [("town", "region")]
    codes_N = rng.integers(0, 5, 2000)
    assert cramers_v(codes_N, codes_N) == pytest.approx(1, abs=0.01)
    assert cramers_v(codes_N, rng.integers(0, 3, 2000)) < 0.1
    assert cramers_v(codes_N, np.zeros(2000, np.int64)) == 0

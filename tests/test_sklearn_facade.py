"""The scikit-learn estimators: scikit-learn's checks and tools, and equality with the engine."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_moons, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from tiers import in_campaign

from mlplab import sklearn as ours
from mlplab.training import engine

EPOCHS = {"MLPClassifier": 30, "MLPRegressor": 30}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MLPClassifier", in_campaign("fuzz", "MLPRegressor")])
def test_it_passes_the_checks_of_scikit_learn(name):
    """With the fewest epochs that pass; the campaign compares with scikit-learn's MLP."""
    mine = check_estimator(getattr(ours, name)(epochs=EPOCHS[name]), on_fail=None, on_skip=None)
    assert [check["check_name"] for check in mine if check["status"] == "failed"] == []
    assert sum(check["status"] == "passed" for check in mine) > 40


@pytest.mark.campaign("fuzz")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_it_passes_all_checks_that_scikit_learns_mlp_passes(name):
    mine = check_estimator(getattr(ours, name)(epochs=120), on_fail=None, on_skip=None)
    reference = check_estimator(getattr(theirs, name)(max_iter=20), on_fail=None, on_skip=None)
    status = {check["check_name"]: check["status"] for check in mine}
    assert [name for name, result in status.items() if result == "failed"] == []
    passed = {check["check_name"] for check in reference if check["status"] == "passed"}
    assert {check for check in passed if status.get(check) != "passed"} == set()
    if name == "MLPClassifier":
        assert sum("multilabel" in check for check in passed) == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_multilabel_targets_are_learned():
    X, Y = make_multilabel_classification(600, 10, n_classes=4, random_state=0)
    model = make_pipeline(
        StandardScaler(), ours.MLPClassifier((32,), lr=0.01, epochs=60, random_state=0)
    )
    predicted = model.fit(X[:400], Y[:400]).predict(X[400:])
    their_model = make_pipeline(
        StandardScaler(),
        theirs.MLPClassifier((32,), learning_rate_init=0.01, max_iter=60, random_state=0),
    )
    other = their_model.fit(X[:400], Y[:400]).predict(X[400:])
    assert predicted.shape == (200, 4)
    assert (
        f1_score(Y[400:], predicted, average="micro")
        > f1_score(Y[400:], other, average="micro") - 0.02
    )
    assert ((model.predict_proba(X[400:]) > 0.5) == predicted).all()
    again = ours.MLPClassifier((8,), random_state=0)
    for _ in range(3):
        again.partial_fit(X, Y)
    assert again.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="4 labels or classes"):
        again.partial_fit(X, Y[:, :3])
    with pytest.raises(ValueError, match="class_weight"):
        ours.MLPClassifier(class_weight="balanced").fit(X, Y)


def moons(n=400, seed=0, noise=0.15):
    return make_moons(n, noise=noise, random_state=seed)


def test_a_pipeline_a_search_and_a_cross_validation():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), ours.MLPClassifier(hidden=(16,), lr=0.02, epochs=40, random_state=0)
    )
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(
        pipeline,
        {"mlpclassifier__activation": ["relu", "tanh"], "mlpclassifier__lr": [0.02, 1e-5]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["mlpclassifier__lr"] == 0.02
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(),
        ours.MLPRegressor(hidden=(16,), lr=0.01, epochs=60, l2=0.1, random_state=0),
    )
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.35


@pytest.mark.parametrize("early", [False, True])
def test_clone_and_pickle(early):
    X, y = moons()
    model = ours.MLPClassifier(
        hidden=(8, 8), epochs=20, normalization="batch", early_stopping=early, random_state=3
    ).fit(X, y)
    again = clone(model).fit(X, y)
    stored = pickle.loads(pickle.dumps(model))
    for other in (again, stored):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert model.predict_proba(X).shape == (400, 2)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert (model.validation_loss_curve_ is not None) == early
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_it_is_the_engine_of_runs():
    """The weights are bit-identical to those that the engine trains from settings."""
    import torch
    from building import make_settings

    from mlplab.data.preparation.examples import prepare
    from mlplab.training import PreparedMember, Session

    settings = make_settings(seed=5, hidden=(6, 4), epochs=15, batch_size=20, engine="auto")
    prepared = prepare(settings.dataset, 5, True)
    x, y = prepared.train.x, prepared.train.y
    model = ours.MLPClassifier(
        hidden=(6, 4),
        activation="tanh",
        epochs=15,
        batch_size=20,
        random_state=5,
        dtype="float64",
        lr=settings.optimizer.lr,
    ).fit(x, y)
    import dataclasses

    from mlplab.fitting import _prepared
    from mlplab.losses import resolve_auto_loss

    plain = _prepared(prepared.task, prepared.target_scaler, (x, y, None), None)
    resolved = dataclasses.replace(settings, loss=resolve_auto_loss(settings.loss, prepared.task))
    session = Session.of([PreparedMember.of(resolved, plain)])
    session.run()
    (outcome,) = session.outcomes()
    assert torch.equal(model.fitted_.model.theta_KP[0], outcome.last_theta_P)


def test_an_ensemble_is_its_members():
    X, y = moons()
    ensemble = ours.MLPClassifier(
        hidden=(8,), epochs=30, lr=0.01, n_members=5, random_state=10, dtype="float64"
    ).fit(X, y)
    single_fits = [
        ours.MLPClassifier(
            hidden=(8,), epochs=30, lr=0.01, random_state=10 + k, dtype="float64"
        ).fit(X, y)
        for k in range(5)
    ]
    np.testing.assert_allclose(
        ensemble.predict_proba(X),
        np.mean([m.predict_proba(X) for m in single_fits], axis=0),
        atol=1e-9,
    )
    assert ensemble.n_members_ == 5


@pytest.mark.parametrize(
    ("input_dtype", "members", "dtype", "trained"),
    [
        (np.float64, 1, "auto", "float64"),
        (np.float32, 1, "auto", "float32"),
        (np.float64, 3, "auto", "float32"),
        (np.float64, 3, "float64", "float64"),
        (np.float64, 1, "float32", "float32"),
    ],
)
def test_the_precision_is_that_of_x_and_single_for_an_ensemble(
    input_dtype, members, dtype, trained
):
    X, y = moons(60)
    model = ours.MLPClassifier(hidden=(4,), epochs=2, n_members=members, dtype=dtype).fit(
        X.astype(input_dtype), y
    )
    assert str(model.fitted_.model.theta_KP.dtype) == f"torch.{trained}"
    assert model.fitted_.settings.dtype == trained


@pytest.fixture
def one_thread():
    """One thread, so that processor time measures the cost even on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_ensemble_is_better_than_its_median():
    # The classes overlap: where all members are right and sure, averaging their probabilities
    # cannot lower the loss.
    X, y = moons(800, 1, noise=0.35)
    X, X_test, y, y_test = train_test_split(X, y, train_size=400, random_state=0)
    fields = {"hidden": (16, 16), "epochs": 40, "lr": 0.01, "batch_size": 64}
    ensemble = ours.MLPClassifier(**fields, n_members=16, random_state=2).fit(X, y)
    losses = [
        log_loss(
            y_test,
            ours.MLPClassifier(**fields, random_state=2 + k)
            .fit(X, y)
            .predict_proba(X_test)
            .astype(float),
        )
        for k in range(5)
    ]
    assert log_loss(y_test, ensemble.predict_proba(X_test)) <= np.median(losses)


@pytest.mark.campaign("timing")
def test_an_ensemble_of_32_costs_little_and_is_better_than_its_median(one_thread, monkeypatch):
    X, y = moons(2000, 1, noise=0.35)
    X, X_test, y, y_test = train_test_split(X, y, train_size=1000, random_state=0)
    fields = {"hidden": (32, 32), "epochs": 40, "lr": 0.01, "batch_size": 32}

    def fitted(n_members, seed):
        began = time.process_time()
        model = ours.MLPClassifier(**fields, n_members=n_members, random_state=seed).fit(X, y)
        return model, time.process_time() - began

    eager_ratios, ratios = [], []
    for seed in range(3):
        ensemble, native_seconds = fitted(32, seed)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "eager_reason", lambda *_: "for comparison")
            one, eager_ensemble = fitted(1, seed)[1], fitted(32, seed)[1]
        eager_ratios.append(eager_ensemble / one)
        ratios.append(native_seconds / one)
    losses = [
        log_loss(
            y_test,
            ours.MLPClassifier(**fields, random_state=2 + k)
            .fit(X, y)
            .predict_proba(X_test)
            .astype(float),
        )
        for k in range(5)
    ]
    assert log_loss(y_test, ensemble.predict_proba(X_test)) <= np.median(losses)
    # 32 times the work, but the overhead of a small network is paid once, and the native engine has
    # none. docs/benchmarks.md has the record, also of larger networks.
    assert np.median(eager_ratios) <= 4
    assert np.median(ratios) <= 1


@pytest.mark.parametrize("optimizer", ["adam", {"name": "momentum", "momentum": 0.8}, "nag"])
def test_partial_fits_equal_one_fit(optimizer):
    """One partial fit per epoch of a fit, on the same rows in one batch."""
    X, y = moons(60)
    fields = {
        "hidden": (6,),
        "optimizer": optimizer,
        "lr": 0.05,
        "batch_size": 60,
        "shuffle": False,
        "random_state": 1,
        "dtype": "float64",
    }
    whole = ours.MLPClassifier(**fields, epochs=12).fit(X, y)
    partial = ours.MLPClassifier(**fields)
    for _ in range(12):
        partial.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_allclose(partial.predict_proba(X), whole.predict_proba(X), rtol=1e-9)
    assert partial.n_iter_ == 12
    partial.partial_fit(X[:7], y[:7])  # other rows, and fewer


def test_partial_fits_of_values_learn():
    X, _ = moons(60)
    values = ours.MLPRegressor(hidden=(6,), lr=0.05, random_state=0)
    for _ in range(150):
        values.partial_fit(X, X[:, 0] * 100)
    assert values.score(X, X[:, 0] * 100) > 0.9


def test_partial_fit_rejects_new_classes():
    X, y = moons(60)
    with pytest.raises(ValueError, match="class 7"):
        ours.MLPClassifier().partial_fit(X, y).partial_fit(X, y + 7)


def test_class_weights_and_sample_weights():
    X, y = moons(300)
    rare = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:12]])
    X, y = X[rare], y[rare]
    plain, balanced = (
        ours.MLPClassifier(hidden=(8,), epochs=60, lr=0.01, class_weight=how, random_state=0).fit(
            X, y
        )
        for how in (None, "balanced")
    )
    assert (balanced.predict(X) == 1).sum() > (plain.predict(X) == 1).sum()
    weights = np.where(y == 1, 12.0, 1.0)
    weighted = ours.MLPClassifier(hidden=(8,), epochs=60, lr=0.01, random_state=0).fit(
        X, y, weights
    )
    named = ours.MLPClassifier(
        hidden=(8,), epochs=60, lr=0.01, class_weight={0: 1.0, 1: 12.0}, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(weighted.predict_proba(X), named.predict_proba(X), rtol=1e-9)


def test_several_values_keep_their_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    Y = np.stack([X[:, 0] * 1000 + 5000, X[:, 1] - X[:, 2]], 1)
    model = ours.MLPRegressor(hidden=(16,), epochs=150, lr=0.01, random_state=0).fit(X, Y)
    assert model.predict(X).shape == (200, 2)
    assert model.score(X, Y) > 0.95
    assert ours.MLPRegressor(hidden=(), epochs=1).fit(X, Y[:, 0]).predict(X).shape == (200,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "rellu"}, "there is no such activation"),
        ({"optimizer": {"name": "adam", "momentum": 1}}, "has no key 'momentum'"),
        ({"lr": -1}, "lr"),
        ({"loss": "mse"}, "loss"),
        ({"n_members": 0}, "n_members"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"normalization": "x"}, "normalization"),
        ({"early_stopping": True, "validation_fraction": 0}, "validation_fraction"),
        ({"l2": -1}, "l2"),
    ],
)
def test_invalid_parameters_are_rejected(fields, message):
    X, y = moons(40)
    with pytest.raises(ValueError, match=message):
        ours.MLPClassifier(**fields).fit(X, y)


def test_divergence_is_reported():
    X = np.random.default_rng(0).normal(size=(50, 2)) * 1e150
    with pytest.raises(ValueError, match="diverged"):
        ours.MLPRegressor(lr=1e300, optimizer="sgd", activation="relu").fit(X, X[:, 0])


def test_the_example_of_the_documentation(capsys):
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    [code] = [block for block in blocks if "mlplab.sklearn" in block]
    exec(compile(code, "files.md", "exec"), {})  # our own file
    assert float(capsys.readouterr().out) > 0.95

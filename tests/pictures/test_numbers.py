"""The numbers in the pictures agree with scikit-learn and with the predictions of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawing import draw_only
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from studies import study_of

from mlplab.data import Scaler
from mlplab.data.preparation.registry import DATASETS
from mlplab.data.scaling import fit_scaler
from mlplab.optimizers import Adam
from mlplab.pictures.plane import fit_plane, principal_axes
from mlplab.pictures.ranking import rank_scores
from mlplab.pictures.separability import linear_scores, logistic_regression

pairs = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])),
    min_size=2,
    max_size=60,
).filter(lambda pairs: 0 < sum(kind for kind, _ in pairs) < len(pairs))


@settings(deadline=None, max_examples=60)
@given(pairs)
def test_rankings_are_those_of_scikit_learn(pairs):
    truth, score = np.array([kind for kind, _ in pairs]), np.array([value for _, value in pairs])
    ranking = rank_scores(truth, score)
    assert ranking.area == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    assert ranking.mean_precision == pytest.approx(
        metrics.average_precision_score(truth, score), abs=1e-12
    )
    false_rate, true_rate, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(ranking.false_positive_rate, false_rate)
    np.testing.assert_allclose(ranking.true_positive_rate, true_rate)
    precision, recall, _ = metrics.precision_recall_curve(truth, score)
    np.testing.assert_allclose(ranking.precision[::-1], precision)
    np.testing.assert_allclose(ranking.true_positive_rate[::-1], recall)


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_the_linear_model_is_that_of_scikit_learn(load):
    x, y = load(return_X_y=True)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    if x.shape[1] > 20:
        x = PCA(20).fit_transform(x)
    x = np.column_stack([x, np.ones(len(x))])
    other = LogisticRegression(C=1e5 / len(x), fit_intercept=False, max_iter=5000, tol=1e-8).fit(
        x, y
    )  # the penalty of our model, 1e-5 per example
    scores = x @ logistic_regression(x, y, int(y.max()) + 1)
    probabilities = torch.from_numpy(scores).softmax(1).numpy()
    assert (probabilities.argmax(1) == y).mean() == pytest.approx(other.score(x, y), abs=0.004)
    assert log_loss(y, probabilities) == pytest.approx(
        log_loss(y, other.predict_proba(x)), abs=2e-3
    )


def test_hidden_layers_make_the_lecture_s_rings_separable():
    study = study_of(
        epochs=60, dataset=DATASETS["two_layer_radial"](num_samples=2000), optimizer=Adam(lr=0.03)
    )
    at_start, at_end = (
        linear_scores(study, [0, 1, 2], 0),
        linear_scores(study, [0, 1, 2], study.best_frame),
    )
    assert at_start[0] == at_end[0] < 0.65
    assert at_end[2] > 0.9
    assert at_end[2] > at_start[2] + 0.1


def test_the_score_of_values_is_that_of_least_squares():
    from sklearn.linear_model import LinearRegression

    study = study_of(dataset="diabetes", hidden=(5,), activation="tanh")
    fit, judge = study.points("train"), study.points("test")
    inside = [study.layers(points.x, [study.best_frame])[0][0].numpy() for points in (fit, judge)]
    expected = LinearRegression().fit(inside[0], fit.y).score(inside[1], judge.y)
    assert linear_scores(study, [1], study.best_frame)[0] == pytest.approx(expected, abs=1e-6)


def test_the_plane_of_many_features_is_that_of_pca():
    x = load_iris().data
    scaler = fit_scaler(x, "standard", "feature")
    scaled = scaler.apply(x)
    plane, other = fit_plane(scaled, scaler, ("a", "b", "c", "d")), PCA(2).fit(scaled)
    np.testing.assert_allclose(
        np.abs(plane.project(scaled)), np.abs(other.transform(scaled)), atol=1e-9
    )
    assert f"{other.explained_variance_ratio_.sum():.0%}" in plane.note
    np.testing.assert_allclose(
        plane.project(plane.lift(plane.project(scaled))), plane.project(scaled), atol=1e-9
    )


@pytest.mark.parametrize("num_features", [1, 2])
def test_the_plane_of_few_features_is_the_features(num_features):
    x = np.random.default_rng(0).normal(3.0, 2.0, (50, num_features))
    scaler = fit_scaler(x, "standard", "feature")
    plane = fit_plane(scaler.apply(x), scaler, ("a", "b")[:num_features])
    np.testing.assert_allclose(plane.project(scaler.apply(x)), x, atol=1e-12)
    grid = scaler.invert(plane.grid(10))
    assert len(grid) == 10**num_features
    assert (grid.min(0) < x.min(0)).all()
    assert (grid.max(0) > x.max(0)).all()
    if num_features == 2:
        assert grid[0, 1] == grid[9, 1] < grid[10, 1]  # row by row, from below


def test_the_share_of_the_variance_needs_no_variance():
    assert principal_axes(np.ones((5, 3)), 2)[1] == 1.0


def test_scalers_of_a_constant_column_draw():
    scaler = Scaler(np.zeros(2), np.ones(2))
    plane = fit_plane(np.zeros((4, 2)), scaler, ("a", "b"))
    assert plane.extent[0] < plane.extent[1]


def test_slopes_are_the_derivatives():
    study = study_of(hidden=(4, 3), activation="sigmoid")
    x = study.points("train").x[:7]
    frames = [0, study.best_frame]
    outputs = study.layers(x, frames)
    for row, frame in enumerate(frames):
        for layer in (0, 1):
            h = outputs[layer][row].numpy()
            np.testing.assert_allclose(study.slopes(x, frame)[layer][0], h * (1 - h), atol=1e-12)


def test_a_study_predicts_what_the_run_predicts(tmp_path, monkeypatch):
    draw_only(monkeypatch, "decision")
    import mlplab
    from mlplab.playback.revisit import revisit

    run = mlplab.run(
        [
            "dataset=diabetes",
            "training.epochs=3",
            "model.normalization=batch",
            "tracking.picture_share=0",
        ],
        tmp_path / "run",
    )
    study = revisit(run.folder)[1]
    points = study.points("test")
    raw = run.preprocessing.feature_scaler.invert(points.x)
    np.testing.assert_allclose(
        study.outputs(points.x, [study.best_frame])[0], run.predict(raw), rtol=1e-13
    )
    assert float(
        np.sqrt(((points.y - study.outputs(points.x, [study.best_frame])[0]) ** 2).mean())
    ) == pytest.approx(run.metrics["test/rmse"], rel=1e-5)

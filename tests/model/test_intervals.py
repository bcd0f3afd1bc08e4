"""Conformal prediction intervals: ranks, coverage, difficulty, and their stored form."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlplab.errors import DataError
from mlplab.model import difficulty
from mlplab.model.intervals import Intervals, Predicted, fit_intervals, interval, rank


def predicted(values_N, x_NF=None, deviations_N=None):
    x_NF = np.zeros((len(values_N), 1)) if x_NF is None else x_NF
    deviations = None if deviations_N is None else deviations_N[:, None]
    return Predicted(x_NF, values_N[:, None], deviations)


def test_the_rank_is_exact():
    assert rank(9, 0.9, signed=False) == 9
    assert rank(19, 0.9, signed=False) == 18
    assert rank(99, 0.9, signed=False) == 90
    assert rank(100, 0.9, signed=False) == 91
    assert rank(19, 0.9, signed=True) == 19


def test_an_interval_is_the_prediction_and_a_quantile_of_the_errors():
    rng = np.random.default_rng(0)
    f_N, y_N = rng.normal(size=(2, 50))
    intervals = fit_intervals(predicted(f_N), y_N[:, None])
    lower, upper = interval([(intervals, predicted(np.array([7.0, -1.0])))], 0.8)
    q = np.sort(abs(y_N - f_N))[int(np.ceil(51 * 0.8)) - 1]
    np.testing.assert_allclose(lower[:, 0], [7 - q, -1 - q])
    np.testing.assert_allclose(upper[:, 0], [7 + q, -1 + q])


def test_the_coverage_over_calibrations_is_that_of_the_theory():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        errors_N = rng.standard_t(3, size=40)
        intervals = fit_intervals(predicted(np.zeros(40)), errors_N[:, None])
        lower, upper = interval([(intervals, predicted(np.zeros(1)))], 0.9)
        new_N = rng.standard_t(3, size=100)
        inside.append(((new_N >= lower[0, 0]) & (new_N <= upper[0, 0])).mean())
    expected = np.ceil(41 * 0.9) / 41
    error = np.std(inside) / np.sqrt(len(inside))
    assert np.mean(inside) == pytest.approx(expected, abs=3.5 * error)


def heteroscedastic(n, rng):
    x_NF = rng.uniform(-1, 1, size=(n, 4))
    sigma_N = np.exp(1.5 * x_NF[:, 0])
    return x_NF, sigma_N, x_NF[:, 1] + sigma_N * rng.normal(size=n)


def test_intervals_of_unequal_noise_are_wide_where_it_is_large():
    rng = np.random.default_rng(2)
    x_NF, _, y_N = heteroscedastic(600, rng)
    intervals = fit_intervals(predicted(x_NF[:, 1], x_NF), y_N[:, None])
    assert intervals.difficulties[0].exponent > 0
    x_NF, sigma_N, y_N = heteroscedastic(6000, rng)
    new = predicted(x_NF[:, 1], x_NF)
    lower, upper = interval([(intervals, new)], 0.9)
    inside_N = (y_N >= lower[:, 0]) & (y_N <= upper[:, 0])
    constant_N = abs(y_N - x_NF[:, 1]) <= np.quantile(abs(y_N - x_NF[:, 1]), 0.9)
    groups = np.argsort(np.argsort(sigma_N)) * 5 // len(sigma_N)
    worst, worst_constant = (
        max(abs(hits_N[groups == g].mean() - 0.9) for g in range(5))
        for hits_N in (inside_N, constant_N)
    )
    assert worst < worst_constant / 2
    assert inside_N.mean() == pytest.approx(0.9, abs=0.04)


def test_equal_noise_has_intervals_of_one_width():
    rng = np.random.default_rng(3)
    x_NF, y_N = rng.normal(size=(400, 5)), rng.normal(size=400)
    intervals = fit_intervals(predicted(np.zeros(400), x_NF), y_N[:, None])
    assert intervals.difficulties[0].trees is None


def test_predicted_deviations_scale_the_intervals():
    rng = np.random.default_rng(4)
    sigma_N = rng.uniform(0.1, 5, 400)
    y_N = sigma_N * rng.normal(size=400)
    intervals = fit_intervals(predicted(np.zeros(400), None, sigma_N), y_N[:, None])
    new = predicted(np.zeros(2), None, np.array([1.0, 4.0]))
    lower, upper = interval([(intervals, new)], 0.9)
    assert upper[1, 0] / upper[0, 0] == pytest.approx(4)
    assert lower[0, 0] == -upper[0, 0]
    assert upper[0, 0] == pytest.approx(1.645, rel=0.15)


def test_each_end_of_signed_scores_has_a_quantile_and_bounds_hold():
    y_N = np.arange(1.0, 40.0)  # all above the prediction
    intervals = fit_intervals(predicted(np.zeros(39)), y_N[:, None], True, (0.0, 30.0))
    lower, upper = interval([(intervals, predicted(np.zeros(1)))], 0.9)
    assert (lower[0, 0], upper[0, 0]) == (2.0, 30.0)


def test_several_networks_are_combined_as_in_cv_plus():
    rng = np.random.default_rng(5)
    members, all_upper, all_lower = [], [], []
    for k in range(3):
        f_N, y_N = rng.normal(size=(2, 20 + k))
        intervals = fit_intervals(predicted(f_N), y_N[:, None])
        value = rng.normal()
        members.append((intervals, predicted(np.array([value]))))
        all_upper += [value + abs(e) for e in y_N - f_N]
        all_lower += [value - abs(e) for e in y_N - f_N]
    lower, upper = interval(members, 0.9)
    k = int(np.ceil(64 * 0.9))
    assert upper[0, 0] == pytest.approx(np.sort(all_upper)[k - 1])
    assert lower[0, 0] == pytest.approx(np.sort(all_lower)[63 - k])


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_levels_that_are_no_probabilities_are_refused(level):
    intervals = fit_intervals(predicted(np.zeros(20)), np.ones((20, 1)))
    with pytest.raises(DataError, match="between 0 and 1"):
        interval([(intervals, predicted(np.zeros(1)))], level)


def test_a_level_that_the_rows_cannot_hold_is_refused_with_the_highest():
    intervals = fit_intervals(predicted(np.zeros(20)), np.ones((20, 1)))
    with pytest.raises(DataError, match=r"20 rows.*0\.952"):
        interval([(intervals, predicted(np.zeros(1)))], 0.99)
    interval([(intervals, predicted(np.zeros(1)))], 0.952)


def test_trees_predict_what_scikit_learn_predicts_and_survive_json(monkeypatch):
    from sklearn import ensemble

    fitted = []

    class Spy(ensemble.GradientBoostingRegressor):
        def fit(self, *arguments):
            fitted.append(self)
            return super().fit(*arguments)

    monkeypatch.setattr(ensemble, "GradientBoostingRegressor", Spy)
    rng = np.random.default_rng(6)
    x_NF, _, y_N = heteroscedastic(300, rng)
    intervals = fit_intervals(predicted(x_NF[:, 1], x_NF), y_N[:, None], bounds=(0, np.inf))
    trees = intervals.difficulties[0].trees
    new_NF = rng.normal(size=(100, 5))
    np.testing.assert_allclose(trees.predict(new_NF), fitted[-1].predict(new_NF), atol=1e-9)
    fields = json.loads(json.dumps(intervals.to_dict()))
    stored = Intervals.from_dict(fields)
    new = predicted(new_NF[:, 1], new_NF[:, :4])
    for a, b in zip(interval([(stored, new)], 0.9), interval([(intervals, new)], 0.9), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="version 7"):
        Intervals.from_dict({**fields, "version": 7})
    fields["targets"][0]["trees"]["left"][0] = 10**6
    with pytest.raises(ValueError, match="trees"):
        Intervals.from_dict(fields)


def test_errors_that_are_all_zero_or_few_have_no_difficulty():
    for errors_N in (np.zeros(200), np.ones(5)):
        fitted, held_out_N = difficulty.fit_difficulty(np.zeros((len(errors_N), 2)), errors_N)
        assert fitted.trees is None
        assert (held_out_N == 1).all()

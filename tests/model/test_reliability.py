"""The reliability diagram and the expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from mlplab.model.reliability import reliability


def predictions(n, rng, classes=3):
    p_NC = rng.dirichlet(np.ones(classes), size=n)
    y_N = (rng.random((n, 1)) > p_NC.cumsum(1)).sum(1).clip(max=classes - 1)
    return p_NC, y_N


def test_the_error_is_that_of_a_plain_loop_over_bins_of_equal_size():
    p_NC, y_N = predictions(600, np.random.default_rng(0))
    order = np.argsort(p_NC.max(1), kind="stable")
    expected = 0.0
    for rows in np.array_split(order, 15):
        accuracy = (p_NC[rows].argmax(1) == y_N[rows]).mean()
        expected += len(rows) / 600 * abs(accuracy - p_NC[rows].max(1).mean())
    result = reliability(p_NC, y_N)
    assert result.ece == pytest.approx(expected, abs=1e-12)
    assert result.rows.sum() == 600


def test_calibrated_predictions_are_within_the_limit_in_95_of_100_cases():
    rng = np.random.default_rng(1)
    results = [reliability(*predictions(200, rng), seed) for seed in range(200)]
    share = np.mean([result.is_calibrated for result in results])
    assert share == pytest.approx(0.95, abs=0.05)
    inside = [((r.low <= r.accuracy) & (r.accuracy <= r.high)).mean() for r in results]
    assert np.mean(inside) == pytest.approx(0.96, abs=0.03)  # the accuracies are discrete


def test_overconfident_predictions_are_above_the_limit():
    p_NC, y_N = predictions(1000, np.random.default_rng(2))
    sharp_NC = p_NC**3 / (p_NC**3).sum(1, keepdims=True)
    result = reliability(sharp_NC, y_N)
    assert not result.is_calibrated
    assert result.to_dict()["calibrated"] is False


@pytest.mark.parametrize("n", [1, 2, 24, 25, 51])
def test_few_rows_have_few_bins(n):
    result = reliability(*predictions(n, np.random.default_rng(n)))
    assert len(result.rows) == max(1, n // 25)
    assert np.isfinite([result.ece, result.ece_95]).all()


def test_certain_predictions():
    result = reliability(np.eye(2)[[0, 1] * 50], np.array([0, 1] * 50))
    assert (result.ece, result.ece_95, result.is_calibrated) == (0, 0, True)

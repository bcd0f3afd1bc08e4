"""Regression sets equal their formulas, restated here or taken from scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_friedman1, make_swiss_roll

from mlplab.data import Dataset, Table, curves
from mlplab.data.table import Floats
from mlplab.errors import FieldError


def make(dataset: Dataset, seed: int = 0) -> Table:
    return dataset.make(np.random.default_rng(seed))


CURVES = [
    (curves.Quadratic, lambda x: x * x, -1, 1, 100),
    (curves.Sine, lambda x: math.sin(2 * math.pi * x), -1, 1, 100),
    (curves.Step, lambda x: 1.0 if x >= 0 else 0.0, -1, 1, 200),
    (curves.Absolute, abs, -1, 1, 200),
    (curves.Sinc, lambda x: math.sin(math.pi * x) / (math.pi * x), -4, 4, 200),
    (curves.Cubic, lambda x: x * x * x, -1, 1, 200),
]


@pytest.mark.parametrize(("curve", "function", "low", "high", "num_samples"), CURVES)
def test_curves(
    curve: type[curves.Curve], function: Any, low: float, high: float, num_samples: int
) -> None:
    table = make(curve())
    assert table.x.shape == table.y.shape == (num_samples, 1)
    np.testing.assert_allclose(
        table.y[:, 0], [function(x) for x in table.x[:, 0]], rtol=1e-12, atol=1e-14
    )
    width = high - low
    assert low <= table.x.min() < low + 0.1 * width
    assert high - 0.1 * width < table.x.max() <= high
    noisy = make(curve(noise=0.3))
    assert (noisy.y - table.y).std() == pytest.approx(0.3, rel=0.25)


def test_sinc_is_one_at_zero_and_curves_are_exact_there() -> None:
    assert curves.Sinc().curve(np.zeros(1)) == 1
    assert curves.Step().curve(np.zeros(1)) == 1


def test_range_is_a_key() -> None:
    x = make(curves.Sine(low=0.0, high=0.5)).x
    assert x.min() >= 0
    assert x.max() <= 0.5
    with pytest.raises(FieldError, match="not below high"):
        curves.Sine(low=1.0)


def test_swiss_roll_lies_where_sklearn_rolls_it() -> None:
    table = make(curves.SwissRoll())
    t = table.y[:, 0]
    np.testing.assert_allclose(
        table.x[:, [0, 2]], np.stack([t * np.cos(t), t * np.sin(t)], axis=1), atol=1e-12
    )
    x, theirs = make_swiss_roll(2000, random_state=0)
    np.testing.assert_allclose(
        x[:, [0, 2]],
        np.stack([theirs * np.cos(theirs), theirs * np.sin(theirs)], axis=1),
        atol=1e-12,
    )
    for low, high in (
        (t.min(), theirs.min()),
        (t.max(), theirs.max()),
        (table.x[:, 1].min(), 0),
        (table.x[:, 1].max(), x[:, 1].max()),
    ):
        assert low == pytest.approx(high, abs=0.1)


class FixedGenerator:
    """A generator that returns the uniform numbers it was made with, and no noise."""

    def __init__(self, x: Floats) -> None:
        self.x = x

    def uniform(self, *_: object) -> Floats:
        return self.x

    def standard_normal(self, shape: int) -> Floats:
        return np.zeros(shape)


def test_friedman1_is_that_of_sklearn() -> None:
    x, y = make_friedman1(50, 10, noise=0, random_state=0)
    table = curves.Friedman1(num_samples=50).make(FixedGenerator(x))  # type: ignore[arg-type]
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_allclose(table.y[:, 0], y, rtol=1e-12)

"""The Playground's rules, restated here: ranges, padding, noisy labels and the effect of noise."""

from __future__ import annotations

import numpy as np
import pytest

from mlplab.data import Table, playground
from mlplab.errors import FieldError


def make(dataset: playground.Playground, seed: int = 0) -> Table:
    return dataset.make(np.random.default_rng(seed))


def test_circle() -> None:
    table = make(playground.PlaygroundCircle(num_samples=2000))
    radius = np.hypot(*table.x.T)
    np.testing.assert_array_equal(table.y, radius < 2.5)
    inner, outer = radius[:1000], radius[1000:]
    assert inner.max() < 2.5
    assert outer.min() >= 3.5
    assert outer.max() <= 5
    # radii are uniform, not areas (which would give 1.67)
    assert inner.mean() == pytest.approx(1.25, abs=0.06)
    assert outer.mean() == pytest.approx(4.25, abs=0.04)


def test_xor() -> None:
    table = make(playground.PlaygroundXor(num_samples=4000))
    np.testing.assert_array_equal(table.y, table.x[:, 0] * table.x[:, 1] >= 0)
    assert 0.3 <= np.abs(table.x).min() < 0.31
    assert 5.25 < np.abs(table.x).max() <= 5.3


@pytest.mark.parametrize(("noise", "variance"), [(0, 0.5), (25, 2.25), (50, 4)])
def test_gauss_variance_grows_with_noise(noise: float, variance: float) -> None:
    table = make(playground.PlaygroundGauss(num_samples=8000, noise=noise))
    for label, center in ((1, 2), (0, -2)):
        points = table.x[table.y == label]
        assert len(points) == 4000
        np.testing.assert_allclose(points.mean(0), center, atol=0.15)
        np.testing.assert_allclose(points.var(0), variance, rtol=0.1)


@pytest.mark.parametrize("num_samples", [500, 501])
def test_spiral(num_samples: int) -> None:
    table = make(playground.PlaygroundSpiral(num_samples=num_samples))
    for label, shift in ((1, 0), (0, np.pi)):
        points = table.x[table.y == label]
        radius = 5 * np.arange(len(points)) / len(points)
        angle = 1.75 * 2 * np.pi * np.arange(len(points)) / len(points) + shift
        np.testing.assert_allclose(
            points, np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1), atol=1e-12
        )
    moved = make(playground.PlaygroundSpiral(num_samples=num_samples, noise=50)).x - table.x
    assert 0.45 < np.abs(moved).max() <= 0.5


def test_plane() -> None:
    table = make(playground.PlaygroundPlane())
    np.testing.assert_allclose(table.y[:, 0], (table.x[:, 0] + table.x[:, 1]) / 10, atol=1e-15)
    assert 5.9 < np.abs(table.x).max() <= 6
    noisy = make(playground.PlaygroundPlane(noise=50))
    np.testing.assert_array_equal(noisy.x, table.x)
    assert 0.3 < np.abs(noisy.y - table.y).max() <= 0.6  # two coordinates, each read up to 3 away


def test_multi_gauss() -> None:
    table = make(playground.PlaygroundMultiGauss())
    centers = [(-4, 2.5, 1), (0, 2.5, -1), (4, 2.5, 1), (-4, -2.5, -1), (0, -2.5, 1), (4, -2.5, -1)]
    expected = []
    for x, y in table.x:
        label = 0.0
        for cx, cy, sign in centers:  # the largest in absolute value counts
            height = sign * min(1, max(0, 1 - np.hypot(x - cx, y - cy) / 2))
            label = height if abs(height) > abs(label) else label
        expected.append(label)
    np.testing.assert_allclose(table.y[:, 0], expected, atol=1e-12)
    assert table.y.min() < -0.8
    assert table.y.max() > 0.8


@pytest.mark.parametrize("dataset", [playground.PlaygroundCircle, playground.PlaygroundXor])
def test_noise_flips_labels_and_leaves_points(dataset: type[playground.Playground]) -> None:
    clean, some, most = (make(dataset(noise=noise, num_samples=2000)) for noise in (0, 10, 50))
    np.testing.assert_array_equal(clean.x, most.x)
    flipped = [(clean.y != noisy.y).mean() for noisy in (some, most)]
    assert 0 <= flipped[0] < flipped[1]
    assert 0.05 < flipped[1] < 0.5


def test_sizes_and_slider_of_the_playground() -> None:
    assert playground.PlaygroundCircle().num_samples == 500
    assert playground.PlaygroundPlane().num_samples == 1200
    assert playground.PlaygroundCircle().noise == 0
    with pytest.raises(FieldError, match=r"\[0, 50\]"):
        playground.PlaygroundCircle(noise=51)

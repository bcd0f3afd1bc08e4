"""Without noise, labels equal those recomputed here from the coordinates alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_circles, make_moons
from sklearn.linear_model import LogisticRegression

from mlplab.data import Table, toy
from mlplab.data.table import Floats
from mlplab.errors import FieldError


def make(dataset: toy.Toy | toy.Boolean, seed: int = 0) -> Table:
    return dataset.make(np.random.default_rng(seed))


def linear_accuracy(table: Table) -> float:
    return float(
        LogisticRegression(C=1e6, max_iter=2000).fit(table.x, table.y).score(table.x, table.y)
    )


def polar(table: Table) -> tuple[Floats, Floats]:
    return np.hypot(*table.x.T), np.arctan2(table.x[:, 1], table.x[:, 0]) % (2 * np.pi)


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_linear_is_the_side_of_a_line(gap: float) -> None:
    table = make(toy.Linear(gap=gap))
    distance = table.x.sum(1) / np.sqrt(2)
    np.testing.assert_array_equal(table.y, distance > 0)
    assert gap / 2 <= np.abs(distance).min() < gap / 2 + 0.05
    assert linear_accuracy(make(toy.Linear())) == 1.0


@pytest.mark.parametrize(
    ("gate", "function"),
    [
        ("and", np.all),
        ("or", np.any),
        ("nand", lambda x: not all(x)),
        ("xor", lambda x: x[0] != x[1]),
    ],
)
def test_boolean_is_the_four_points(gate: str, function: Any) -> None:
    table = make(toy.Boolean(gate=gate))
    assert sorted(map(tuple, table.x)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert table.y.tolist() == [int(function(row)) for row in table.x.astype(bool)]
    assert (linear_accuracy(table) == 1.0) == (gate != "xor")


def test_boolean_trains_on_all_four_unscaled() -> None:
    gate = toy.Boolean()
    assert (gate.val, gate.test, gate.scaling) == (0, 0, "none")


def test_xor_is_four_clouds() -> None:
    clean, noisy = make(toy.Xor(noise=0.0)), make(toy.Xor(noise=0.2))
    corners, counts = np.unique(clean.x, axis=0, return_counts=True)
    assert corners.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert counts.tolist() == [250] * 4
    np.testing.assert_array_equal(clean.y, clean.x[:, 0] != clean.x[:, 1])
    assert (noisy.x - clean.x).std() == pytest.approx(0.2, rel=0.1)
    assert linear_accuracy(noisy) <= 0.75


@pytest.mark.parametrize(("num_sectors", "gap"), [(6, 0.0), (6, 0.1), (10, 0.3), (2, 0.0)])
def test_radial_alternates_around_one_ring(num_sectors: int, gap: float) -> None:
    table = make(toy.Radial(num_sectors=num_sectors, gap=gap, num_samples=3000))
    radius, angle = polar(table)
    position = angle / (2 * np.pi / num_sectors)
    np.testing.assert_array_equal(table.y, np.floor(position).astype(int) % 2)
    assert np.ptp(np.bincount(position.astype(int))) <= 1
    assert gap / 2 <= (position % 1).min() < gap / 2 + 0.05
    assert 1 - gap / 2 - 0.05 < (position % 1).max() <= 1 - gap / 2
    assert radius.min() >= 0.5
    assert radius.max() <= 1
    # half of the ring's area
    assert (radius < np.sqrt((0.25 + 1) / 2)).mean() == pytest.approx(0.5, abs=0.03)


def test_radial_defeats_a_line() -> None:
    assert linear_accuracy(make(toy.Radial())) <= 0.67


@pytest.mark.parametrize("num_sectors", [3, 7])
def test_radial_refuses_odd_sectors(num_sectors: int) -> None:
    with pytest.raises(FieldError, match="num_sectors"):
        toy.Radial(num_sectors=num_sectors)


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_two_layer_radial_alternates_around_and_inwards(gap: float) -> None:
    table = make(toy.TwoLayerRadial(gap=gap, num_samples=4000))
    radius, angle = polar(table)
    sector, outer = np.floor(angle / (np.pi / 3)).astype(int), radius > 1
    np.testing.assert_array_equal(table.y, (sector + outer) % 2)
    assert radius.max() <= 2
    assert outer.mean() == 0.75
    for inside in (0.5, 1.5):  # the fraction of points follows the area
        assert (radius < inside).mean() == pytest.approx(inside**2 / 4, abs=0.02)
    assert np.ptp(np.bincount(6 * outer + sector).reshape(2, 6), axis=1).max() <= 1


def test_two_layer_radial_with_even_rings() -> None:
    radius, _ = polar(make(toy.TwoLayerRadial(inner_share=0.5)))
    assert (radius < 1).mean() == 0.5
    assert linear_accuracy(make(toy.TwoLayerRadial())) <= 0.67


def test_three_classes_lie_opposite_themselves() -> None:
    table = make(toy.ThreeClasses())
    radius, angle = polar(table)
    np.testing.assert_array_equal(table.y, np.floor(angle / (np.pi / 3)).astype(int) % 3)
    assert radius.min() >= 0.5
    assert radius.max() <= 1
    assert linear_accuracy(table) <= 0.6


@pytest.mark.parametrize(("num_arms", "turns"), [(2, 1.5), (3, 0.7)])
def test_spiral_arms_wind(num_arms: int, turns: float) -> None:
    table = make(toy.Spiral(num_arms=num_arms, turns=turns, noise=0.0))
    radius, angle = polar(table)
    arm = (angle / (2 * np.pi) - turns * radius) * num_arms % num_arms
    np.testing.assert_allclose(
        np.minimum(np.abs(arm - table.y), num_arms - np.abs(arm - table.y)), 0, atol=1e-9
    )
    assert radius.min() >= 0.1
    assert radius.max() <= 1
    assert table.task.num_classes == num_arms


@pytest.mark.parametrize("num_samples", [100, 101])
def test_moons_and_circles_are_those_of_sklearn(num_samples: int) -> None:
    sizes = (num_samples - num_samples // 2, num_samples // 2)
    for ours, (x, y) in (
        (make(toy.Moons(num_samples=num_samples, noise=0.0)), make_moons(sizes, shuffle=False)),
        (
            make(toy.Circles(num_samples=num_samples, noise=0.0)),
            make_circles(sizes, shuffle=False, factor=0.5),
        ),
    ):
        for label in (0, 1):
            np.testing.assert_allclose(ours.x[ours.y == label], x[y == label], atol=1e-12)


def test_blobs_are_round_clouds() -> None:
    clean = make(toy.Blobs(num_classes=4, num_features=3, noise=0.0))
    centers = np.unique(clean.x, axis=0)
    assert centers.shape == (4, 3)
    assert np.abs(centers).max() <= 10
    noisy = make(toy.Blobs(num_classes=4, num_features=3, noise=2.0))
    assert (noisy.x - clean.x).std() == pytest.approx(2, rel=0.1)
    np.testing.assert_array_equal(noisy.y, clean.y)


@pytest.mark.parametrize("num_tiles", [4, 5])
def test_checkerboard_colors_tiles(num_tiles: int) -> None:
    table = make(toy.Checkerboard(num_tiles=num_tiles))
    tile = np.floor((table.x + 1) / 2 * num_tiles).astype(int)
    np.testing.assert_array_equal(table.y, tile.sum(1) % 2)
    assert len(np.unique(tile, axis=0)) == num_tiles**2
    assert np.abs(table.x).max() <= 1
    assert linear_accuracy(table) < 0.7

"""The order of the examples: it equals a plain formula, and is uniform by statistical tests.

Shapes: M orders, N examples.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiers import in_campaign

from mlplab import randomness
from mlplab.randomness import ExampleOrder, grid_shape
from mlplab.training import batches
from mlplab.training.batches import Batches, DeviceDataset

MASK = (1 << 64) - 1
KEYS = (0x0123456789ABCDEF, (1 << 63) - 1)
TEST_VECTORS = {
    (KEYS[0], 1, 3): [2, 0, 1],
    (KEYS[0], 2, 5): [3, 2, 4, 0, 1],
    (KEYS[1], 1, 32): [21, 8, 25, 12, 24, 29, 19, 1, 23, 27, 6, 3],
    (KEYS[0], 1, 33): [18, 23, 32, 11, 13, 28, 19, 3, 17, 16, 26, 31],
    (KEYS[1], 7, 43): [5, 11, 36, 23, 8, 42, 22, 32, 29, 3, 28, 15],
    (KEYS[0], 1, 150): [17, 140, 29, 5, 127, 79, 84, 35, 143, 0, 28, 109],
    (KEYS[1], 123456, 1000): [694, 370, 641, 755, 576, 243, 478, 302, 125, 599, 7, 670],
    (KEYS[0], 3, 60000): [18243, 2844, 22912, 59166, 39450, 43640, 6262, 39012],
    (KEYS[1], 1, 1000003): [423287, 934363, 780769, 968387, 515864, 915702],
}
"""(key, epoch, number of examples): the first indices of the order."""


def mixed(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def number(key: int, counter: int) -> int:
    return mixed(key + counter * 0x9E3779B97F4A7C15 & MASK)


def plain_order(key: int, epoch: int, num_examples: int, count: int) -> list[int]:
    """The first `count` indices by the formula in ExampleOrder's docstring."""
    if num_examples <= 32:
        numbers = [number(key, epoch * num_examples + i) & ~31 | i for i in range(num_examples)]
        signed = [x - (1 << 64) if x >> 63 else x for x in numbers]
        return [sum(other < x for other in signed) for x in signed[:count]]
    rows, columns = grid_shape(num_examples)
    size = (4 if num_examples >= 128 else 6) * (rows + columns)
    u = [number(key, epoch * size + i) >> 32 for i in range(size)]

    def index(cell: int) -> int:
        row, column = divmod(cell, columns)
        for t in range(0, size, rows + columns):
            row = (row + (u[t + column] * rows >> 32)) % rows
            column = (column + (u[t + columns + row] * columns >> 32)) % columns
        image = row * columns + column
        return image if image < num_examples else index(image)

    return [index(position) for position in range(count)]


def order(key: int, epoch: int, num_examples: int, count: int) -> list[int]:
    return (
        ExampleOrder(torch.tensor([[key]]), epoch, num_examples).at(torch.arange(count))[0].tolist()
    )


@pytest.mark.parametrize("num_examples", [1, 2, 3, 31, 32, 33, 36, 43, 127, 128, 150, 1000, 1569])
@pytest.mark.parametrize("epoch", [0, 1, 1 << 20])
def test_it_equals_the_plain_formula(num_examples: int, epoch: int) -> None:
    for key in KEYS:
        plain = plain_order(key, epoch, num_examples, num_examples)
        assert order(key, epoch, num_examples, num_examples) == plain
        assert sorted(plain) == list(range(num_examples))


@pytest.mark.parametrize("case", TEST_VECTORS)
def test_vectors(case: tuple[int, int, int]) -> None:
    """Fixed numbers, with which an implementation in another language can be compared."""
    expected = TEST_VECTORS[case]
    assert order(*case, len(expected)) == expected
    assert plain_order(*case, len(expected)) == expected


@pytest.mark.parametrize("num_examples", [5, 32, 40, 1000])
def test_members_are_independent_of_each_other(num_examples: int) -> None:
    """Members at different epochs, in several groups, at positions in any sequence."""
    keys_K1 = randomness.keys(list(range(300)), "order")
    epoch_K1 = torch.arange(300).unsqueeze(1) % 7
    position_B = torch.tensor([4, 0, 3])
    index_KB = ExampleOrder(keys_K1, epoch_K1, num_examples).at(position_B)
    assert index_KB.dtype == torch.int64
    for k in range(300):
        single = ExampleOrder(keys_K1[k : k + 1], int(epoch_K1[k]), num_examples)
        assert torch.equal(single.at(position_B)[0], index_KB[k])


def test_a_grid_is_even_and_nearly_square() -> None:
    for num_examples in range(33, 3000):
        rows, columns = grid_shape(num_examples)
        assert rows <= columns <= 2 * rows
        assert rows * columns % 2 == 0
        assert 0 <= rows * columns - num_examples < rows


def test_an_epoch_has_every_example_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same batches for any size of the chunks, and when it starts at a later batch."""
    x = torch.arange(50.0).reshape(1, 50, 1)
    data = DeviceDataset(x, x[..., 0].long())
    source = Batches(data, randomness.keys([1, 2], "order"), 8, shuffle=True, drop_last=False)
    whole = list(source.epoch(3))
    assert torch.equal(torch.cat([y for _, y, _ in whole], 1).sort(1).values, data.y.expand(2, -1))
    monkeypatch.setattr(batches, "CHUNK_SIZE", 1)
    for first in (0, 4):
        rest = list(source.epoch(3, first))
        assert len(rest) == 7 - first
        assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[first:], strict=True))


def orders(source: str, num_orders: int, num_examples: int) -> np.ndarray:
    """Orders of consecutive seeds in one epoch, or of consecutive epochs of one seed: [M, N]."""
    if source == "seeds":
        keys_K1, epoch = randomness.keys(list(range(num_orders)), "order"), 3
    else:
        keys_K1 = randomness.keys([5], "order").expand(num_orders, 1)
        epoch = torch.arange(1, num_orders + 1).unsqueeze(1)
    return ExampleOrder(keys_K1, epoch, num_examples).at(torch.arange(num_examples)).numpy()


def chi_squared_z(counts: np.ndarray, degrees: int) -> float:
    """How many standard deviations chi squared is above its mean."""
    expected = counts.mean()
    return (((counts - expected) ** 2).sum() / expected - degrees) / math.sqrt(2 * degrees)


def mean_z(values: np.ndarray, mean: float, variance: float) -> float:
    return (values.mean() - mean) / math.sqrt(variance / len(values))


SOURCES = pytest.mark.parametrize("source", ["seeds", "epochs"])


@SOURCES
@pytest.mark.parametrize(
    ("num_examples", "per_permutation"),
    [
        *[(2, 1000), (3, 1000), (4, 200), (5, 50)],
        *[in_campaign("fuzz", n, count) for n, count in ((4, 5000), (5, 1000), (6, 300), (7, 50))],
    ],
)
def test_every_permutation_is_equally_likely(
    num_examples: int, per_permutation: int, source: str
) -> None:
    permutations = math.factorial(num_examples)
    order_MN = orders(source, per_permutation * permutations, num_examples)
    counts = np.unique(order_MN @ num_examples ** np.arange(num_examples), return_counts=True)[1]
    assert len(counts) == permutations
    assert abs(chi_squared_z(counts, permutations - 1)) < 4


@SOURCES
@pytest.mark.parametrize(
    ("num_examples", "num_orders"),
    [
        *[(20, 6000), (33, 6000), (50, 6000), (100, 4000), (150, 4000)],
        *[
            in_campaign("fuzz", n, count)
            for n, count in (
                *[(n, 40_000) for n in (10, 20, 32, 33, 34, 36, 40, 50, 66, 72, 98, 127)],
                *[(n, 20_000) for n in (128, 144, 150, 200, 241, 256)],
                (500, 10_000),
                (1000, 5_000),
            )
        ],
    ],
)
def test_orders_are_uniform(num_examples: int, num_orders: int, source: str) -> None:
    order_MN = orders(source, num_orders, num_examples)
    z = {
        **position_statistics(order_MN),
        **cycle_statistics(order_MN),
        **successor_statistics(order_MN),
    }
    assert {name: value for name, value in z.items() if abs(value) > 4} == {}


def position_statistics(order_MN: np.ndarray) -> dict[str, float]:
    """Where each example is, how neighbors and positions in one column of the grid differ, and
    inversions.
    """
    size = order_MN.shape[1]
    cells = (order_MN + size * np.arange(size)).ravel()
    z = {"positions": chi_squared_z(np.bincount(cells, minlength=size**2), size * (size - 1))}
    columns = grid_shape(size)[1] if size > 32 else 2
    for distance in (1, columns, 2 * columns):
        difference = (order_MN[:, distance:] - order_MN[:, :-distance]) % size
        counts = np.bincount(difference.ravel(), minlength=size)[1:]
        z[f"differences at {distance}"] = chi_squared_z(counts, size - 2)
    if size <= 100:
        inversions_M = sum((order_MN[:, d:] < order_MN[:, :-d]).sum(1) for d in range(1, size))
        variance = size * (size - 1) * (2 * size + 5) / 72
        z["inversions"] = mean_z(inversions_M, size * (size - 1) / 4, variance)
    return z


def cycle_statistics(order_MN: np.ndarray) -> dict[str, float]:
    """The number of cycles and of fixed points, and whether permutations are even or odd."""
    size = order_MN.shape[1]
    jump_MN, smallest_MN = order_MN, np.broadcast_to(np.arange(size), order_MN.shape)
    for _ in range(size.bit_length()):
        smallest_MN = np.minimum(smallest_MN, np.take_along_axis(smallest_MN, jump_MN, 1))
        jump_MN = np.take_along_axis(jump_MN, jump_MN, 1)
    cycles_M = (smallest_MN == np.arange(size)).sum(1)
    harmonic = sum(1 / i for i in range(1, size + 1))
    variance = harmonic - sum(1 / i**2 for i in range(1, size + 1))
    fixed_M = (order_MN == np.arange(size)).sum(1)
    return {
        "cycles": mean_z(cycles_M, harmonic, variance),
        "parity": mean_z((size - cycles_M) % 2, 0.5, 0.25),
        "fixed points": mean_z(fixed_M, 1, 1),
        "pairs of fixed points": mean_z(fixed_M * (fixed_M - 1), 1, 6),
    }


def successor_statistics(order_MN: np.ndarray) -> dict[str, float]:
    """How an order resembles the one of the next epoch or seed: equal positions, and examples that
    are in the first batch of both.
    """
    size, batch = order_MN.shape[1], order_MN.shape[1] // 3
    first, second = order_MN[:-1:2], order_MN[1::2]
    rank_MN = second.argsort(1)
    common_M = (np.take_along_axis(rank_MN, first[:, :batch], 1) < batch).sum(1)
    share = batch / size
    variance = batch * share * (1 - share) * (size - batch) / (size - 1)
    return {
        "equal positions": mean_z((first == second).sum(1), 1, 1),
        "first batch": mean_z(common_M, batch * share, variance),
        "spread of the first batch": mean_z(
            (common_M - batch * share) ** 2, variance, ((common_M - batch * share) ** 2).var()
        ),
    }

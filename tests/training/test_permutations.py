"""Orders of the examples: the same with NumPy and torch, and uniformly distributed."""

from collections import Counter

import pytest
import torch

from mlplab import randomness


@pytest.mark.parametrize(
    ("members", "examples"), [(1, 10), (3, 1000), (5, 1000), (64, 65), (1, 5000)]
)
@pytest.mark.parametrize("counter", [0, 7])
def test_numpy_and_torch_sort_alike(members: int, examples: int, counter: int) -> None:
    keys = randomness.keys(list(range(members)), "order")
    index = torch.arange(examples)
    order = randomness.permutations(keys, counter, index)
    assert order.dtype == torch.int64
    assert torch.equal(order, randomness.bits(keys, counter, index).argsort(dim=1, stable=True))
    assert torch.equal(order.sort(dim=1).values, index.expand(members, -1))


def test_every_order_is_equally_likely() -> None:
    keys = randomness.keys(list(range(6000)), "order")
    counts = Counter(map(tuple, randomness.permutations(keys, 1, torch.arange(3)).tolist()))
    assert len(counts) == 6
    # the 0.999 quantile of chi squared with 5 degrees of freedom
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5

"""Orders of the examples: the same whoever sorts, every one equally likely."""

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


def test_every_order_is_as_likely_as_any_other() -> None:
    keys = randomness.keys(list(range(6000)), "order")
    found = Counter(map(tuple, randomness.permutations(keys, 1, torch.arange(3)).tolist()))
    assert len(found) == 6
    # chi squared of 5, once in a thousand
    assert sum((count - 1000) ** 2 / 1000 for count in found.values()) < 20.5

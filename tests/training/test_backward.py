"""The backward pass by autograd's engine, and by torch's public functions."""

import pytest
import torch
from torch import Tensor

from mlplab.training import backward


def tape(seed: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Losses of 3 members on 5 examples, the outer gradients, and the leaves."""
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (torch.randn(size, generator=generator) for size in ((3, 5, 2), (3, 2, 4), (3, 1, 4)))
    leaves = [w.requires_grad_(), b.requires_grad_()]
    return (
        torch.baddbmm(b, x, w).tanh().square().sum(2),
        torch.rand(3, 5, generator=generator),
        leaves,
    )


@pytest.mark.parametrize("available", [True, False])
def test_the_gradients_are_those_of_torch(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available:
        monkeypatch.setattr(backward, "_engine", lambda: None)
    assert (backward._engine() is not None) is available
    loss, outer, leaves = tape(0)
    expected = torch.autograd.grad((loss * outer).sum(), leaves)
    loss, outer, leaves = tape(0)
    for mine, theirs in zip(backward.gradients(loss, outer, leaves), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    loss, outer, leaves = tape(0)
    gradients = [torch.ones_like(leaf) for leaf in leaves]
    for leaf, mine in zip(leaves, gradients, strict=True):
        leaf.grad = mine
    backward.accumulate(loss, outer)
    for leaf, mine, theirs in zip(leaves, gradients, expected, strict=True):
        assert leaf.grad is mine  # accumulated in place
        torch.testing.assert_close(mine, 1 + theirs)


def test_a_changed_engine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed:
        def run_backward(self, tensors: object) -> None:
            raise AssertionError("it takes other arguments")

    monkeypatch.setattr(torch.autograd.Variable, "_execution_engine", Changed())
    assert backward._engine.__wrapped__() is None

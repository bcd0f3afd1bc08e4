"""Backward by the engine itself, and by torch's public functions."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mlplab.training import backward


def tape(seed: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Losses of 3 members on 5 examples, what each counts, and the leaves."""
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (torch.randn(size, generator=generator) for size in ((3, 5, 2), (3, 2, 4), (3, 1, 4)))
    leaves = [w.requires_grad_(), b.requires_grad_()]
    return (
        torch.baddbmm(b, x, w).tanh().square().sum(2),
        torch.rand(3, 5, generator=generator),
        leaves,
    )


@pytest.mark.parametrize("there", [True, False])
def test_the_gradients_are_those_of_torch(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not there:
        monkeypatch.setattr(backward, "_engine", lambda: None)
    assert (backward._engine() is not None) is there
    loss, outer, leaves = tape(0)
    wanted = torch.autograd.grad((loss * outer).sum(), leaves)
    loss, outer, leaves = tape(0)
    for mine, theirs in zip(backward.gradients(loss, outer, leaves), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    loss, outer, leaves = tape(0)
    kept = [torch.ones_like(leaf) for leaf in leaves]
    for leaf, own in zip(leaves, kept, strict=True):
        leaf.grad = own
    backward.accumulate(loss, outer)
    for leaf, own, theirs in zip(leaves, kept, wanted, strict=True):
        assert leaf.grad is own  # added where it belongs
        torch.testing.assert_close(own, 1 + theirs)


def test_an_engine_that_changed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed:
        def run_backward(self, tensors: object) -> None:
            raise AssertionError("it takes other arguments")

    monkeypatch.setattr(torch.autograd.Variable, "_execution_engine", Changed())
    assert backward._engine.__wrapped__() is None


@pytest.mark.slow
def test_training_does_not_import_the_compiler() -> None:
    """Half a second of every process."""
    words = (
        "import sys, mlplab; mlplab.run(['experiment=xor_mlp', 'training.epochs=2'], 'run');"
        " print('sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"

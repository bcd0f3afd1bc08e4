"""The backward pass of one step, calling autograd's engine directly.

`torch.autograd.grad` and `backward` check the shapes of the outer gradients with code of torch's
compiler, whose import (sympy) costs each training process half a second. Here the shapes agree by
construction. If the engine cannot be called this way, torch's public functions are the fallback.

Shapes: K members, B examples of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def gradients(loss_KB: Tensor, outer_KB: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of sum(outer * loss) with respect to the leaves, one tensor each."""
    if (run := _engine()) is None:
        return torch.autograd.grad([loss_KB], leaves, [outer_KB])
    leaf_gradients: tuple[Tensor, ...] = run(
        (loss_KB,),
        (outer_KB,),
        False,
        False,
        tuple(leaves),
        allow_unreachable=False,
        accumulate_grad=False,
    )
    return leaf_gradients


def accumulate(loss_KB: Tensor, outer_KB: Tensor) -> None:
    """Add the gradient of sum(outer * loss) to the `grad` of each leaf."""
    if (run := _engine()) is None:
        torch.autograd.backward([loss_KB], [outer_KB])
        return
    run((loss_KB,), (outer_KB,), False, False, (), allow_unreachable=True, accumulate_grad=True)


@functools.cache
def _engine() -> Callable[..., tuple[Tensor, ...]] | None:
    """The engine's function, or None if this torch lacks it or it behaves differently."""
    with torch.enable_grad():
        leaf = torch.ones(2, requires_grad=True)
        try:
            run = torch.autograd.Variable._execution_engine.run_backward
            (gradient,) = run(
                (leaf * 3,),
                (torch.tensor([1.0, 2.0]),),
                False,
                False,
                (leaf,),
                allow_unreachable=False,
                accumulate_grad=False,
            )
            run(
                (leaf * 3,),
                (torch.tensor([1.0, 2.0]),),
                False,
                False,
                (),
                allow_unreachable=True,
                accumulate_grad=True,
            )
        except (AttributeError, TypeError, RuntimeError):
            return None
    expected = [3.0, 6.0]
    works = (
        gradient.tolist() == expected and leaf.grad is not None and leaf.grad.tolist() == expected
    )
    return run if works else None

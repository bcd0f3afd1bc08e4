"""Backward through the tape of one step, by autograd's engine itself.

`torch.autograd.grad` and `backward` check the shape of the outer gradients with parts of the
compiler, whose import (sympy) takes half a second of each process that trains. Here the shapes
agree by construction. Where the engine cannot be called as it is here, torch's own functions do the
same.

Shapes: K members, B examples of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def gradients(loss_KB: Tensor, outer_KB: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of sum(outer * loss) by each leaf."""
    if (run := _engine()) is None:
        return torch.autograd.grad([loss_KB], leaves, [outer_KB])
    found: tuple[Tensor, ...] = run(
        (loss_KB,),
        (outer_KB,),
        False,
        False,
        tuple(leaves),
        allow_unreachable=False,
        accumulate_grad=False,
    )
    return found


def accumulate(loss_KB: Tensor, outer_KB: Tensor) -> None:
    """Add it to the `grad` of each leaf."""
    if (run := _engine()) is None:
        torch.autograd.backward([loss_KB], [outer_KB])
        return
    run((loss_KB,), (outer_KB,), False, False, (), allow_unreachable=True, accumulate_grad=True)


@functools.cache
def _engine() -> Any:
    """The engine's function; None where it is not there or does not do what it does today."""
    with torch.enable_grad():
        leaf = torch.ones(2, requires_grad=True)
        try:
            run = torch.autograd.Variable._execution_engine.run_backward
            (found,) = run(
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
    right = (
        found.tolist() == [3.0, 6.0] and leaf.grad is not None and leaf.grad.tolist() == [3.0, 6.0]
    )
    return run if right else None

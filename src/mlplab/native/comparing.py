"""Whether the compiled functions of a component give what its PyTorch code gives, on some values.

Shapes: L lanes, H units, C outputs, P parameters; arrays of C are [unit][LANE].
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from mlplab.losses import Loss
from mlplab.native.library import function
from mlplab.native.limits import LANES, LEARNED, MAX_NUMBERS, MAX_SCRATCH_ROWS
from mlplab.native.variants import arguments
from mlplab.network.activations import Activation
from mlplab.optimizers import Optimizer
from mlplab.schema import Component
from mlplab.task import Task

Pairs: TypeAlias = Iterator[tuple[str, Tensor, Tensor]]
"""(what, the result of C, that of PyTorch)."""

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
_TASKS = (
    *(Task("classification", num_classes=classes) for classes in (2, 3, 5)),
    *(Task("regression", num_targets=targets) for targets in (1, 3)),
)


def difference(name: str, component: Component, dtype: str) -> str:
    """Return what differs, as a clause; empty if nothing does. Raises NativeError."""
    numbers = torch.zeros(MAX_NUMBERS, dtype=torch.float64)
    for index, key in enumerate(arguments(component)):
        numbers[index] = float(getattr(component, key))
    for what, ours, theirs in _results(_Calls(name, dtype, numbers), component):
        theirs, tolerance = theirs.detach().to(ours.dtype), _TOLERANCE[ours.dtype]
        if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"compiled, it gives another {what}"
    return ""


class _Calls:
    """Calls of a component's functions with tensors."""

    def __init__(self, name: str, dtype: str, numbers: Tensor) -> None:
        self.name, self.dtype, self.numbers = name, dtype, numbers
        self.torch_dtype: torch.dtype = getattr(torch, dtype)

    def __call__(self, suffix: str, count: int, *arguments: Tensor | float) -> bool:
        """Call a function with its numbers; False if the component has none with this suffix."""
        if not (address := function(self.name, self.dtype, suffix)):
            return False
        given = [*arguments, self.numbers]
        kinds = [ctypes.c_void_p if isinstance(a, Tensor) else ctypes.c_double for a in given]
        values = [a.data_ptr() if isinstance(a, Tensor) else a for a in given]
        ctypes.CFUNCTYPE(None, ctypes.c_int, *kinds)(address)(count, *values)
        return True

    def random(self, *shape: int) -> Tensor:
        """Normal numbers, the same for each call."""
        generator = torch.Generator().manual_seed(len(shape))
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.torch_dtype)


def _results(calls: _Calls, component: Component) -> Pairs:
    if isinstance(component, Activation):
        return _of_activation(calls, component)
    if isinstance(component, Optimizer):
        return _of_optimizer(calls, component)
    assert isinstance(component, Loss)
    return (
        result
        for task in _TASKS
        if task.kind in component.tasks and component.incompatibility(task) is None
        for result in _of_loss(calls, component, task)
    )


def _of_activation(calls: _Calls, activation: Activation) -> Pairs:
    z_HL = 2 * calls.random(3, LANES)
    inputs = [z_HL.T.unsqueeze(0).clone().requires_grad_()]
    if activation.num_parameters():
        (calls.numbers[LEARNED],) = activation.initial_parameters()
        learned = torch.full_like(inputs[0], float(calls.numbers[LEARNED]), requires_grad=True)
        inputs.append(learned)
    h_1LH = activation(*inputs)
    derivatives = torch.autograd.grad(h_1LH, inputs, torch.ones_like(h_1LH), materialize_grads=True)
    results = {"value": h_1LH, **dict(zip(("derivative", "slope"), derivatives, strict=False))}
    h, d, value, slope = (torch.empty_like(z_HL) for _ in range(4))
    calls("", z_HL.numel(), z_HL, h, d)
    calls("_value", z_HL.numel(), z_HL, value)
    ours = {"value": h, "derivative": d}
    if calls("_slope", z_HL.numel(), z_HL, slope):
        ours["slope"] = slope
    for what, theirs_1LH in results.items():
        yield what, ours[what], theirs_1LH[0].T
    yield "value", value, h


def _of_loss(calls: _Calls, loss: Loss, task: Task) -> Pairs:
    o_CL = calls.random(loss.num_outputs(task), LANES)
    if task.classifies:
        y = torch.arange(LANES) % task.num_classes
        targets, lane_y, rows = y.unsqueeze(0), y.int(), len(o_CL)
    else:  # from 0 to 1, which every loss allows
        lane_y, rows = calls.random(task.num_targets, LANES).sigmoid(), task.num_targets
        targets = lane_y.T.unsqueeze(0)
    outputs_1LC = o_CL.T.unsqueeze(0).clone().requires_grad_()
    loss_1L = loss(outputs_1LC, targets)
    (gradient_1LC,) = torch.autograd.grad(loss_1L.sum(), outputs_1LC)
    value, gradient, alone = torch.empty_like(o_CL[0]), torch.empty_like(o_CL), o_CL[0].clone()
    scratch = torch.empty(MAX_SCRATCH_ROWS * rows, LANES, dtype=o_CL.dtype)
    calls("", rows, o_CL, lane_y, value, gradient, scratch)
    calls("_value", rows, o_CL, lane_y, alone, scratch)
    yield "value", value, loss_1L[0]
    yield "value", alone, value
    yield "gradient", gradient, gradient_1LC[0].T
    if not task.classifies:
        values = torch.empty_like(lane_y)
        made = calls("_prediction", rows, o_CL, values, scratch)
        yield "prediction", values if made else o_CL, loss.predict(outputs_1LC)[0].T


def _of_optimizer(calls: _Calls, optimizer: Optimizer) -> Pairs:
    theta_1P, lr = calls.random(1, 11), 0.05
    state = optimizer.init(theta_1P)
    ours_1P = theta_1P.clone()
    ours = {name: value.clone() for name, value in optimizer.init(ours_1P).items()}
    addresses = torch.tensor([*(v.data_ptr() for v in ours.values()), 0])
    for step in (1, 2, 3):
        gradient_1P = theta_1P * step - 0.5
        if calls("_lookahead", 11, ours_1P, ahead_1P := torch.empty_like(ours_1P), addresses):
            yield "point ahead", ahead_1P, optimizer.lookahead(theta_1P, state).clone()
        calls("", 11, ours_1P, gradient_1P.clone(), addresses, float(step), lr)
        theta_1P, state = optimizer.update(theta_1P, gradient_1P, state, step, lr)
        yield "step", ours_1P, theta_1P

"""Graphs of torch's elementary operations, traced from the PyTorch code of the components.

A component is traced as a member of a population: each number that members may differ in is a
tensor [1, 1], so that it becomes an argument of the traced function and no branch depends on its
value. Only scripts/write_native.py and tests trace; a training uses the C code that the package
contains.

Shapes: L lanes (examples, or parameters for an optimizer), C outputs or targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from mlplab.losses import Loss
from mlplab.losses.classification import Bce
from mlplab.native.variants import arguments
from mlplab.network.activations import Activation
from mlplab.optimizers import Optimizer, State
from mlplab.schema import Component

P = TypeVar("P", bound=Component)

LANES = 7
"""The number of lanes in a trace: no other dimension has this size, which tells them apart."""

_ATEN = torch.ops.aten
_DECOMPOSITIONS = {
    **core_aten_decompositions(),
    **get_decompositions(
        [
            *(_ATEN._log_softmax, _ATEN._log_softmax_backward_data),
            *(_ATEN.nll_loss_forward, _ATEN.nll_loss_backward),
            *(_ATEN.lerp, _ATEN.addcmul, _ATEN.addcdiv, _ATEN.clamp),
            *(_ATEN.gelu, _ATEN.gelu_backward, _ATEN.silu, _ATEN.silu_backward),
            *(_ATEN.leaky_relu, _ATEN.leaky_relu_backward, _ATEN.threshold_backward),
            *(_ATEN.sigmoid_backward, _ATEN.tanh_backward),
            *(_ATEN.mse_loss, _ATEN.mse_loss_backward),
            *(_ATEN.binary_cross_entropy_with_logits, _ATEN.log_sigmoid_forward),
        ]
    ),
}


@dataclass(frozen=True)
class Trace:
    """A graph, and for each of its inputs and outputs the name that the C code has for it.

    An output None is not needed.
    """

    graph: GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str | None, ...]


def trace_activation(activation: Activation) -> Trace:
    """Trace z -> (value, derivative)."""

    def function(z_1L1: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        component = _with_numbers(activation, numbers)
        z_1L1 = z_1L1.detach().requires_grad_()
        with torch.enable_grad():
            h_1L1 = component(z_1L1)
            (d_1L1,) = torch.autograd.grad(h_1L1, z_1L1, torch.ones_like(h_1L1))
        return h_1L1.detach(), d_1L1

    names, numbers = _numbers(activation)
    graph = _graph(function, [torch.randn(1, LANES, 1), *numbers])
    return Trace(graph, ("z", *names), ("value", "derivative"))


def trace_loss(loss: Loss, num_outputs: int) -> Trace:
    """Trace (outputs, targets) -> (loss, gradient with respect to the outputs)."""

    def function(o_1LC: Tensor, y: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        component = _with_numbers(loss, numbers)
        o_1LC = o_1LC.detach().requires_grad_()
        with torch.enable_grad():
            loss_1L = component(o_1LC, y)
            (gradient_1LC,) = torch.autograd.grad(loss_1L, o_1LC, torch.ones_like(loss_1L))
        return loss_1L.detach(), gradient_1LC

    classifies = "classification" in loss.tasks
    num_outputs = 1 if isinstance(loss, Bce) else num_outputs
    y = (
        torch.zeros(1, LANES, dtype=torch.int64)
        if classifies
        else torch.rand(1, LANES, num_outputs)
    )
    names, numbers = _numbers(loss)
    graph = _graph(function, [torch.randn(1, LANES, num_outputs), y, *numbers])
    return Trace(graph, ("o", "y", *names), ("value", "derivative"))


def trace_optimizer(optimizer: Optimizer) -> Trace:
    """Trace (theta, gradient, step, lr, state) -> (theta, gradient, state) after a step."""
    names, numbers = _numbers(optimizer)
    stacked = _with_numbers(optimizer, numbers)
    theta_1L, gradient_1L = torch.randn(1, LANES), torch.randn(1, LANES)
    state = stacked.init(theta_1L)

    def function(
        theta_1L: Tensor, gradient_1L: Tensor, step: Tensor, lr: Tensor, *rest: Tensor
    ) -> list[Tensor]:
        component = _with_numbers(optimizer, rest[: len(names)])
        values = _named(state, rest[len(names) :])
        gradient_1L = gradient_1L.clone()
        theta_1L, values = component.update(theta_1L.clone(), gradient_1L, values, step, lr)
        return [theta_1L, gradient_1L, *(values[name] for name in state)]

    one = torch.ones(1, 1, dtype=torch.float64)
    inputs = [theta_1L, gradient_1L, one.long(), one, *numbers, *state.values()]
    with torch.no_grad():
        graph = _graph(functionalize(function, remove="mutations_and_views"), inputs)
    states = tuple(f"state_{name}" for name in state)
    return Trace(
        graph,
        ("theta", "gradient", "step", "lr", *names, *states),
        ("theta", "gradient", *states),
    )


def trace_lookahead(optimizer: Optimizer) -> Trace:
    """Trace (theta, state) -> the point at which the gradient is taken."""
    names, numbers = _numbers(optimizer)
    theta_1L = torch.randn(1, LANES)
    state = _with_numbers(optimizer, numbers).init(theta_1L)

    def function(theta_1L: Tensor, *rest: Tensor) -> list[Tensor]:
        component = _with_numbers(optimizer, rest[: len(names)])
        values = _named(state, rest[len(names) :])
        return [component.lookahead(theta_1L, values)]

    with torch.no_grad():
        graph = _graph(
            functionalize(function, remove="mutations_and_views"),
            [theta_1L, *numbers, *state.values()],
        )
    return Trace(graph, ("theta", *names, *(f"state_{name}" for name in state)), ("ahead",))


def _named(state: State, values: Sequence[Tensor]) -> State:
    return {name: value.clone() for name, value in zip(state, values, strict=True)}


def _numbers(component: Component) -> tuple[list[str], list[Tensor]]:
    names = arguments(component)
    return names, [torch.tensor([[float(getattr(component, name))]]).double() for name in names]


def _with_numbers(component: P, numbers: Sequence[Tensor]) -> P:
    changes: dict[str, Any] = dict(zip(arguments(component), numbers, strict=True))
    return dataclasses.replace(component, **changes)


def _graph(function: Callable[..., object], inputs: Sequence[Tensor]) -> GraphModule:
    graph = make_fx(function, decomposition_table=_DECOMPOSITIONS)(*inputs)
    graph.graph.eliminate_dead_code()
    return graph

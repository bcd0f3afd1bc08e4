"""Graphs of torch's elementary operations, traced from the PyTorch code of the components.

A component is traced as a member of a population: each number that members may differ in is a
tensor [1, 1], so that it becomes an argument of the traced function and no branch depends on its
value. Only scripts/write_native.py, tests and components of plug-ins need this module, whose
imports take seconds; a training uses the C code that the package contains.

Shapes: L lanes (examples, or parameters for an optimizer), H units, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from mlplab.losses import Loss
from mlplab.native.variants import arguments
from mlplab.network.activations import Activation
from mlplab.optimizers import Optimizer, State
from mlplab.schema import Component
from mlplab.task import Task

P = TypeVar("P", bound=Component)

LANES, UNITS = 7, 5
"""The sizes of two dimensions in a trace, which tell them apart: no other dimension has them."""

_PRECISIONS = torch.float32, torch.float64
_ATEN = torch.ops.aten


def _hardsigmoid_backward(gradient: Tensor, z: Tensor) -> Tensor:
    """That of torch's CPU kernel, which rounds 1/6 to float32 whatever the dtype."""
    return torch.where((z > -3) & (z < 3), gradient * 0.1666666716337204, 0.0)


_DECOMPOSITIONS = {
    **core_aten_decompositions(),
    **get_decompositions(
        [
            *(_ATEN._log_softmax, _ATEN._log_softmax_backward_data),
            *(_ATEN._softmax, _ATEN._softmax_backward_data, _ATEN.elu, _ATEN.elu_backward),
            *(_ATEN.nll_loss_forward, _ATEN.nll_loss_backward),
            *(_ATEN.lerp, _ATEN.addcmul, _ATEN.addcdiv, _ATEN.clamp),
            *(_ATEN.gelu, _ATEN.gelu_backward, _ATEN.silu, _ATEN.silu_backward),
            *(_ATEN.leaky_relu, _ATEN.leaky_relu_backward, _ATEN.threshold_backward),
            *(_ATEN.sigmoid_backward, _ATEN.tanh_backward),
            *(_ATEN.mse_loss, _ATEN.mse_loss_backward),
            *(_ATEN.binary_cross_entropy_with_logits, _ATEN.log_sigmoid_forward),
        ]
    ),
    _ATEN.hardsigmoid_backward.default: _hardsigmoid_backward,
}


class UntraceableError(Exception):
    """A component does something that cannot be printed; the message names it."""


@dataclass(frozen=True)
class Trace:
    """A graph, and for each of its inputs and outputs the name that the C code has for it.

    An output None is not needed. `memory` has the C types of an optimizer's state tensors.
    """

    graph: GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str | None, ...]
    memory: dict[str, str] = field(default_factory=dict)

    def is_scalar(self, name: str) -> bool:
        """Whether an input is one number of the member, not one of each lane."""
        nodes = [node for node in self.graph.graph.nodes if node.op == "placeholder"]
        return LANES not in nodes[self.inputs.index(name)].meta["val"].shape


def trace_activation(activation: Activation) -> Trace:
    """Trace z -> (value, derivative); with a learned parameter, also the derivative by it."""
    learned = [torch.rand(1, 1, 1)] * activation.num_parameters()

    def function(z_1LH: Tensor, *rest: Tensor) -> list[Tensor]:
        component = _with_numbers(activation, rest[: len(names)])
        inputs = [x.detach().requires_grad_() for x in (z_1LH, *rest[len(names) :])]
        if learned:  # a parameter of each lane, so that its derivative is not a sum
            inputs[1] = inputs[1].detach().expand_as(z_1LH).requires_grad_()
        with torch.enable_grad():
            h_1LH = component(*inputs)
            derivatives = torch.autograd.grad(
                h_1LH, inputs, torch.ones_like(h_1LH), materialize_grads=True
            )
        return [h_1LH.detach(), *derivatives]

    names, numbers = _numbers(activation)
    graph = _graph(function, [torch.randn(1, LANES, UNITS), *numbers, *learned])
    return Trace(
        graph,
        ("z", *names, *["learned"] * len(learned)),
        ("value", "derivative", *["slope"] * len(learned)),
    )


def trace_loss(loss: Loss, task: Task) -> Trace:
    """Trace (outputs, targets) -> (loss, gradient with respect to the outputs)."""

    def function(o_1LC: Tensor, y: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        component = _with_numbers(loss, numbers)
        o_1LC = o_1LC.detach().requires_grad_()
        with torch.enable_grad():
            loss_1L = component(o_1LC, y)
            (gradient_1LC,) = torch.autograd.grad(loss_1L, o_1LC, torch.ones_like(loss_1L))
        return loss_1L.detach(), gradient_1LC

    y = (
        torch.zeros(1, LANES, dtype=torch.int64)
        if task.classifies
        else torch.rand(1, LANES, task.num_targets)
    )
    names, numbers = _numbers(loss)
    graph = _graph(function, [torch.randn(1, LANES, loss.num_outputs(task)), y, *numbers])
    return Trace(graph, ("o", "y", *names), ("value", "derivative"))


def trace_prediction(loss: Loss, task: Task) -> Trace:
    """Trace outputs -> predicted values."""
    names, numbers = _numbers(loss)

    def function(o_1LC: Tensor, *numbers: Tensor) -> list[Tensor]:
        return [_with_numbers(loss, numbers).predict(o_1LC)]

    with torch.no_grad():
        graph = _graph(function, [torch.randn(1, LANES, loss.num_outputs(task)), *numbers])
    return Trace(graph, ("o", *names), ("prediction",))


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
        _memory(stacked),
    )


def trace_lookahead(optimizer: Optimizer) -> Trace:
    """Trace (theta, state) -> the point at which the gradient is taken."""
    names, numbers = _numbers(optimizer)
    theta_1L = torch.randn(1, LANES)
    stacked = _with_numbers(optimizer, numbers)
    state = stacked.init(theta_1L)

    def function(theta_1L: Tensor, *rest: Tensor) -> list[Tensor]:
        component = _with_numbers(optimizer, rest[: len(names)])
        values = _named(state, rest[len(names) :])
        return [component.lookahead(theta_1L, values)]

    with torch.no_grad():
        graph = _graph(
            functionalize(function, remove="mutations_and_views"),
            [theta_1L, *numbers, *state.values()],
        )
    inputs = ("theta", *names, *(f"state_{name}" for name in state))
    return Trace(graph, inputs, ("ahead",), _memory(stacked))


def _memory(optimizer: Optimizer) -> dict[str, str]:
    """The C type of each state tensor, [K, P] or [K, 1], as "state_mean" -> "T"."""
    single, double = (optimizer.init(torch.zeros(1, LANES, dtype=d)) for d in _PRECISIONS)
    types = {
        _PRECISIONS: "T",
        (torch.float64, torch.float64): "double",
        (torch.int64, torch.int64): "int64_t",
    }
    memory = {}
    for name, tensor in single.items():
        dtypes = tensor.dtype, double[name].dtype
        if dtypes not in types or tensor.shape not in ((1, LANES), (1, 1)):
            raise UntraceableError(f"a state of the type {dtypes[1]}, shape {list(tensor.shape)}")
        memory[f"state_{name}"] = types[dtypes]
    return memory


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

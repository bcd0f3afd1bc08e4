"""The training of a plain network with 80-bit numbers, whose rounding is 2,048 times smaller.

It evaluates the graphs from which the C of the native engine is printed, with numpy's long double.
It shows how far a training in float64 is from the one that it rounds.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlplab.native.tracing import (
    LANES,
    UNITS,
    Trace,
    trace_activation,
    trace_loss,
    trace_optimizer,
)
from mlplab.native.variants import arguments
from mlplab.schema import Component
from mlplab.settings import Settings
from mlplab.training import PreparedMember, build_population, prepare_members
from mlplab.training.population import Population

Values = NDArray[Any]

OPERATIONS: dict[str, Callable[..., Any]] = {
    **{"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv},
    **{"neg": operator.neg, "abs": np.abs, "sign": np.sign, "ge": operator.ge, "isnan": np.isnan},
    **{"asinh": np.arcsinh, "pow": np.power, "bitwise_or": operator.or_, "where": np.where},
    **dict.fromkeys(("alias", "clone", "_to_copy"), np.asarray),
    **{"view": np.reshape, "unsqueeze": np.expand_dims, "full_like": np.full_like},
    "rsqrt": lambda values: 1 / np.sqrt(values),
    "squeeze": lambda values, axes: np.squeeze(values, tuple(axes)),
    "scalar_tensor": np.longdouble,
}
"""By the names of torch's operations: those that a comparison has needed so far."""


def train_extended(settings: Settings) -> Values:
    """The weights [P] after the training, whose layers are affine and elementwise.

    Raises NotImplementedError for an optimizer with a state, for an operation that is not known
    here, and where long double has 64 bits.
    """
    if np.finfo(np.longdouble).eps > 2.0**-60:
        raise NotImplementedError("long double has no more digits than double")
    members = prepare_members([settings])
    population, _ = build_population(members)
    if population.optimizer_state:
        raise NotImplementedError("an optimizer with a state")
    theta_P = _extended(population.theta_KP[0])
    network, per_epoch = _Network(population, members[0]), population.batches.per_epoch
    update = trace_optimizer(settings.optimizer)
    for epoch in range(int(population.early_stopping.last_step_K[0]) // per_epoch):
        for batch, (x, y, _) in enumerate(population.batches.epoch(epoch + 1)):
            step = epoch * per_epoch + batch + 1
            unit = step - 1 if population.schedule.unit == "step" else epoch
            rate = float(population.schedule.factor(unit, float(population.total_units)))
            theta_P = _in_blocks(
                *(update, settings.optimizer, (LANES,)),
                {
                    "theta": theta_P,
                    "gradient": network.gradient(theta_P, _extended(x[0]), _extended(y[0])),
                },
                {"step": step, "lr": settings.optimizer.lr * rate},
            )["theta"]
    return theta_P


def _extended(values: Tensor) -> Values:
    return values.numpy().astype(np.longdouble)


class _Network:
    """The gradient of the mean loss of a batch."""

    def __init__(self, population: Population, member: PreparedMember) -> None:
        settings = member.settings
        self._layout, self._loss = population.network.layout, settings.loss
        self._activations = [layer.activation for layer in settings.layers[:-1]]
        self._traces = {
            activation: trace_activation(activation) for activation in self._activations
        }
        self._loss_trace = trace_loss(settings.loss, member.prepared.task)

    def gradient(self, theta_P: Values, x_BF: Values, y_BT: Values) -> Values:
        """[P]."""
        segments = np.split(theta_P, np.cumsum(self._layout.sizes)[:-1])
        entries = [
            values.reshape(entry.shape)
            for values, entry in zip(segments, self._layout.entries, strict=True)
        ]
        weights, biases = entries[::2], entries[1::2]
        hidden, derivatives = [x_BF], []
        for weight, bias, activation in zip(weights, biases, self._activations, strict=False):
            z_BH = hidden[-1] @ weight + bias
            values = {"z": z_BH.reshape(-1)}
            made = _in_blocks(self._traces[activation], activation, (LANES * UNITS,), values)
            hidden.append(made["value"].reshape(z_BH.shape))
            derivatives.append(made["derivative"].reshape(z_BH.shape))
        outputs = {"o": hidden[-1] @ weights[-1] + biases[-1], "y": y_BT}
        shape = (LANES, outputs["o"].shape[1])
        d_BH = _in_blocks(self._loss_trace, self._loss, shape, outputs)["derivative"] / len(x_BF)
        gradients: list[Values] = []
        for index in reversed(range(len(weights))):
            gradients = [hidden[index].T @ d_BH, d_BH.sum(0), *gradients]
            if index:
                d_BH = (d_BH @ weights[index].T) * derivatives[index - 1]
        return np.concatenate([gradient.reshape(-1) for gradient in gradients])


def _in_blocks(
    trace: Trace,
    component: Component,
    shape: tuple[int, ...],
    values: Mapping[str, Values],
    further: Mapping[str, Any] | None = None,
) -> dict[str, Values]:
    """The outputs of a graph for any number of lanes, in blocks of the size that was traced."""
    numbers = {name: getattr(component, name) for name in arguments(component)} | (further or {})
    scalars = {name: np.longdouble(number).reshape(1, 1) for name, number in numbers.items()}
    count, blocks = len(next(iter(values.values()))), []
    for first in range(0, count, shape[0]):
        lanes = np.arange(first, first + shape[0]).clip(max=count - 1)
        outputs = _evaluate(trace, scalars | {name: value[lanes] for name, value in values.items()})
        blocks.append(
            {name: v.reshape(shape) for name, v in outputs.items() if v.size == math.prod(shape)}
        )
    return {name: np.concatenate([block[name] for block in blocks])[:count] for name in blocks[0]}


def _evaluate(trace: Trace, inputs: Mapping[str, Values]) -> dict[str, Values]:
    """The outputs of a graph."""
    known: dict[object, Any] = {}
    names = iter(trace.inputs)
    for node in trace.graph.graph.nodes:
        if node.op == "placeholder":
            known[node] = inputs[next(names)].reshape(node.meta["val"].shape)
        elif node.op == "call_function":
            name = node.target._schema.name.split("::")[1]
            if name not in OPERATIONS:
                raise NotImplementedError(f"the operation {name}")
            given = [known.get(a, a) for a in map(_hashable, node.args)]
            known[node] = OPERATIONS[name](*given)
        else:
            outputs = zip(trace.outputs, node.args[0], strict=True)
            return {name: known[output] for name, output in outputs if name is not None}
    raise NotImplementedError("a graph without outputs")


def _hashable(argument: object) -> object:
    return tuple(argument) if isinstance(argument, list) else argument

"""The numbers of one update as lines: a symbol, the formula that gives it, and its value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlplab.losses import LOSSES, Bce, CrossEntropy, Loss, Nll
from mlplab.network.activations import ACTIVATIONS, Activation
from mlplab.one_step.compute import LayerStep, OneStep
from mlplab.one_step.mean_loss import Array
from mlplab.optimizers import Optimizer, Sgd
from mlplab.schema import Component, formula_lines

SYMBOLS = {"weight": "A", "bias": "b", "norm_scale": "g", "norm_shift": "s", "slopes": "a"}
"""Of the parameters of a layer, before its number."""


@dataclass(frozen=True)
class Line:
    """A value, such as z1 = A1 x + b1 = (0.6, 0.1). A remark is printed after it."""

    section: str  # forward, backward, update, again
    layer: int | None
    symbol: str
    formula: str
    value: Array
    remark: str = ""


def lines_of(step: OneStep, row: int = 0) -> list[Line]:
    """Return the lines of an update. Of a batch, the row at this index is shown in full."""
    return [*_forward(step, row), *_backward(step, row), *_update(step), *_again(step, row)]


def name_of(component: Component | None, table: dict[str, type]) -> str:
    """Return the name of a component's class in a registry, or that of the class."""
    names = (name for name, cls in table.items() if cls is type(component))
    return next(names, type(component).__name__.lower())


def activation_name(activation: Activation | None) -> str:
    """Return the name of an activation, such as "sigmoid"."""
    return name_of(activation, dict(ACTIVATIONS))


def _inputs(layer: LayerStep, step: OneStep) -> str:
    """The symbol of the inputs of a layer."""
    if layer.number == 1:
        return "x"
    dropped = step.layers[layer.number - 2].drop is not None
    return f"{'d' if dropped else 'h'}{layer.number - 1}"


def _forward(step: OneStep, row: int) -> Iterator[Line]:
    for layer in step.layers:
        i = layer.number
        affine = f"A{i} {_inputs(layer, step)}" + (f" + b{i}" if "bias" in layer.parameters else "")
        if layer.normalization != "none":
            affine = f"{layer.normalization}_norm({affine})"
        yield Line("forward", i, f"z{i}", affine, layer.z[row])
        if layer.activation is not None:
            name = activation_name(layer.activation)
            formula = _of_z(layer.activation.formula)
            yield Line("forward", i, f"h{i}", f"{name}(z{i})", layer.h[row], formula)
        if layer.drop is not None:
            remark = "dropout of this step: 0 if dropped, else 1 / (1 - rate)"
            yield Line("forward", i, f"m{i}", "mask", layer.drop[row], remark)
            yield Line("forward", i, f"d{i}", f"h{i} * m{i}", layer.h[row] * layer.drop[row])
    yield _prediction(step, "forward", step.predictions[row], row)
    yield from _losses(step, row)


def _of_z(formula: str) -> str:
    """The formula of an activation, in the symbols z and h instead of x and f(x)."""
    return re.sub(r"\bx\b", "z", formula.replace("f(x)", "h"))


def _prediction(step: OneStep, section: str, value: Array, row: int) -> Line:
    last, names = f"z{len(step.layers)}", step.prepared.class_names
    if not step.prepared.task.classifies:
        remark = f"target {_target(step, row)}" + (", both scaled" if _scaled_target(step) else "")
        return Line(section, None, "y^", f"prediction({last})", value, remark)
    if step.layers[-1].z.shape[1] > 1:
        remark = f"true: {names[int(step.y[row])]}"
        return Line(section, None, "p", f"P(class | {last})", value, remark)
    formula = f"sigmoid({last})" if isinstance(step.settings.loss, Bce) else f"P({last})"
    return Line(section, None, "p", formula, value[1:], f"P(y = {names[1]})")


def _scaled_target(step: OneStep) -> bool:
    scaler = step.prepared.target_scaler
    return scaler is not None and bool((scaler.shift != 0).any() or (scaler.scale != 1).any())


def _target(step: OneStep, row: int) -> str:
    return ", ".join(f"{value:.4f}" for value in np.atleast_1d(step.y[row]))


def _losses(step: OneStep, row: int) -> Iterator[Line]:
    loss, formula = step.settings.loss, _loss_formula(step, row)
    name = name_of(loss, dict(LOSSES))
    one = np.array(step.losses[row])
    weighted = "" if step.weights is None else f", weight of the row {step.weights[row]:.4g}"
    yield Line("forward", None, "e", formula, one, f"loss={name}{weighted}")
    if len(step.losses) > 1:
        yield Line("forward", None, "e of the rows", "", step.losses)
        mean = np.array(step.objective - step.penalty)
        yield Line("forward", None, "E", _reduction(step), mean)
    if step.penalty:
        options = step.settings.training
        terms = [f"{options.l1:g} sum |w|"] * (options.l1 > 0)
        terms += [f"{options.l2:g} / 2 sum w^2"] * (options.l2 > 0)
        yield Line("forward", None, "penalty", " + ".join(terms), np.array(step.penalty))
        yield Line("forward", None, "J", "loss + penalty", np.array(step.objective))


def _reduction(step: OneStep) -> str:
    how = "sum" if step.settings.loss.reduction == "sum" else "mean"
    weighted = "weighted " if step.weights is not None else ""
    return f"{weighted}{how} of e over {len(step.losses)} rows"


def is_likelihood(loss: Loss) -> bool:
    """Whether the loss is -log of the probability of the true class."""
    if isinstance(loss, Bce):
        return bool(loss.pos_weight == 1)
    return isinstance(loss, Nll) or (
        isinstance(loss, CrossEntropy) and bool(loss.label_smoothing == 0)
    )


def _loss_formula(step: OneStep, row: int) -> str:
    loss = step.settings.loss
    if is_likelihood(loss):
        if isinstance(loss, Bce):
            return "-log p" if step.y[row] == 1 else "-log(1 - p)"
        return "-log p_y"
    return (formula_lines(loss) or ["loss"])[0].partition("   ")[0].rstrip(" ,;")


def _backward(step: OneStep, row: int) -> Iterator[Line]:
    last, loss, y = step.layers[-1], step.settings.loss, step.y[row]
    z = f"z{last.number}"
    coefficient = _coefficient(step)
    derivative = loss.derivative or "de/dz, by autograd"
    if is_likelihood(loss):
        p = float(step.predictions[row][1 if isinstance(loss, Bce) else int(y)])
        if isinstance(loss, Bce):
            inner = -1 / p if y == 1 else 1 / (1 - p)
            yield Line(
                "backward", None, "de/dp", "-1 / p" if y == 1 else "1 / (1 - p)", np.array(inner)
            )
            yield Line("backward", None, f"dp/d{z}", "p (1 - p)", np.array(p * (1 - p)))
            derivative = f"de/dp dp/d{z}"
        else:
            yield Line("backward", None, "de/dp_y", "-1 / p_y", np.array(-1 / p))
            derivative = "p - [c = y]"
    formula = f"({derivative}) {coefficient}" if coefficient else derivative
    yield Line("backward", last.number, f"de/d{z}", formula, last.dz[row])
    for layer in reversed(step.layers):
        yield from _through(step, layer, row)


def _coefficient(step: OneStep) -> str:
    """What the derivative of one loss is multiplied by in that of the batch."""
    sums = step.settings.loss.reduction == "sum"
    if step.weights is not None:
        return "* weight" if sums else "* weight / sum of weights"
    return "" if len(step.losses) == 1 or sums else f"/ {len(step.losses)} rows"


def _through(step: OneStep, layer: LayerStep, row: int) -> Iterator[Line]:
    """The derivatives of the parameters of a layer, and of the layer before it."""
    i, rows = layer.number, len(step.losses)
    over = " over the rows" if rows > 1 else ""
    inputs = _inputs(layer, step)
    for name, parameter in layer.parameters.items():
        symbol = f"{SYMBOLS[name]}{i}"
        formula = "autograd"
        if layer.normalization == "none" and name == "weight":
            formula = f"de/dz{i} {inputs}^T" if rows == 1 else f"sum of de/dz{i} {inputs}^T{over}"
        elif layer.normalization == "none" and name == "bias":
            formula = f"de/dz{i}" if rows == 1 else f"sum of de/dz{i}{over}"
        elif name in ("weight", "bias"):
            formula = f"through the {layer.normalization} norm"
        yield Line("backward", i, f"de/d{symbol}", formula, parameter.gradient)
    if i == 1:
        return
    before = step.layers[i - 2]
    if before.dh is None or before.slope is None or before.activation is None:
        return
    j = i - 1
    formula = f"A{i}^T de/dz{i}" if layer.normalization == "none" else "through the normalization"
    mask = f" * m{j}" if before.drop is not None else ""
    yield Line("backward", j, f"de/dh{j}", f"{formula}{mask}", before.dh[row])
    yield Line(
        "backward",
        j,
        f"dh{j}/dz{j}",
        f"{activation_name(before.activation)}'(z{j})",
        before.slope[row],
        _slope_remark(before),
    )
    yield Line("backward", j, f"de/dz{j}", f"de/dh{j} * dh{j}/dz{j}", before.dz[row])


def _slope_remark(layer: LayerStep) -> str:
    """The formula of the derivative, and where it lets the gradient fade."""
    assert layer.activation is not None
    derivative = _of_z(layer.activation.derivative)
    fades = ", at most 1/4: here it fades" if activation_name(layer.activation) == "sigmoid" else ""
    return derivative + fades


def _update(step: OneStep) -> Iterator[Line]:
    optimizer = step.settings.optimizer
    for layer in step.layers:
        for name, parameter in layer.parameters.items():
            i, symbol = layer.number, f"{SYMBOLS[name]}{layer.number}"
            gradient = f"de/d{symbol}"
            if not np.array_equal(parameter.total, parameter.gradient):
                gradient = f"g({symbol})"
                formula = _total_formula(step, name, symbol)
                yield Line("update", i, gradient, formula, parameter.total)
            for state, (before, after) in parameter.state.items():
                yield Line("update", i, f"{state}({symbol})", "before", before)
                yield Line("update", i, f"{state}({symbol})", "after", after)
            yield Line("update", i, symbol, "before", parameter.before)
            change = f"{_rate(step, i, name)} {gradient}" if is_plain(optimizer) else "step"
            yield Line("update", i, f"{symbol} new", f"{symbol} - {change}", parameter.after)


def _rate(step: OneStep, number: int, name: str) -> str:
    """The learning rate of a parameter of a layer."""
    layer = step.settings.layers[number - 1]
    factor = {"weight": layer.lr_factor, "bias": layer.bias_lr_factor}.get(name, 1.0)
    return "lr" if factor == 1 else f"{factor:g} lr"


def is_plain(optimizer: Optimizer) -> bool:
    """Whether the update is theta - lr * gradient."""
    return isinstance(optimizer, Sgd) and bool(
        optimizer.momentum == 0 and optimizer.weight_decay == 0
    )


def _total_formula(step: OneStep, name: str, symbol: str) -> str:
    options = step.settings.training
    terms = [f"de/d{symbol}"]
    if name == "weight":
        terms += [f"{options.l2:g} w"] * (options.l2 > 0)
        terms += [f"{options.l1:g} sign(w)"] * (options.l1 > 0)
    text = " + ".join(terms)
    if options.clip_value is not None:
        text += f", clipped at {options.clip_value:g}"
    if options.clip_norm is not None:
        norm = step.gradient_norm
        text += f", norm {norm:.4g}" + (
            f" > {options.clip_norm:g}: scaled" if norm > options.clip_norm else ""
        )
    return text


def _again(step: OneStep, row: int) -> Iterator[Line]:
    yield _prediction(step, "again", step.predictions_again[row], row)
    symbol, formula = "e", _loss_formula(step, row)
    if len(step.losses) > 1:
        symbol, formula = "E", _reduction(step)
    if step.penalty:
        symbol, formula = "J", "loss + penalty"
    remark = f"was {step.objective:.4f}"
    yield Line("again", None, symbol, formula, np.array(step.again), remark)

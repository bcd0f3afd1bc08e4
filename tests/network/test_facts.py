"""What `mlplab list` says of activations and initializers, verified numerically.

The formulas are evaluated as they are printed.
"""

from __future__ import annotations

import math
import re

import pytest
import torch

from mlplab.config.yaml_render import facts
from mlplab.network.activations import ACTIVATIONS
from mlplab.network.initializers import INITIALIZERS, Given
from mlplab.schema import rules

UNITS = ("brelu",)  # the formula depends on the unit
NAMES = {
    **{name: getattr(torch, name) for name in ("exp", "sqrt", "tanh", "sign", "sin", "cos", "log")},
    "ln": torch.log,
    "arctan": torch.atan,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "Phi": torch.special.ndtr,
    "phi": lambda x: torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    "max": lambda a, b: torch.maximum(torch.as_tensor(a), torch.as_tensor(b)),
    "min": lambda a, b: torch.minimum(torch.as_tensor(a), torch.as_tensor(b)),
    "abs": abs,
    "pi": math.pi,
    "inf": math.inf,
}


def _python(text):
    return re.sub(r"\|(\w+)\|", r"abs(\1)", text).replace("^", "**")


def _clauses(text):
    """ "A if x > 0, B beyond" -> [("A", "x > 0"), ("B", None)]."""
    clauses = re.split(r",\s(?![^()]*\))", text)
    return [
        (value, condition or None)
        for clause in clauses
        for value, _, condition in [re.sub(r" (beyond|between)$", "", clause).partition(" if ")]
    ]


def _evaluated(text, x, names):
    text, _, where = text.partition(", t = ")
    scope = {**NAMES, **names, "x": x}
    if where:
        scope["t"] = eval(_python(where), scope)
    if "f(x)" in text:
        scope["f"] = names["value"]
    result = torch.full_like(x, math.nan)
    for value, condition in reversed(_clauses(text)):
        number = torch.as_tensor(eval(_python(value), scope), dtype=x.dtype).expand_as(x)
        chained = re.sub(r"(\S+) < x < (\S+)", r"(\1 < x) & (x < \2)", condition or "x == x")
        result = torch.where(eval(_python(chained), scope), number, result)
    return result


def _numbers(activation):
    names = {key: getattr(activation, key) for key in rules(activation)}
    names |= dict(zip(("slope",), activation.initial_parameters(), strict=False))
    if type(activation).__name__ == "Selu":
        names |= {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}
    return names


def _value(activation, x):
    learned = activation.initial_parameters()
    slopes = torch.tensor(learned, dtype=x.dtype).view(1, 1, -1) if learned else None
    return activation(x.view(1, -1, 1), slopes).view(-1)


def _both(activation, x):
    leaf = x.clone().requires_grad_()
    value = _value(activation, leaf)
    slope = torch.zeros_like(x)
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


CASES = [(name, cls()) for name, cls in ACTIVATIONS.items() if name not in UNITS]


@pytest.mark.parametrize(("name", "activation"), CASES, ids=[name for name, _ in CASES])
def test_formula_and_derivative(name, activation):
    # no kink of any activation lies at these points
    x = torch.linspace(-7.03, 7.11, 400, dtype=torch.float64)
    value, slope = _both(activation, x)
    names = {**_numbers(activation), "value": lambda x: _value(activation, x)}
    # torch's hardsigmoid rounds its slope to single precision; softplus is a line above 20
    near = {"rtol": 1e-6, "atol": 1e-8}
    torch.testing.assert_close(_evaluated(activation.formula, x, names), value, **near)
    torch.testing.assert_close(_evaluated(activation.derivative, x, names), slope, **near)


@pytest.mark.parametrize(("name", "activation"), CASES, ids=[name for name, _ in CASES])
def test_range(name, activation):
    x = torch.cat([torch.linspace(-30, 30, 60_001), torch.tensor([-1e8, 1e8])]).double()
    value, text = _value(activation, x), activation.output_range
    if text == "{0, 1}":
        assert set(value.tolist()) == {0, 1}
        return
    left, low, high, right = re.fullmatch(r"([\[(])(.*), (.*)([\])])", text).groups()
    names = {**NAMES, **_numbers(activation), "sqrt": math.sqrt}
    low, high = (float(eval(_python(edge), dict(names))) for edge in (low, high))
    assert value.min() >= low - 1e-3
    assert value.max() <= high + 1e-3
    for edge, reached, bracket in ((low, value.min(), left), (high, value.max(), right)):
        if math.isinf(edge):
            assert abs(reached) > 15  # logarithms grow slowly
        elif bracket in "[]":
            assert abs(reached - edge) < 6e-3  # "about": two or three digits
        else:
            assert abs(reached - edge) < 0.01  # approached


@pytest.mark.parametrize(("name", "activation"), CASES, ids=[name for name, _ in CASES])
def test_continuity(name, activation):
    """The first derivative with a jump, found by differences on both sides of every point."""
    order = activation.continuity.partition(" for")[0].removeprefix("C^")
    jumps = [_jumps(activation, derivative) for derivative in range(4)]
    expected = math.inf if order == "inf" else int(order) + 1
    assert next((k for k, jump in enumerate(jumps) if jump), math.inf) == expected


def _jumps(activation, derivative):
    """Whether a derivative jumps between two near points, of which kinks are in the middle."""
    spacing = {0: 1e-7, 1: 1e-7, 2: 1e-4, 3: 1e-3}[derivative]
    kinks = torch.tensor([-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 6], dtype=torch.float64)
    sides = [
        _derivative(activation, kinks + sign * 3 * spacing, derivative, spacing) for sign in (-1, 1)
    ]
    smooth_change = {0: 1e-5, 1: 1e-5, 2: 0.02, 3: 0.2}[derivative]
    return bool((sides[0] - sides[1]).abs().max() > smooth_change)


def _derivative(activation, x, order, spacing):
    value, slope = _both(activation, x)
    if order < 2:
        return value if order == 0 else slope
    after, before = (_both(activation, x + sign * spacing)[1] for sign in (1, -1))
    if order == 2:
        return (after - before) / (2 * spacing)
    return (after - 2 * slope + before) / spacing**2


@pytest.mark.parametrize("name", [name for name, cls in INITIALIZERS.items() if cls is not Given])
def test_variance_of_an_initializer(name):
    initializer = INITIALIZERS[name]()
    weight_OI = torch.empty(300, 500, dtype=torch.float64)
    initializer.fill(weight_OI, torch.Generator().manual_seed(0))
    names = {key: getattr(initializer, key) for key in rules(initializer)}
    names |= {"fan_in": 500, "fan_out": 300, "max": max}
    expected = eval(_python(initializer.variance), names)
    assert float(weight_OI.var()) == pytest.approx(expected, rel=0.02, abs=1e-30)


def test_the_files_have_the_facts_once():
    """The class is the only source: its docstring does not repeat them."""
    for cls in ACTIVATIONS.values():
        lines = facts(cls)
        assert f"range {cls.output_range}" in lines
        assert f"continuity {cls.continuity}" in lines
        assert sum("Range (" in line or "Range [" in line for line in lines) == 0
    assert "C^2, but the second derivative jumps" in " ".join(facts(ACTIVATIONS["sqnl"]))

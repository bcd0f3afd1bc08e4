"""Every activation against its formula, its documented range and torch's implementation.

The formulas are written from the lecture's tables and the papers. Shapes: [1, B, H], B examples in
the batch, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from mlplab.network.activations import ACTIVATIONS, Activation
from mlplab.schema import rules

NAMES = list(ACTIVATIONS)


def build(name: str, **fields: Any) -> Activation:
    return ACTIVATIONS[name](**fields)


Formula = Callable[[Tensor], Tensor]

exp, sqrt, tanh, sigmoid = torch.exp, torch.sqrt, torch.tanh, torch.sigmoid


def Phi(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def phi(x: Tensor) -> Tensor:
    return exp(-x * x / 2) / math.sqrt(2 * math.pi)


def gelu_angle(x: Tensor) -> Tensor:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def gelu_tanh_slope(x: Tensor) -> Tensor:
    t = tanh(gelu_angle(x))
    return (1 + t) / 2 + x * (1 - t * t) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def mish_slope(x: Tensor) -> Tensor:
    t = tanh(torch.log(1 + exp(x)))
    return t + x * (1 - t * t) * sigmoid(x)


def piecewise(x: Tensor, *cases: tuple[Tensor, Tensor | float]) -> Tensor:
    """The value of the first case whose condition holds, else 0."""
    result = torch.zeros_like(x)
    for condition, value in reversed(cases):
        result = torch.where(condition, value, result)
    return result


ALWAYS = torch.tensor(True)
LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772  # of selu
ODD = torch.arange(7) % 2 == 1  # units 1, 3, 5 of the grid below

# name -> [(fields, f(x), f'(x))], from the tables of the lecture and the papers.
CLOSED_FORMS: dict[str, list[tuple[dict[str, Any], Formula, Formula]]] = {
    "identity": [({}, lambda x: x, torch.ones_like)],
    "binary_step": [
        ({}, lambda x: piecewise(x, (x >= 0, 1.0)), torch.zeros_like),
        (
            {"straight_through": True},
            lambda x: piecewise(x, (x >= 0, 1.0)),
            lambda x: piecewise(x, (x.abs() <= 1, 1.0)),
        ),
    ],
    "sigmoid": [
        ({}, lambda x: 1 / (1 + exp(-x)), lambda x: 1 / (1 + exp(-x)) * (1 - 1 / (1 + exp(-x))))
    ],
    "tanh": [
        (
            {},
            lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)),
            lambda x: 1 - ((exp(x) - exp(-x)) / (exp(x) + exp(-x))) ** 2,
        )
    ],
    "sqnl": [
        (
            {},
            lambda x: piecewise(
                x, (x > 2, 1.0), (x >= 0, x - x**2 / 4), (x >= -2, x + x**2 / 4), (ALWAYS, -1.0)
            ),
            lambda x: piecewise(x, (x.abs() > 2, 0.0), (x >= 0, 1 - x / 2), (ALWAYS, 1 + x / 2)),
        )
    ],
    "arctan": [({}, torch.arctan, lambda x: 1 / (x**2 + 1))],
    "arsinh": [({}, lambda x: torch.log(x + sqrt(x**2 + 1)), lambda x: 1 / sqrt(x**2 + 1))],
    "softsign": [({}, lambda x: x / (1 + x.abs()), lambda x: 1 / (1 + x.abs()) ** 2)],
    "isru": [
        (
            {"alpha": a},
            lambda x, a=a: x / sqrt(1 + a * x**2),
            lambda x, a=a: (1 / sqrt(1 + a * x**2)) ** 3,
        )  # type: ignore[misc]
        for a in (1.0, 3.0)
    ],
    "isrlu": [
        (
            {"alpha": 3.0},
            lambda x: piecewise(x, (x >= 0, x), (ALWAYS, x / sqrt(1 + 3 * x**2))),
            lambda x: piecewise(x, (x >= 0, 1.0), (ALWAYS, (1 / sqrt(1 + 3 * x**2)) ** 3)),
        )
    ],
    "relu": [({}, lambda x: piecewise(x, (x > 0, x)), lambda x: piecewise(x, (x > 0, 1.0)))],
    "brelu": [
        (
            {},
            lambda x: torch.where(ODD, -piecewise(-x, (-x > 0, -x)), piecewise(x, (x > 0, x))),
            lambda x: torch.where(ODD, piecewise(x, (-x > 0, 1.0)), piecewise(x, (x > 0, 1.0))),
        )
    ],
    "leaky_relu": [
        (
            {"negative_slope": 0.2},
            lambda x: piecewise(x, (x > 0, x), (ALWAYS, 0.2 * x)),
            lambda x: piecewise(x, (x > 0, 1.0), (ALWAYS, 0.2)),
        )
    ],
    "prelu": [
        (
            {"initial": 0.3},
            lambda x: piecewise(x, (x > 0, x), (ALWAYS, 0.3 * x)),
            lambda x: piecewise(x, (x > 0, 1.0), (ALWAYS, 0.3)),
        )
    ],
    "relu6": [
        (
            {},
            lambda x: piecewise(x, (x > 6, 6.0), (x > 0, x)),
            lambda x: piecewise(x, (x >= 6, 0.0), (x > 0, 1.0)),
        )
    ],
    "elu": [
        (
            {"alpha": 0.7},
            lambda x: piecewise(x, (x > 0, x), (ALWAYS, 0.7 * (exp(x) - 1))),
            lambda x: piecewise(x, (x > 0, 1.0), (ALWAYS, 0.7 * exp(x))),
        )
    ],
    "selu": [
        (
            {},
            lambda x: LAMBDA * piecewise(x, (x > 0, x), (ALWAYS, ALPHA * (exp(x) - 1))),
            lambda x: LAMBDA * piecewise(x, (x > 0, 1.0), (ALWAYS, ALPHA * exp(x))),
        )
    ],
    "celu": [
        (
            {"alpha": 0.7},
            lambda x: piecewise(x, (x > 0, x), (ALWAYS, 0.7 * (exp(x / 0.7) - 1))),
            lambda x: piecewise(x, (x > 0, 1.0), (ALWAYS, exp(x / 0.7))),
        )
    ],
    "gelu": [
        ({}, lambda x: x * Phi(x), lambda x: Phi(x) + x * phi(x)),
        ({"approximate": "tanh"}, lambda x: x * (1 + tanh(gelu_angle(x))) / 2, gelu_tanh_slope),
    ],
    "silu": [({}, lambda x: x / (1 + exp(-x)), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))))],
    "mish": [({}, lambda x: x * tanh(torch.log(1 + exp(x))), mish_slope)],
    "softplus": [
        (
            {"beta": 1.5},
            lambda x: torch.log(1 + exp(1.5 * x)) / 1.5,
            lambda x: 1 / (1 + exp(-1.5 * x)),
        )
    ],
    "hardtanh": [
        (
            {"min_val": -0.5, "max_val": 2.0},
            lambda x: piecewise(x, (x < -0.5, -0.5), (x > 2, 2.0), (ALWAYS, x)),
            lambda x: piecewise(x, (x <= -0.5, 0.0), (x >= 2, 0.0), (ALWAYS, 1.0)),
        )
    ],
    "hardsigmoid": [
        (
            {},
            lambda x: piecewise(x, (x < -3, 0.0), (x > 3, 1.0), (ALWAYS, x / 6 + 0.5)),
            lambda x: piecewise(x, (x.abs() < 3, 1 / 6)),
        )
    ],
    "hardswish": [
        (
            {},
            lambda x: piecewise(x, (x < -3, 0.0), (x > 3, x), (ALWAYS, x * (x + 3) / 6)),
            lambda x: piecewise(x, (x < -3, 0.0), (x > 3, 1.0), (ALWAYS, x / 3 + 0.5)),
        )
    ],
    "logsigmoid": [({}, lambda x: torch.log(1 / (1 + exp(-x))), lambda x: 1 - 1 / (1 + exp(-x)))],
    "tanhshrink": [({}, lambda x: x - tanh(x), lambda x: tanh(x) ** 2)],
    "softshrink": [
        (
            {"lambd": 0.8},
            lambda x: piecewise(x, (x > 0.8, x - 0.8), (x < -0.8, x + 0.8)),
            lambda x: piecewise(x, (x.abs() > 0.8, 1.0)),
        )
    ],
    "hardshrink": [
        (
            {"lambd": 0.8},
            lambda x: piecewise(x, (x.abs() > 0.8, x)),
            lambda x: piecewise(x, (x.abs() > 0.8, 1.0)),
        )
    ],
    "gaussian": [({}, lambda x: exp(-(x**2)), lambda x: -2 * x * exp(-(x**2)))],
    "sine": [
        ({"frequency": 1.7}, lambda x: torch.sin(1.7 * x), lambda x: 1.7 * torch.cos(1.7 * x))
    ],
    "bent_identity": [
        ({}, lambda x: (sqrt(x**2 + 1) - 1) / 2 + x, lambda x: x / (2 * sqrt(x**2 + 1)) + 1)
    ],
    "snake": [
        (
            {"frequency": 1.7},
            lambda x: x + torch.sin(1.7 * x) ** 2 / 1.7,
            lambda x: 1 + torch.sin(2 * 1.7 * x),
        )
    ],
}
CASES = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in CLOSED_FORMS.items()
    for i, case in enumerate(cases)
]


def grid(dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from -8 to 8, none at a kink, [1, 40, 7]."""
    return torch.linspace(-8.0131, 8.0177, 280, dtype=dtype).view(1, 40, 7)


def value_and_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


def test_the_table_holds_every_activation() -> None:
    assert len(ACTIVATIONS) >= 33
    assert len(set(ACTIVATIONS.values())) == len(ACTIVATIONS)
    assert set(CLOSED_FORMS) == set(ACTIVATIONS)


@pytest.mark.parametrize(("name", "fields", "formula", "slope"), CASES)
def test_value_and_gradient_are_the_closed_forms(
    name: str, fields: dict[str, Any], formula: Formula, slope: Formula
) -> None:
    y, dy = value_and_slope(build(name, **fields), grid())
    assert_close(y, formula(grid()), rtol=1e-12, atol=1e-12)
    # torch rounds 1/6 to float32
    torchs_slope = 5e-9 if name == "hardsigmoid" else 1e-12
    assert_close(dy, slope(grid()), rtol=1e-12, atol=torchs_slope)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_celu_has_the_values_of_torchs(alpha: float, dtype: torch.dtype) -> None:
    assert torch.equal(build("celu", alpha=alpha)(grid(dtype)), F.celu(grid(dtype), alpha))


@pytest.mark.parametrize("name", ["relu", "brelu", "leaky_relu", "prelu"])
def test_gradient_at_zero_is_the_lectures(name: str) -> None:
    _, dy = value_and_slope(build(name), torch.zeros(1, 1, 2, dtype=torch.float64))
    assert dy.flatten().tolist() == [{"leaky_relu": 0.01, "prelu": 0.25}.get(name, 0.0)] * 2


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("arsinh", -math.asinh(1e4), math.asinh(1e4)),
        ("bent_identity", -1e4 + (math.hypot(1e4, 1) - 1) / 2, 1e4 + (math.hypot(1e4, 1) - 1) / 2),
        ("isru", -1e4 / math.hypot(1, 1e4), 1e4 / math.hypot(1, 1e4)),
        ("softplus", 0.0, 1e4),
        ("logsigmoid", -1e4, 0.0),
        ("mish", 0.0, 1e4),
        ("gaussian", 0.0, 0.0),
        ("sqnl", -1.0, 1.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_far_values(name: str, low: float, high: float, dtype: torch.dtype) -> None:
    y = build(name)(torch.tensor([[[-1e4], [1e4]]], dtype=dtype))
    assert_close(y.flatten(), torch.tensor([low, high], dtype=dtype), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tanhshrink_keeps_its_digits_near_zero(dtype: torch.dtype) -> None:
    x = torch.cat([torch.logspace(-12, 0, 500, dtype=dtype), torch.tensor([1 - 1e-7, 1.0001, 3.0])])
    y, dy = value_and_slope(build("tanhshrink"), x.to(dtype).view(1, -1, 1))
    with mpmath.workdps(60):
        exact = [mpmath.mpf(value) for value in x.to(dtype).tolist()]
        values = [float(value - mpmath.tanh(value)) for value in exact]
        slopes = [float(mpmath.tanh(value) ** 2) for value in exact]
    digit = torch.finfo(dtype).eps
    assert_close(
        y.flatten().double(), torch.tensor(values, dtype=torch.float64), rtol=4 * digit, atol=0
    )
    assert_close(
        dy.flatten().double(), torch.tensor(slopes, dtype=torch.float64), rtol=4 * digit, atol=0
    )


def test_torch_functions_keep_their_bits() -> None:
    x = grid(torch.float32)
    functions: dict[str, Formula] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "gelu": F.gelu,
        "elu": F.elu,
    }
    for name, function in functions.items():
        assert torch.equal(build(name)(x), function(x))


@pytest.mark.parametrize("name", NAMES)
def test_output_stays_in_its_stated_range(name: str) -> None:
    activation = build(name)
    y = activation(
        torch.linspace(-50, 50, 20001, dtype=torch.float64).view(1, -1, 1).repeat(1, 1, 2)
    )
    if activation.output_range == "{0, 1}":
        assert set(y.flatten().tolist()) == {0.0, 1.0}
        return
    names: dict[str, Any] = {
        "inf": math.inf,
        "pi": math.pi,
        "sqrt": math.sqrt,
        **{key: getattr(activation, key) for key in rules(activation)},
    }
    low, high = (eval(side, {}, names) for side in activation.output_range[1:-1].split(", "))
    assert low - 1e-3 <= y.min()
    assert y.max() <= high
    assert y.min() < low + 0.05 or low == -math.inf
    assert y.max() > high - 0.05 or high == math.inf
    assert high < math.inf or y.max() > 3  # an infinite limit must not hide a bounded side
    assert low > -math.inf or y.min() < -0.2


def derivatives_of(activation: Activation, x_N: Tensor, highest: int) -> list[Tensor]:
    """f, f', ... up to f^(highest) at x, each [N]."""
    x = x_N.clone().requires_grad_()
    values = [activation(x.view(1, -1, 1))[0, :, 0]]
    for _ in range(highest):
        slope = (
            torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0]
            if values[-1].requires_grad
            else torch.zeros_like(x)
        )
        values.append(slope)
    return [value.detach() for value in values]


@pytest.mark.parametrize("name", NAMES)
def test_continuity_is_as_stated(name: str) -> None:
    """Of C^k, the k-th derivative has no jump between close points, the next one has."""
    activation = ACTIVATIONS[name]()
    stated = type(activation).continuity
    x_N = torch.linspace(-8, 8, 32_000, dtype=torch.float64)  # no point is at a kink
    order = stated.split()[0].removeprefix("C^")
    continuous = 2 if order == "inf" else int(order)
    derivatives = derivatives_of(activation, x_N, min(continuous + 1, 2))
    jumps = [values.diff().abs().max().item() for values in derivatives]
    assert max(jumps[: continuous + 1], default=0) < 0.02
    assert order in ("inf", "2") or jumps[continuous + 1] > 0.1

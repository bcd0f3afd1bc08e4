"""Every activation: stacked members, gradients, finiteness, torch modules, learned slopes, errors.

Shapes: K members, B examples in the batch, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.network.activations import (
    ACTIVATIONS,
    Activation,
    BinaryStep,
    Brelu,
    Elementwise,
    Prelu,
)
from mlplab.schema import meaning, rules
from mlplab.stacking import select, stack

NAMES = list(ACTIVATIONS)


def build(name: str, **fields: Any) -> Activation:
    return ACTIVATIONS[name](**fields)


# The values of three members; a field that is not listed gets 0.3, 1.0 and 2.6.
MEMBERS = {"min_val": (-2.0, -1.0, -0.5), "max_val": (0.5, 1.0, 3.0)}


def grid(dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from -8 to 8, none at a kink, [1, 40, 7]."""
    return torch.linspace(-8.0131, 8.0177, 280, dtype=dtype).view(1, 40, 7)


def value_and_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


def single_members(name: str) -> list[Activation]:
    """Three members that differ in every parameter of the activation."""
    varying = [key for key, rule in rules(ACTIVATIONS[name]).items() if rule.varies]
    choices = [{key: MEMBERS.get(key, (0.3, 1.0, 2.6))[i] for key in varying} for i in range(3)]
    return [build(name, **fields) for fields in choices]


# The gradient of binary_step is a convention.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "binary_step"])
def test_gradcheck(name: str) -> None:
    z_KBH = grid()[:, ::8].clone().requires_grad_()
    assert torch.autograd.gradcheck(build(name), z_KBH)
    members = single_members(name)
    assert torch.autograd.gradcheck(stack(members), z_KBH.detach().repeat(3, 1, 1).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_stacked_members_equal_single_ones(name: str, dtype: torch.dtype) -> None:
    members = single_members(name)
    stacked = stack(members)
    z_KBH = torch.cat([grid(dtype), grid(dtype).flip(1), 30 * grid(dtype)])
    y_KBH, dy_KBH = value_and_slope(stacked, z_KBH)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    for k, activation in enumerate(members):
        y, dy = value_and_slope(activation, z_KBH[k : k + 1])
        assert y.dtype == y_KBH.dtype == dtype
        assert dy.dtype == dy_KBH.dtype == dtype
        assert_close(y_KBH[k : k + 1], y, rtol=tolerance, atol=tolerance)
        assert_close(dy_KBH[k : k + 1], dy, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_selected_member_keeps_its_numbers(name: str) -> None:
    members = single_members(name)
    selected = select(stack(members), torch.tensor([2, 0]))
    y_KBH = selected(grid().repeat(2, 1, 1))
    assert_close(y_KBH, torch.cat([members[2](grid()), members[0](grid())]), rtol=1e-12, atol=1e-12)


def test_hardtanh_with_one_stacked_limit() -> None:
    members = [build("hardtanh", min_val=low) for low in (-3.0, -0.5)]
    y_KBH, dy_KBH = value_and_slope(stack(members), grid(torch.float32).repeat(2, 1, 1))
    assert y_KBH.dtype == torch.float32
    for k, activation in enumerate(members):
        y, dy = value_and_slope(activation, grid(torch.float32))
        assert_close((y_KBH[k : k + 1], dy_KBH[k : k + 1]), (y, dy), rtol=0, atol=0)


# At a kink, the stacked form must take the same side as torch.
KINKS = {
    "leaky_relu": [0.0],
    "prelu": [0.0],
    "elu": [0.0],
    "celu": [0.0],
    "softshrink": [-0.5, 0.0, 0.5],
    "hardshrink": [-0.5, 0.0, 0.5],
    "hardtanh": [-1.0, 1.0],
    "isrlu": [0.0],
    "softplus": [19.9, 20.0, 20.1],
}


@pytest.mark.parametrize("name", KINKS)
def test_stacked_members_take_torchs_side_of_a_kink(name: str) -> None:
    single = build(name)
    first = next(iter(rules(single)))
    other = build(name, **{first: getattr(single, first) / 2 + 0.01})
    x = torch.tensor(KINKS[name], dtype=torch.float64).view(1, -1, 1)
    y, dy = value_and_slope(single, x)
    y_KBH, dy_KBH = value_and_slope(stack([single, other]), x.repeat(2, 1, 1))
    assert_close((y_KBH[:1], dy_KBH[:1]), (y, dy), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_finite_far_out(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-1e4, -1e3, -89.0, -1e-30, 0.0, 1e-30, 89.0, 1e3, 1e4], dtype=dtype).view(
        1, -1, 1
    )
    x = torch.cat([x, x.clone()], dim=2)  # an even and an odd unit
    for activation, z_KBH in ((build(name), x), (stack(single_members(name)), x.repeat(3, 1, 1))):
        y, dy = value_and_slope(activation, z_KBH)
        assert y.shape == z_KBH.shape
        assert y.isfinite().all()
        assert dy.isfinite().all()
        assert (dy.abs() <= 5).all()


@pytest.mark.parametrize("name", NAMES)
def test_not_a_number_stays_visible(name: str) -> None:
    z_KBH = torch.full((2, 3, 2), torch.nan)
    assert build(name)(z_KBH).isnan().all()
    assert stack(single_members(name)[:2])(z_KBH).isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_module_is_the_same_function(name: str) -> None:
    for activation in (build(name), *single_members(name)):
        module = activation.module()
        y, dy = value_and_slope(activation, grid(torch.float32))
        z_BH = grid(torch.float32)[0]
        module_y, module_dy = value_and_slope(module, z_BH)
        assert_close((module_y, module_dy), (y[0], dy[0]), rtol=1e-6, atol=1e-6)
        assert not any(isinstance(value, Tensor) for value in vars(module).values())


def test_module_is_torchs_class_if_it_exists() -> None:
    custom = {name for name in NAMES if isinstance(build(name).module(), Elementwise)}
    assert custom == {
        "binary_step",
        "sqnl",
        "arctan",
        "arsinh",
        "isru",
        "isrlu",
        "brelu",
        "gaussian",
        "sine",
        "bent_identity",
        "snake",
    }
    assert type(build("silu").module()) is nn.SiLU
    assert repr(build("sine", frequency=3.0).module()) == "Elementwise(Sine(frequency=3.0))"


def test_prelu_learns_one_slope_a_member() -> None:
    activation = Prelu()
    assert activation.num_parameters() == 1
    assert activation.initial_parameters() == [0.25]
    z_KBH = grid().repeat(3, 1, 1)
    slopes_K1Q = torch.tensor([[[0.1]], [[0.5]], [[-0.2]]], dtype=torch.float64, requires_grad=True)
    y_KBH = activation(z_KBH, slopes_K1Q)
    for k, slope in enumerate(slopes_K1Q.detach().flatten()):
        assert_close(y_KBH[k], F.prelu(z_KBH[k], slope.view(1)), rtol=0, atol=0)
    (gradient_K1Q,) = torch.autograd.grad(y_KBH.sum(), slopes_K1Q)
    assert_close(gradient_K1Q, z_KBH.clamp(max=0).sum((1, 2), keepdim=True), rtol=1e-12, atol=0)
    module = Prelu(initial=0.4).module()
    assert isinstance(module, nn.PReLU)
    assert module.weight.tolist() == pytest.approx([0.4])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prelu"])
def test_others_learn_nothing_and_ignore_parameters(name: str) -> None:
    activation = build(name)
    assert (activation.num_parameters(), activation.initial_parameters()) == (0, [])
    assert torch.equal(
        activation(grid(), torch.ones(1, 1, 1, dtype=torch.float64)), activation(grid())
    )


def test_brelu_alternates_from_the_first_unit() -> None:
    z_KBH = torch.tensor([[[2.0, 2.0, 2.0], [-2.0, -2.0, -2.0]]])
    assert Brelu()(z_KBH).tolist() == [[[2.0, 0.0, 2.0], [0.0, -2.0, 0.0]]]


def test_binary_step_warns_unless_it_trains() -> None:
    assert "straight_through" in (BinaryStep().warning() or "")
    assert BinaryStep(straight_through=True).warning() is None
    assert [name for name in NAMES if build(name).warning()] == ["binary_step"]
    _, dy = value_and_slope(
        BinaryStep(straight_through=True), torch.tensor([[[-1.5, -1.0, 0.0, 1.0, 1.5]]])
    )
    assert dy.flatten().tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "fields", "key"),
    [
        ("isru", {"alpha": 0.0}, "alpha"),
        ("elu", {"alpha": -1.0}, "alpha"),
        ("softplus", {"beta": 0}, "beta"),
        ("leaky_relu", {"negative_slope": -0.1}, "negative_slope"),
        ("leaky_relu", {"negative_slope": math.nan}, "negative_slope"),
        ("softshrink", {"lambd": -0.1}, "lambd"),
        ("gelu", {"approximate": "erf"}, "approximate"),
        ("hardtanh", {"min_val": 2.0}, "min_val"),
        ("binary_step", {"straight_through": 1}, "straight_through"),
    ],
)
def test_bad_numbers_are_refused(name: str, fields: dict[str, Any], key: str) -> None:
    with pytest.raises(FieldError) as error:
        build(name, **fields)
    assert error.value.key == key


@pytest.mark.parametrize("name", NAMES)
def test_each_class_is_documented(name: str) -> None:
    activation = ACTIVATIONS[name]
    first = meaning(activation)
    assert first.endswith((".", ")."))
    assert len(first) < 110
    assert activation.formula
    assert activation.derivative
    assert activation.output_range

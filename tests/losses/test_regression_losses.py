"""Each regression loss against its explicit formula and derivative.

Shapes: K members, B examples, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from mlplab.losses import LOSSES

Formula = Callable[[float, float], float]
CLASSES: dict[str, Any] = dict(LOSSES)


def sign(x: float) -> float:
    return math.copysign(1.0, x) if x else 0.0


def smape_slope(f: float, y: float) -> float:
    size = (abs(f) + abs(y)) / 2
    return sign(f - y) / size - abs(f - y) * sign(f) / 2 / size**2


# name, parameters, loss of (output f, target y), its derivative by f
FORMULAS: list[tuple[str, dict[str, Any], Formula, Formula]] = [
    ("mse", {}, lambda f, y: (f - y) ** 2, lambda f, y: 2 * (f - y)),
    ("half_mse", {}, lambda f, y: (f - y) ** 2 / 2, lambda f, y: f - y),
    ("mae", {}, lambda f, y: abs(f - y), lambda f, y: sign(f - y)),
    ("mape", {}, lambda f, y: abs(f - y) / abs(y), lambda f, y: sign(f - y) / abs(y)),
    (
        "mape",
        {"eps": 1.0},
        lambda f, y: abs(f - y) / max(abs(y), 1.0),
        lambda f, y: sign(f - y) / max(abs(y), 1.0),
    ),
    ("smape", {}, lambda f, y: abs(f - y) / ((abs(f) + abs(y)) / 2), smape_slope),
    ("smape", {"eps": 50.0}, lambda f, y: abs(f - y) / 50, lambda f, y: sign(f - y) / 50),
    ("msle", {}, lambda f, y: (f - math.log(1 + y)) ** 2, lambda f, y: 2 * (f - math.log(1 + y))),
    (
        "huber",
        {},
        lambda f, y: (f - y) ** 2 / 2 if abs(f - y) < 1 else abs(f - y) - 0.5,
        lambda f, y: max(-1.0, min(1.0, f - y)),
    ),
    (
        "huber",
        {"delta": 2.5},
        lambda f, y: (f - y) ** 2 / 2 if abs(f - y) < 2.5 else 2.5 * (abs(f - y) - 1.25),
        lambda f, y: max(-2.5, min(2.5, f - y)),
    ),
    ("log_cosh", {}, lambda f, y: math.log(math.cosh(f - y)), lambda f, y: math.tanh(f - y)),
    ("quantile", {}, lambda f, y: abs(y - f) / 2, lambda f, y: sign(f - y) / 2),
    (
        "quantile",
        {"tau": 0.9},
        lambda f, y: max(0.9 * (y - f), -0.1 * (y - f)),
        lambda f, y: -0.9 if y > f else 0.1,
    ),
    ("poisson", {}, lambda f, y: math.exp(f) - y * f, lambda f, y: math.exp(f) - y),
    (
        "bernoulli",
        {},
        lambda f, y: math.log1p(math.exp(f)) - y * f,
        lambda f, y: 1 / (1 + math.exp(-f)) - y,
    ),
]
CASES = [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in FORMULAS]


def examples(num_targets: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_targets)
    outputs_KBT = torch.randn(2, 40, num_targets, generator=generator, dtype=torch.float64) * 3
    targets_KBT = (
        torch.rand(2, 40, num_targets, generator=generator, dtype=torch.float64) * 4 + 0.01
    )
    return outputs_KBT, targets_KBT


def by_hand(formula: Formula, outputs_KBT: Tensor, targets_KBT: Tensor) -> Tensor:
    pairs = zip(outputs_KBT.flatten().tolist(), targets_KBT.flatten().tolist(), strict=True)
    return torch.tensor([formula(f, y) for f, y in pairs], dtype=torch.float64).view(
        outputs_KBT.shape
    )


@pytest.mark.parametrize("num_targets", [1, 3])
@pytest.mark.parametrize(("name", "numbers", "formula", "slope"), CASES)
def test_value_and_gradient(
    name: str, numbers: dict[str, Any], formula: Formula, slope: Formula, num_targets: int
) -> None:
    outputs_KBT, targets_KBT = examples(num_targets)
    outputs_KBT.requires_grad_()
    loss_KB = CLASSES[name](**numbers)(outputs_KBT, targets_KBT)
    (gradient_KBT,) = torch.autograd.grad(loss_KB.sum(), outputs_KBT)
    assert_close(
        loss_KB.detach(),
        by_hand(formula, outputs_KBT, targets_KBT).mean(-1),
        rtol=1e-12,
        atol=1e-12,
    )
    assert_close(
        gradient_KBT, by_hand(slope, outputs_KBT, targets_KBT) / num_targets, rtol=1e-12, atol=1e-12
    )


def test_every_loss_of_values_has_its_formula_here() -> None:
    written = {name for name, *_ in FORMULAS} | {"gaussian_nll"}
    assert written == {
        name for name, loss_class in LOSSES.items() if loss_class.tasks == ("regression",)
    }


@pytest.mark.parametrize(
    ("name", "numbers", "theirs"),
    [
        ("mse", {}, F.mse_loss),
        ("mae", {}, F.l1_loss),
        ("huber", {"delta": 0.7}, lambda f, y: F.huber_loss(f, y, delta=0.7)),
        ("poisson", {}, lambda f, y: F.poisson_nll_loss(f, y, log_input=True, full=False)),
        ("bernoulli", {}, lambda f, y: F.binary_cross_entropy_with_logits(f, y)),
    ],
)
def test_the_mean_is_torchs(
    name: str, numbers: dict[str, Any], theirs: Callable[[Tensor, Tensor], Tensor]
) -> None:
    outputs_KBT, targets_KBT = examples(2)
    assert_close(
        CLASSES[name](**numbers)(outputs_KBT, targets_KBT).mean(),
        theirs(outputs_KBT, targets_KBT),
        rtol=1e-12,
        atol=1e-12,
    )


def test_the_lectures_forms_over_n_examples() -> None:
    outputs_KBT, targets_KBT = examples(1)
    n = outputs_KBT.shape[1]
    for k in range(2):
        y_hat, y = outputs_KBT[k, :, 0], targets_KBT[k, :, 0]
        half_mse = 1 / (2 * n) * sum((y[i] - y_hat[i]) ** 2 for i in range(n))
        mape = 1 / n * sum(abs(y_hat[i] - y[i]) / abs(y[i]) for i in range(n))
        assert_close(
            CLASSES["half_mse"]()(outputs_KBT, targets_KBT)[k].mean(),
            half_mse,
            rtol=1e-12,
            atol=1e-12,
        )
        assert_close(
            CLASSES["mape"]()(outputs_KBT, targets_KBT)[k].mean(), mape, rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_gaussian_nll_is_torchs_with_a_softplus_variance(full: bool, num_targets: int) -> None:
    outputs_KBC, _ = examples(2 * num_targets)
    # raw variances of 20 and more, where torch's softplus loses digits
    outputs_KBC[..., -1] *= 8
    _, targets_KBT = examples(num_targets)
    outputs_KBC.requires_grad_()
    loss = CLASSES["gaussian_nll"](min_variance=1e-3, full=full)
    loss_KB = loss(outputs_KBC, targets_KBT)
    mean_KBT, raw_KBT = outputs_KBC[..., :num_targets], outputs_KBC[..., num_targets:]
    variance_KBT = (1 + raw_KBT.exp()).log() + 1e-3
    theirs_KB = F.gaussian_nll_loss(
        mean_KBT, targets_KBT, variance_KBT, full=full, reduction="none"
    ).mean(-1)
    assert_close(loss_KB, theirs_KB, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(value.sum(), outputs_KBC, retain_graph=True)[0]
        for value in (loss_KB, theirs_KB)
    ]
    assert_close(*gradients, rtol=1e-11, atol=1e-12)
    assert torch.equal(loss.predict(outputs_KBC), mean_KBT)


def test_predictions_in_the_targets_units() -> None:
    outputs_KBT, targets_KBT = examples(2)
    assert torch.equal(CLASSES["poisson"]().predict(outputs_KBT), outputs_KBT.exp())
    msle = CLASSES["msle"]()
    usual_KB = ((1 + msle.predict(outputs_KBT)).log() - (1 + targets_KBT).log()).square().mean(-1)
    assert_close(msle(outputs_KBT, targets_KBT), usual_KB, rtol=1e-11, atol=1e-12)
    for name in ("mse", "half_mse", "mae", "mape", "smape", "huber", "log_cosh", "quantile"):
        assert torch.equal(CLASSES[name]().predict(outputs_KBT), outputs_KBT)


def test_poisson_goes_on_as_its_tangent() -> None:
    outputs = torch.tensor(
        [[[29.999999], [30.000001], [40.0]]], dtype=torch.float64, requires_grad=True
    )
    rate = CLASSES["poisson"]().predict(outputs)
    (slope,) = torch.autograd.grad(rate.sum(), outputs)
    top = math.exp(30)
    below, above = top * (1 - 1e-6), top * (1 + 1e-6)
    assert_close(
        rate.flatten().detach(),
        torch.tensor([below, above, 11 * top], dtype=torch.float64),
        rtol=1e-9,
        atol=0,
    )
    assert_close(
        slope.flatten(), torch.tensor([below, top, top], dtype=torch.float64), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [("mae", {}, 3.0), ("mse", {}, 22.0), ("quantile", {"tau": 0.75}, 4.0)],
)
def test_what_a_constant_prediction_converges_to(
    name: str, numbers: dict[str, Any], expected: float
) -> None:
    """The best constant in 0, 1, ..., 100 for targets 1, 2, 3, 4, 100: median, mean, quantile."""
    targets_KBT = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0], dtype=torch.float64).view(1, 5, 1)
    loss = CLASSES[name](**numbers)
    totals = [
        loss(torch.full_like(targets_KBT, float(c)), targets_KBT).sum().item() for c in range(101)
    ]
    assert totals.index(min(totals)) == expected

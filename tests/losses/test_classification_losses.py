"""Each classification loss against torch or its explicit formula in probabilities.

Shapes: K members, B examples, N = K * B, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import hinge_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.testing import assert_close

from mlplab.losses import LOSSES, ClassificationLoss, CrossEntropy, KlDivergence, Loss

Formula = Callable[[Tensor, int], Tensor]
CLASSES: dict[str, Any] = dict(LOSSES)


def assert_tight(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def examples(num_classes: int, num_outputs: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_classes)
    outputs_KBC = (
        torch.randn(2, 30, num_outputs or num_classes, generator=generator, dtype=torch.float64) * 2
    )
    return outputs_KBC, torch.randint(num_classes, (2, 30), generator=generator)


def softmax(z: Tensor) -> Tensor:
    return z.exp() / z.exp().sum()


def onehot(y: int, num_classes: int) -> Tensor:
    return torch.eye(num_classes, dtype=torch.float64)[y]


def kl(q: Tensor, p: Tensor) -> Tensor:
    return sum(
        (q[c] * (q[c] / p[c]).log() for c in range(len(q)) if q[c] > 0),
        torch.zeros((), dtype=torch.float64),
    )


def smoothed(y: int, share: float, num_classes: int) -> Tensor:
    return onehot(y, num_classes) * (1 - share) + share / num_classes


def one_vs_rest(z: Tensor, y: int, power: int = 1) -> Tensor:
    shortfalls = [(1 - (1 if c == y else -1) * z[c]).clamp(min=0) ** power for c in range(len(z))]
    return torch.stack(shortfalls).sum()


def crammer_singer(z: Tensor, y: int, margin: float = 1.0) -> Tensor:
    rivals = torch.stack([z[c] for c in range(len(z)) if c != y])
    return (margin + rivals.max() - z[y]).clamp(min=0)


def binary(z: Tensor, y: int, pos_weight: float = 1.0) -> Tensor:
    p = 1 / (1 + (-z[0]).exp())
    return -pos_weight * p.log() if y else -(1 - p).log()


FORMULAS: list[tuple[Loss, Formula]] = [
    (CLASSES["cross_entropy"](), lambda z, y: -softmax(z)[y].log()),
    (
        CLASSES["cross_entropy"](label_smoothing=0.2),
        lambda z, y: -(smoothed(y, 0.2, len(z)) * softmax(z).log()).sum(),
    ),
    (CLASSES["nll"](), lambda z, y: -z[y] + z.exp().sum().log()),
    (CLASSES["focal"](), lambda z, y: -((1 - softmax(z)[y]) ** 2) * softmax(z)[y].log()),
    (CLASSES["focal"](gamma=0.5), lambda z, y: -((1 - softmax(z)[y]) ** 0.5) * softmax(z)[y].log()),
    (CLASSES["kl_divergence"](), lambda z, y: kl(onehot(y, len(z)), softmax(z))),
    (
        CLASSES["kl_divergence"](smoothing=0.3),
        lambda z, y: kl(smoothed(y, 0.3, len(z)), softmax(z)),
    ),
    (CLASSES["mse_onehot"](), lambda z, y: ((z - onehot(y, len(z))) ** 2).mean()),
    (CLASSES["brier"](), lambda z, y: ((softmax(z) - onehot(y, len(z))) ** 2).sum()),
    (CLASSES["hinge"](), crammer_singer),
    (CLASSES["hinge"](margin=2.5), lambda z, y: crammer_singer(z, y, 2.5)),
    (CLASSES["squared_hinge"](), lambda z, y: crammer_singer(z, y) ** 2),
    (CLASSES["hinge"](multiclass="one_vs_rest"), one_vs_rest),
    (CLASSES["squared_hinge"](multiclass="one_vs_rest"), lambda z, y: one_vs_rest(z, y, 2)),
]
BINARY: list[tuple[Loss, Formula]] = [
    (CLASSES["bce"](), binary),
    (CLASSES["bce"](pos_weight=3.0), lambda z, y: binary(z, y, 3.0)),
    (CLASSES["tanh_half_mse"](), lambda z, y: (z[0].tanh() - (2 * y - 1)) ** 2 / 2),
    (CLASSES["hinge"](), lambda z, y: (1 - (2 * y - 1) * z[0]).clamp(min=0)),
    (
        CLASSES["hinge"](margin=0.5, multiclass="one_vs_rest"),
        lambda z, y: (0.5 - (2 * y - 1) * z[0]).clamp(min=0),
    ),
    (CLASSES["squared_hinge"](), lambda z, y: (1 - (2 * y - 1) * z[0]).clamp(min=0) ** 2),
]


def check(loss: Loss, formula: Formula, outputs_KBC: Tensor, targets_KB: Tensor) -> None:
    outputs_KBC.requires_grad_()
    loss_KB = loss(outputs_KBC, targets_KB)
    pairs = zip(outputs_KBC.flatten(0, 1), targets_KB.flatten().tolist(), strict=True)
    expected_KB = torch.stack([formula(z, y) for z, y in pairs]).view(targets_KB.shape)
    assert_tight(loss_KB, expected_KB)
    gradients = [
        torch.autograd.grad(value.sum(), outputs_KBC, retain_graph=True)[0]
        for value in (loss_KB, expected_KB)
    ]
    assert_tight(*gradients)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize(("loss", "formula"), FORMULAS, ids=[str(loss) for loss, _ in FORMULAS])
def test_value_and_gradient(loss: Loss, formula: Formula, num_classes: int) -> None:
    check(loss, formula, *examples(num_classes))


@pytest.mark.parametrize(("loss", "formula"), BINARY, ids=[str(loss) for loss, _ in BINARY])
def test_value_and_gradient_of_one_output(loss: Loss, formula: Formula) -> None:
    check(loss, formula, *examples(2, num_outputs=1))


def test_every_loss_of_classes_has_its_formula_here() -> None:
    written = {type(loss) for loss, _ in FORMULAS + BINARY}
    assert written == {
        loss_class for loss_class in LOSSES.values() if loss_class.tasks == ("classification",)
    }


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_agreement_with_torch_and_scikit_learn(num_classes: int) -> None:
    outputs_KBC, targets_KB = examples(num_classes)
    outputs_NC, targets_N = outputs_KBC.flatten(0, 1), targets_KB.flatten()
    for smoothing in (0.0, 0.1):
        theirs = F.cross_entropy(outputs_NC, targets_N, label_smoothing=smoothing)
        assert_tight(
            CrossEntropy(label_smoothing=smoothing)(outputs_KBC, targets_KB).mean(), theirs
        )
    theirs = F.nll_loss(outputs_NC.log_softmax(-1), targets_N, reduction="sum")
    assert_tight(CLASSES["nll"]()(outputs_KBC, targets_KB).sum(), theirs)
    if num_classes > 2:
        theirs = hinge_loss(targets_N.numpy(), outputs_NC.numpy())
        assert CLASSES["hinge"]()(outputs_KBC, targets_KB).mean().item() == pytest.approx(
            theirs, rel=1e-12
        )
    else:
        theirs = F.binary_cross_entropy_with_logits(
            outputs_NC[:, 0], targets_N.double(), pos_weight=torch.tensor(2.0)
        )
        assert_tight(
            CLASSES["bce"](pos_weight=2.0)(outputs_KBC[..., :1], targets_KB).mean(), theirs
        )


def test_the_lectures_negative_log_likelihood_written_out() -> None:
    """sum_i sum_j I(y_i = j) (- x_i' beta_j + log sum_j exp(x_i' beta_j))."""
    generator = torch.Generator().manual_seed(0)
    x, beta = torch.randn(8, 4, generator=generator), torch.randn(4, 3, generator=generator)
    y = torch.randint(3, (8,), generator=generator)
    total = 0.0
    for i in range(8):
        scores = [float(sum(x[i, f] * beta[f, j] for f in range(4))) for j in range(3)]
        total += sum(
            (-scores[j] + math.log(sum(map(math.exp, scores)))) for j in range(3) if y[i] == j
        )
    loss_KB = CLASSES["nll"]()((x @ beta).double()[None], y[None])
    assert loss_KB.sum().item() == pytest.approx(total, rel=1e-5)
    assert LOSSES["nll"].reduction == "sum"


def test_kl_divergence_of_soft_targets() -> None:
    outputs_KBC, _ = examples(4)
    generator = torch.Generator().manual_seed(1)
    targets_KBC = torch.rand(2, 30, 4, generator=generator, dtype=torch.float64)
    targets_KBC[:, :5, 0] = 0.0
    targets_KBC = targets_KBC / targets_KBC.sum(-1, keepdim=True)
    loss_KB = KlDivergence()(outputs_KBC, targets_KBC)
    rows = zip(targets_KBC.flatten(0, 1), outputs_KBC.flatten(0, 1), strict=True)
    assert_tight(loss_KB.flatten(), torch.stack([kl(q, softmax(z)) for q, z in rows]))
    theirs = F.kl_div(
        outputs_KBC.log_softmax(-1).flatten(0, 1), targets_KBC.flatten(0, 1), reduction="batchmean"
    )
    assert_tight(loss_KB.mean(), theirs)
    assert_tight(
        KlDivergence()(targets_KBC[:, 5:].log(), targets_KBC[:, 5:]),
        torch.zeros(2, 25, dtype=torch.float64),
    )


def test_hard_and_soft_kl_divergence_are_one() -> None:
    outputs_KBC, targets_KB = examples(5)
    for share in (0.0, 0.4):
        soft_KBC = F.one_hot(targets_KB, 5).double() * (1 - share) + share / 5
        assert_tight(
            KlDivergence(smoothing=share)(outputs_KBC, targets_KB),
            KlDivergence()(outputs_KBC, soft_KBC),
        )


@pytest.mark.parametrize("weights", ["balanced", [0.5, 2.0, 4.0]])
def test_weighted_cross_entropy_is_torchs(weights: str | list[float]) -> None:
    outputs_KBC, targets_KB = examples(3)
    loss = CrossEntropy(class_weights=weights)
    weight_C = loss.class_weights_C(targets_KB[0], 3)
    assert weight_C is not None
    assert weight_C.dtype == torch.float64
    loss_B, weight_B = loss(outputs_KBC, targets_KB)[0], weight_C[targets_KB[0]]
    theirs = F.cross_entropy(outputs_KBC[0], targets_KB[0], weight=weight_C)
    assert_tight((weight_B * loss_B).sum() / weight_B.sum(), theirs)


def test_balanced_is_scikit_learns_and_means_one() -> None:
    targets_N = torch.tensor([0] * 7 + [1] * 2 + [2] * 11)
    for name, loss_class in LOSSES.items():
        if not issubclass(loss_class, ClassificationLoss):
            assert LOSSES[name]().class_weights_C(targets_N, 3) is None
            continue
        assert loss_class().class_weights_C(targets_N, 3) is None
        weight_C = loss_class(class_weights="balanced").class_weights_C(targets_N, 3)
        assert weight_C is not None
        theirs = compute_class_weight("balanced", classes=np.arange(3), y=targets_N.numpy())
        assert_tight(weight_C, torch.from_numpy(theirs))
        assert weight_C[targets_N].mean().item() == pytest.approx(1.0)
    absent_C = CrossEntropy(class_weights="balanced").class_weights_C(torch.tensor([0, 0, 1]), 3)
    assert absent_C is not None
    assert absent_C.tolist() == [0.5, 1.0, 1.0]


def test_the_nearest_point_of_the_simplex() -> None:
    predict = CLASSES["mse_onehot"]().predict
    inside = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert_tight(predict(inside), inside)
    outside = torch.tensor(
        [[0.9, 0.5, -3.0], [7.0, 0.0, 0.0], [-1.0, -1.0, -1.0]], dtype=torch.float64
    )
    nearest = torch.tensor(
        [[0.7, 0.3, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64
    )
    assert_tight(predict(outside), nearest)
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    others = torch.rand(200, 4, generator=generator, dtype=torch.float64)
    others = others / others.sum(-1, keepdim=True)
    distance = (predict(values) - values).square().sum(-1, keepdim=True)
    assert (distance <= (values[:, None] - others).square().sum(-1) + 1e-12).all()
    assert predict(torch.tensor([[float("nan"), 1.0], [0.5, 0.5]])).isnan().all(-1).tolist() == [
        True,
        False,
    ]


def test_focal_without_focus_is_cross_entropy() -> None:
    outputs_KBC, targets_KB = examples(3)
    assert_tight(
        CLASSES["focal"](gamma=0.0)(outputs_KBC, targets_KB),
        CrossEntropy()(outputs_KBC, targets_KB),
    )


def test_bce_is_cross_entropy_of_two_logits() -> None:
    outputs_KB1, targets_KB = examples(2, num_outputs=1)
    two_KB2 = torch.cat((torch.zeros_like(outputs_KB1), outputs_KB1), -1)
    assert_tight(CLASSES["bce"]()(outputs_KB1, targets_KB), CrossEntropy()(two_KB2, targets_KB))
    assert_tight(CLASSES["bce"]().predict(outputs_KB1), two_KB2.softmax(-1))


def test_the_probability_of_a_tanh_output() -> None:
    """It is (1 + tanh z) / 2, so the decision changes where the output changes its sign."""
    z_KB1 = torch.tensor([[[-50.0], [-0.5], [0.0], [0.5], [50.0]]], dtype=torch.float64)
    p_KB2 = CLASSES["tanh_half_mse"]().predict(z_KB1)
    assert_tight(p_KB2[..., 1], (1 + z_KB1[..., 0].tanh()) / 2)
    assert_tight(p_KB2.sum(-1), torch.ones(1, 5, dtype=torch.float64))

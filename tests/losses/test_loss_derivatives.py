"""The derivatives that `mlplab list loss` prints, evaluated beside autograd.

Shapes: K = 1 member, B examples in the batch, C outputs.
"""

from __future__ import annotations

import re

import pytest
import torch

from mlplab.losses import LOSSES, RegressionLoss
from mlplab.schema import rules

FUNCTIONS = {
    **{name: getattr(torch, name) for name in ("exp", "log", "tanh", "sign", "clip")},
    "max": lambda a, b: torch.maximum(torch.as_tensor(a), torch.as_tensor(b)),
}
WRITTEN = {name: cls for name, cls in LOSSES.items() if cls.derivative}
PRODUCT = re.compile(r"(?<=[\w)])(?<!sign)(?<!clip)(?<!tanh)(?<!exp)(?<!log)(?<!max) (?=[\w(])")


def _python(text):
    text = re.sub(r"\|(\w+)\|", r"abs(\1)", text).replace("^", "**")
    return PRODUCT.sub(" * ", text)  # 2 (f - y) is a product


def _evaluated(loss, scope):
    scope = {**FUNCTIONS, **{key: getattr(loss, key) for key in rules(loss)}, **scope}
    return eval(_python(loss.derivative), scope)


def _gradient(loss, outputs_KBC, targets):
    leaf = outputs_KBC.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, targets).sum(), leaf)[0]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, cls in WRITTEN.items()
        if issubclass(cls, RegressionLoss) and name not in ("gaussian_nll", "quantile")
    ],
)
def test_of_values(name):
    loss = LOSSES[name]()
    f = torch.linspace(-2.9, 3.1, 50, dtype=torch.float64).view(1, -1, 1)
    y = torch.full_like(f, 0.7)
    torch.testing.assert_close(_evaluated(loss, {"f": f, "y": y}), _gradient(loss, f, y))


def test_of_a_quantile():
    f = torch.tensor([[[-1.0], [2.0]]], dtype=torch.float64)
    gradient = _gradient(LOSSES["quantile"](tau=0.3), f, torch.zeros_like(f))
    assert LOSSES["quantile"].derivative == "-tau if f < y, 1 - tau if f > y"
    torch.testing.assert_close(gradient.flatten(), torch.tensor([-0.3, 0.7], dtype=torch.float64))


def test_of_a_mean_and_a_variance():
    loss = LOSSES["gaussian_nll"]()
    outputs_KBC = torch.tensor([[[0.3, -0.4], [2.0, 1.5]]], dtype=torch.float64)
    y = torch.full((1, 2, 1), 0.5, dtype=torch.float64)
    m, s = outputs_KBC.split(1, -1)
    v = torch.nn.functional.softplus(s) + loss.min_variance
    by_m, by_s = (
        eval(_python(text), {**FUNCTIONS, "m": m, "s": s, "v": v, "y": y})
        for text in re.match(r"(.*) by m, (.*) by s", loss.derivative).groups()
    )
    gradient = _gradient(loss, outputs_KBC, y)
    torch.testing.assert_close(torch.cat([by_m, by_s], -1), gradient)


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "kl_divergence", "mse_onehot", "brier"])
def test_of_classes(name):
    loss = LOSSES[name]()
    z = torch.tensor([[[0.3, -0.4, 1.2], [2.0, 1.5, -1.0]]], dtype=torch.float64)
    targets_KB = torch.tensor([[2, 1]])
    onehot = torch.nn.functional.one_hot(targets_KB, 3).double()
    p = z.softmax(-1)
    text = loss.derivative.partition(", d_c")[0].replace("[c = y]", "onehot").replace("_c", "")
    text = text.replace("sum_j p_j d_j", "(p * d).sum(-1, keepdim=True)")
    scope = {"p": p, "q": onehot, "z": z, "onehot": onehot, "d": p - onehot, "C": 3}
    torch.testing.assert_close(eval(_python(text), scope), _gradient(loss, z, targets_KB))


@pytest.mark.parametrize("name", ["bce", "tanh_half_mse", "hinge", "squared_hinge"])
def test_of_two_classes_with_one_output(name):
    loss = LOSSES[name](pos_weight=3.0) if name == "bce" else LOSSES[name]()
    z = torch.tensor([[[-1.7], [-0.2], [0.4], [2.1]] * 2], dtype=torch.float64)
    classes = torch.tensor([[0] * 4 + [1] * 4])
    y = classes.unsqueeze(-1).double()
    sign = 2 * y - 1
    text = loss.derivative.partition(" (two")[0]
    scope = {**FUNCTIONS, "z": z, "p": z.sigmoid(), "m": 1.0, "w": 3.0}
    if name == "hinge":
        expected = torch.where(sign * z < 1, -sign, 0.0)
        assert text == "-y if y z < m, 0 beyond"
    else:
        expected = eval(_python(text), {**scope, "y": y if name == "bce" else sign})
    torch.testing.assert_close(expected, _gradient(loss, z, classes))


def test_few_are_not_written_down():
    missing = set(LOSSES) - set(WRITTEN)
    assert missing == {"auto", "smape", "focal"}

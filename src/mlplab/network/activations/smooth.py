"""Smooth relatives of relu, and smooth unbounded functions.

Shapes: K members, B examples in the batch, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlplab.network.activations.base import Activation
from mlplab.schema import Number, choice, number
from mlplab.stacking import fit


@dataclass(frozen=True)
class Gelu(Activation):
    """Gaussian error linear unit (GELU).

    Phi is the standard normal distribution function, phi its density. Range about [-0.17, inf),
    C^inf. approximate=tanh replaces Phi(x) by (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, as
    in the first transformers. Source: Hendrycks, Gimpel 2016.
    """

    formula: ClassVar[str] = "x * Phi(x)"
    derivative: ClassVar[str] = "Phi(x) + x * phi(x)"
    output_range: ClassVar[str] = "[-0.17, inf)"

    approximate: str = choice(
        "none", ("none", "tanh"), "none: exact; tanh: the older approximation"
    )

    def value(self, z_KBH: Tensor) -> Tensor:
        return F.gelu(z_KBH, approximate=self.approximate)

    def module(self) -> nn.Module:
        return nn.GELU(self.approximate)


@dataclass(frozen=True)
class Silu(Activation):
    """Sigmoid linear unit (SiLU), also called swish.

    Range about [-0.278, inf), C^inf. Source: Elfwing, Uchibe, Doya 2017; Ramachandran, Zoph, Le
    2017.
    """

    formula: ClassVar[str] = "x * sigmoid(x)"
    derivative: ClassVar[str] = "sigmoid(x) * (1 + x * (1 - sigmoid(x)))"
    output_range: ClassVar[str] = "[-0.278, inf)"
    torch_class: ClassVar[type[nn.Module] | None] = nn.SiLU

    def value(self, z_KBH: Tensor) -> Tensor:
        return F.silu(z_KBH)


@dataclass(frozen=True)
class Mish(Activation):
    """Mish, a self-gated relative of swish.

    Range about [-0.309, inf), C^inf. Source: Misra 2019.
    """

    formula: ClassVar[str] = "x * tanh(softplus(x))"
    derivative: ClassVar[str] = "t + x * (1 - t^2) * sigmoid(x), t = tanh(softplus(x))"
    output_range: ClassVar[str] = "[-0.309, inf)"
    torch_class: ClassVar[type[nn.Module] | None] = nn.Mish

    def value(self, z_KBH: Tensor) -> Tensor:
        return F.mish(z_KBH)


@dataclass(frozen=True)
class Softplus(Activation):
    """Softplus, the smooth ReLU.

    Range (0, inf), C^inf. As in torch, the value is x itself if beta * x > 20, with an error of
    less than 2.1e-9 / beta. Source: Dugas et al. 2000; Glorot, Bordes, Bengio 2011.
    """

    formula: ClassVar[str] = "log(1 + exp(beta * x)) / beta"
    derivative: ClassVar[str] = "sigmoid(beta * x)"
    output_range: ClassVar[str] = "(0, inf)"
    torch_class: ClassVar[type[nn.Module] | None] = nn.Softplus

    beta: Number = number(1.0, "sharpness of the bend", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.beta, Tensor):
            beta_K11 = fit(self.beta, z_KBH)
            scaled_KBH = z_KBH * beta_K11
            return torch.where(scaled_KBH > 20, z_KBH, F.softplus(scaled_KBH) / beta_K11)
        return F.softplus(z_KBH, self.beta)


@dataclass(frozen=True)
class Isrlu(Activation):
    """Inverse square root linear unit (ISRLU).

    Range (-1/sqrt(alpha), inf), C^2. Source: lecture; Carlile et al. 2017.
    """

    formula: ClassVar[str] = "x if x >= 0, x / sqrt(1 + alpha * x^2) if x < 0"
    derivative: ClassVar[str] = "1 if x >= 0, (1 / sqrt(1 + alpha * x^2))^3 if x < 0"
    output_range: ClassVar[str] = "(-1/sqrt(alpha), inf)"

    alpha: Number = number(1.0, "how early it saturates below zero", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        below_KBH = z_KBH * torch.rsqrt(1 + fit(self.alpha, z_KBH) * z_KBH.square())
        return torch.where(z_KBH < 0, below_KBH, z_KBH)


@dataclass(frozen=True)
class Hardswish(Activation):
    """Hard swish: SiLU with the hard sigmoid instead of the sigmoid.

    Range [-0.375, inf), C^0. Source: Howard et al. 2019 (MobileNetV3).
    """

    formula: ClassVar[str] = "x * min(max(x + 3, 0), 6) / 6"
    derivative: ClassVar[str] = "0 if x < -3, x / 3 + 1/2 if -3 < x < 3, 1 if x > 3"
    output_range: ClassVar[str] = "[-0.375, inf)"
    torch_class: ClassVar[type[nn.Module] | None] = nn.Hardswish

    def value(self, z_KBH: Tensor) -> Tensor:
        return F.hardswish(z_KBH)


@dataclass(frozen=True)
class LogSigmoid(Activation):
    """Logarithm of the sigmoid: softplus mirrored at the origin.

    Range (-inf, 0), C^inf. Source: torch's LogSigmoid.
    """

    formula: ClassVar[str] = "log(1 / (1 + exp(-x)))"
    derivative: ClassVar[str] = "1 - sigmoid(x)"
    output_range: ClassVar[str] = "(-inf, 0)"
    torch_class: ClassVar[type[nn.Module] | None] = nn.LogSigmoid

    def value(self, z_KBH: Tensor) -> Tensor:
        return F.logsigmoid(z_KBH)


@dataclass(frozen=True)
class Arsinh(Activation):
    """Inverse hyperbolic sine: linear near zero, logarithmic far from it.

    Range (-inf, inf), C^inf. The lecture's formula suffers from cancellation for large negative x;
    torch's function does not. Source: lecture.
    """

    formula: ClassVar[str] = "ln(x + sqrt(x^2 + 1))"
    derivative: ClassVar[str] = "1 / sqrt(x^2 + 1)"
    output_range: ClassVar[str] = "(-inf, inf)"

    def value(self, z_KBH: Tensor) -> Tensor:
        return torch.asinh(z_KBH)


@dataclass(frozen=True)
class BentIdentity(Activation):
    """Bent identity: slope 1/2 far below zero, 3/2 far above.

    Range (-inf, inf), C^inf. Source: the activation table of Wikipedia, which the lecture links to.
    """

    formula: ClassVar[str] = "(sqrt(x^2 + 1) - 1) / 2 + x"
    derivative: ClassVar[str] = "x / (2 * sqrt(x^2 + 1)) + 1"
    output_range: ClassVar[str] = "(-inf, inf)"

    def value(self, z_KBH: Tensor) -> Tensor:
        return (torch.sqrt(z_KBH.square() + 1) - 1) * 0.5 + z_KBH

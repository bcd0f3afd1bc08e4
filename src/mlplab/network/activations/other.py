"""The identity, shrinkage functions, the Gaussian bell and periodic functions.

Shapes: K members, B examples in the batch, H hidden units.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlplab.network.activations.base import Activation
from mlplab.schema import Number, number
from mlplab.stacking import fit


@dataclass(frozen=True)
class Identity(
    Activation,
    formula="x",
    derivative="1",
    output_range="(-inf, inf)",
    continuity="C^inf",
    torch_class=nn.Identity,
):
    """Identity: a layer without nonlinearity.

    Consecutive layers with it act as one linear layer. Source: lecture.
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        return z_KBH


class _Tanhshrink(torch.autograd.Function):
    """x - tanh(x) and tanh(x)^2, both of which keep their digits near 0.

    Up to 1, the value is that of Lambert's continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...)))
    for tanh after nine levels, x P / Q, as x (Q - P) / Q, whose coefficients are all positive. Its
    relative error is below 1e-16. torch subtracts, which leaves no digit below 1e-8 in float64.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        s = z * z
        difference = (((s * 44 + 12870) * s + 810810) * s + 11486475) * s
        denominator = (((s * 45 + 13860) * s + 945945) * s + 16216200) * s + 34459425
        return torch.where(z.abs() < 1, z * (difference / denominator), z - z.tanh())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        z: Tensor = ctx.saved_tensors[0]
        return gradient * z.tanh().square()


@dataclass(frozen=True)
class Tanhshrink(
    Activation,
    formula="x - tanh(x)",
    derivative="tanh(x)^2",
    output_range="(-inf, inf)",
    continuity="C^inf",
    torch_class=nn.Tanhshrink,
):
    """Tanh shrinkage, the identity minus tanh: flat at zero, linear far from it.

    Unlike torch's Tanhshrink, which subtracts, it keeps its digits near zero. Source: torch's
    Tanhshrink; Lambert 1768 (the continued fraction).
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        h_KBH: Tensor = _Tanhshrink.apply(z_KBH)  # type: ignore[no-untyped-call]
        return h_KBH


@dataclass(frozen=True)
class Softshrink(
    Activation,
    formula="x - lambd if x > lambd, x + lambd if x < -lambd, 0 between",
    derivative="1 if |x| > lambd, 0 between",
    output_range="(-inf, inf)",
    continuity="C^0",
    torch_class=nn.Softshrink,
):
    """Soft shrinkage: moves every value toward zero, and small values to zero.

    Source: Donoho 1995 (soft thresholding).
    """

    lambd: Number = number(0.5, "distance that values move; smaller values become 0", at_least=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.lambd, Tensor):
            lambd_K11 = fit(self.lambd, z_KBH)
            return (z_KBH - z_KBH.sign() * lambd_K11).masked_fill(z_KBH.abs() <= lambd_K11, 0)
        return F.softshrink(z_KBH, self.lambd)


@dataclass(frozen=True)
class Hardshrink(
    Activation,
    formula="x if |x| > lambd, 0 between",
    derivative="1 if |x| > lambd, 0 between",
    output_range="(-inf, inf)",
    continuity="C^-1",
    torch_class=nn.Hardshrink,
):
    """Hard shrinkage: the identity with small values set to zero.

    Source: Donoho, Johnstone 1994 (hard thresholding).
    """

    lambd: Number = number(0.5, "values up to this magnitude become 0", at_least=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.lambd, Tensor):
            return z_KBH.masked_fill(z_KBH.abs() <= fit(self.lambd, z_KBH), 0)
        return F.hardshrink(z_KBH, self.lambd)


@dataclass(frozen=True)
class Gaussian(
    Activation,
    formula="exp(-x^2)",
    derivative="-2 * x * exp(-x^2)",
    output_range="(0, 1]",
    continuity="C^inf",
):
    """Gaussian bell.

    Source: Broomhead, Lowe 1988 (radial basis functions); some define it as exp(-x^2 / 2).
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        # Beyond the limit the function is 0 in float64; an overflowing square has no gradient.
        return torch.exp(-z_KBH.clamp(-1e3, 1e3).square())


@dataclass(frozen=True)
class Sine(
    Activation,
    formula="sin(frequency * x)",
    derivative="frequency * cos(frequency * x)",
    output_range="[-1, 1]",
    continuity="C^inf",
):
    """Sine wave.

    Source: Sitzmann et al. 2020 (SIREN), who use frequency 30 with weights drawn to match.
    """

    frequency: Number = number(1.0, "angular frequency", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        return torch.sin(z_KBH * fit(self.frequency, z_KBH))


@dataclass(frozen=True)
class Snake(
    Activation,
    formula="x + sin(frequency * x)^2 / frequency",
    derivative="1 + sin(2 * frequency * x)",
    output_range="(-inf, inf)",
    continuity="C^inf",
):
    """Snake: the identity with ripples, which can continue a periodic function.

    The frequency is fixed here; in the paper, where it is called a, it can also be learned. Source:
    Ziyin, Hartwig, Ueda 2020.
    """

    frequency: Number = number(1.0, "angular frequency of the ripples", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        # The reciprocal is computed in float64, so that a float and a stacked frequency round
        # identically on every device.
        return z_KBH + torch.sin(z_KBH * fit(self.frequency, z_KBH)).square() * fit(
            1 / self.frequency, z_KBH
        )

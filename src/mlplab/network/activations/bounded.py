"""Activations with bounded output: the binary step and sigmoids.

Shapes: K members, B examples in the batch, H hidden units.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlplab.errors import FieldError
from mlplab.network.activations.base import Activation
from mlplab.schema import Number, flag, number
from mlplab.stacking import fit, root_of


@dataclass(frozen=True)
class BinaryStep(
    Activation,
    formula="0 if x < 0, 1 if x >= 0",
    derivative="0",
    output_range="{0, 1}",
    continuity="C^-1",
):
    """Binary step, the threshold unit: 0 below zero, 1 from zero on.

    The lecture does not define f'(0); here it is 0 as everywhere else, so this layer and those
    before it do not train. The straight-through gradient is 1 for |x| <= 1 and 0 beyond, as if the
    step were the identity clipped to [-1, 1]. Source: lecture; Rosenblatt 1958; straight-through:
    Bengio, Leonard, Courville 2013, clipped as by Hubara et al. 2016.
    """

    straight_through: bool = flag(
        False, "train through the step with gradient 1 for |x| <= 1, 0 beyond"
    )

    def value(self, z_KBH: Tensor) -> Tensor:
        line_KBH = z_KBH.clamp(-1, 1)
        # 0 with the gradient of the line. NaN stays NaN, so that divergence is detected.
        zero_KBH = line_KBH - line_KBH.detach()
        return (z_KBH >= 0).to(z_KBH.dtype) + (zero_KBH if self.straight_through else 0 * zero_KBH)

    def warning(self) -> str | None:
        if self.straight_through:
            return None
        return (
            "binary_step has gradient 0 everywhere: its layer and all layers before it keep"
            " their initial weights; straight_through=true trains them with a substitute gradient."
        )


@dataclass(frozen=True)
class Sigmoid(
    Activation,
    function=torch.sigmoid,
    formula="1 / (1 + exp(-x))",
    derivative="f(x) * (1 - f(x))",
    output_range="(0, 1)",
    continuity="C^inf",
    torch_class=nn.Sigmoid,
):
    """Logistic sigmoid, also called soft step.

    Its derivative is at most 1/4, so gradients vanish through many layers. Source: lecture; Han,
    Moraga 1995.
    """


@dataclass(frozen=True)
class Tanh(
    Activation,
    function=torch.tanh,
    formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
    derivative="1 - f(x)^2",
    output_range="(-1, 1)",
    continuity="C^inf",
    torch_class=nn.Tanh,
):
    """Hyperbolic tangent.

    Source: lecture.
    """


@dataclass(frozen=True)
class Sqnl(
    Activation,
    formula="x - x * |x| / 4 if |x| <= 2, sign(x) beyond",
    derivative="1 - |x| / 2 if |x| <= 2, 0 beyond",
    output_range="[-1, 1]",
    continuity="C^1",
):
    """Square nonlinearity: a sigmoid composed of two parabolas (the lecture's SQLN).

    Source: lecture; Wuraola, Patel 2018, who call it SQNL. The lecture's table gives C^2, but the
    second derivative jumps from +1/2 to -1/2 at 0. The derivative is 0 beyond |x| = 2, which the
    table omits.
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        line_KBH = z_KBH.clamp(-2, 2)
        return line_KBH - line_KBH * line_KBH.abs() * 0.25


@dataclass(frozen=True)
class Arctan(
    Activation,
    function=torch.atan,
    formula="arctan(x)",
    derivative="1 / (x^2 + 1)",
    output_range="(-pi/2, pi/2)",
    continuity="C^inf",
):
    """Inverse tangent.

    Source: lecture.
    """


@dataclass(frozen=True)
class Softsign(
    Activation,
    function=F.softsign,
    formula="x / (1 + |x|)",
    derivative="1 / (1 + |x|)^2",
    output_range="(-1, 1)",
    continuity="C^1",
    torch_class=nn.Softsign,
):
    """Softsign, a sigmoid that saturates slowly (the lecture's ElliotSig).

    Source: lecture; Elliott 1993, who also scales it to (0, 1) as 0.5 * f(x) + 0.5; Glorot, Bengio
    2010.
    """


@dataclass(frozen=True)
class Isru(
    Activation,
    formula="x / sqrt(1 + alpha * x^2)",
    derivative="(1 / sqrt(1 + alpha * x^2))^3",
    output_range="(-1/sqrt(alpha), 1/sqrt(alpha))",
    continuity="C^inf",
):
    """Inverse square root unit (ISRU).

    Source: lecture; Carlile et al. 2017.
    """

    alpha: Number = number(1.0, "how early it saturates", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        return inverse_square_root_unit(z_KBH, self.alpha)


def inverse_square_root_unit(z_KBH: Tensor, alpha: Number) -> Tensor:
    """Return z / sqrt(1 + alpha z^2), [K, B, H], whose square does not overflow."""
    root = root_of(alpha)
    # Beyond the limit the function is constant in float64.
    scaled_KBH = (z_KBH * fit(root, z_KBH)).clamp(-1e9, 1e9)
    return scaled_KBH * torch.rsqrt(1 + scaled_KBH.square()) * fit(1 / root, z_KBH)


@dataclass(frozen=True)
class Hardtanh(
    Activation,
    formula="min(max(x, min_val), max_val)",
    derivative="1 if min_val < x < max_val, 0 beyond",
    output_range="[min_val, max_val]",
    continuity="C^0",
    torch_class=nn.Hardtanh,
):
    """Hard tanh: the identity, clipped.

    Source: Collobert 2004.
    """

    min_val: Number = number(-1.0, "lower limit of the output")
    max_val: Number = number(1.0, "upper limit of the output")

    def check(self) -> None:
        if (
            not isinstance(self.min_val, Tensor)
            and not isinstance(self.max_val, Tensor)
            and self.min_val >= self.max_val
        ):
            raise FieldError("min_val", self.min_val, f"is not below max_val = {self.max_val}")

    def value(self, z_KBH: Tensor) -> Tensor:
        low, high = fit(self.min_val, z_KBH), fit(self.max_val, z_KBH)
        if isinstance(low, Tensor) or isinstance(high, Tensor):
            return torch.where(z_KBH <= low, low, torch.where(z_KBH >= high, high, z_KBH))
        return F.hardtanh(z_KBH, low, high)


@dataclass(frozen=True)
class Hardsigmoid(
    Activation,
    function=F.hardsigmoid,
    formula="min(max(x + 3, 0), 6) / 6",
    derivative="1/6 if -3 < x < 3, 0 beyond",
    output_range="[0, 1]",
    continuity="C^0",
    torch_class=nn.Hardsigmoid,
):
    """Hard sigmoid: a piecewise linear approximation of the sigmoid.

    Source: Howard et al. 2019 (MobileNetV3), as in torch and Keras 3. Keras 2 has slope 0.2,
    Courbariaux et al. 2015 slope 1/2; here the slope is 1/6, which torch's gradient rounds to
    float32 even in float64.
    """

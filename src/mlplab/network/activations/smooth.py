"""Smooth relatives of relu, and smooth unbounded functions.

Shapes: K members, B examples in the batch, H hidden units.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlplab.network.activations.base import Activation
from mlplab.network.activations.bounded import inverse_square_root_unit
from mlplab.schema import Number, choice, number
from mlplab.stacking import fit


@dataclass(frozen=True)
class Gelu(
    Activation,
    formula="x * Phi(x)",
    derivative="Phi(x) + x * phi(x)",
    output_range="[-0.17, inf)",
    continuity="C^inf",
):
    """Gaussian error linear unit (GELU).

    Phi is the standard normal distribution function, phi its density. approximate=tanh replaces
    Phi(x) by (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, as in the first transformers.
    Source: Hendrycks, Gimpel 2016.
    """

    approximate: str = choice(
        "none", ("none", "tanh"), "none: exact; tanh: the older approximation"
    )

    def value(self, z_KBH: Tensor) -> Tensor:
        if self.approximate == "none":
            return F.gelu(z_KBH)
        # The cube of torch's gradient overflows, where the function is 0 or the identity.
        line_KBH = z_KBH.clamp(-1e6, 1e6)
        return F.gelu(line_KBH, approximate=self.approximate) + (z_KBH - line_KBH).relu()

    def module(self) -> nn.Module:
        return nn.GELU(self.approximate)


@dataclass(frozen=True)
class Silu(
    Activation,
    function=F.silu,
    formula="x * sigmoid(x)",
    derivative="sigmoid(x) * (1 + x * (1 - sigmoid(x)))",
    output_range="[-0.278, inf)",
    continuity="C^inf",
    torch_class=nn.SiLU,
):
    """Sigmoid linear unit (SiLU), also called swish.

    Source: Elfwing, Uchibe, Doya 2017; Ramachandran, Zoph, Le 2017.
    """


@dataclass(frozen=True)
class Mish(
    Activation,
    function=F.mish,
    formula="x * tanh(softplus(x))",
    derivative="t + x * (1 - t^2) * sigmoid(x), t = tanh(softplus(x))",
    output_range="[-0.309, inf)",
    continuity="C^inf",
    torch_class=nn.Mish,
):
    """Mish, a self-gated relative of swish.

    Source: Misra 2019.
    """


@dataclass(frozen=True)
class Softplus(
    Activation,
    formula="log(1 + exp(beta * x)) / beta",
    derivative="sigmoid(beta * x)",
    output_range="(0, inf)",
    continuity="C^inf",
    torch_class=nn.Softplus,
):
    """Softplus, the smooth ReLU.

    As in torch, the value is x itself if beta * x > 20, with an error of less than 2.1e-9 / beta.
    Source: Dugas et al. 2000; Glorot, Bordes, Bengio 2011.
    """

    beta: Number = number(1.0, "sharpness of the bend", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.beta, Tensor):
            beta_K11 = fit(self.beta, z_KBH)
            scaled_KBH = z_KBH * beta_K11
            return torch.where(scaled_KBH > 20, z_KBH, F.softplus(scaled_KBH) / beta_K11)
        return F.softplus(z_KBH, self.beta)


@dataclass(frozen=True)
class Isrlu(
    Activation,
    formula="x if x >= 0, x / sqrt(1 + alpha * x^2) if x < 0",
    derivative="1 if x >= 0, (1 / sqrt(1 + alpha * x^2))^3 if x < 0",
    output_range="(-1/sqrt(alpha), inf)",
    continuity="C^2",
):
    """Inverse square root linear unit (ISRLU).

    Source: lecture; Carlile et al. 2017.
    """

    alpha: Number = number(1.0, "how early it saturates below zero", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        return torch.where(z_KBH < 0, inverse_square_root_unit(z_KBH, self.alpha), z_KBH)


@dataclass(frozen=True)
class Hardswish(
    Activation,
    formula="x * min(max(x + 3, 0), 6) / 6",
    derivative="0 if x < -3, x / 3 + 1/2 if -3 < x < 3, 1 if x > 3",
    output_range="[-0.375, inf)",
    continuity="C^0",
    torch_class=nn.Hardswish,
):
    """Hard swish: SiLU with the hard sigmoid instead of the sigmoid.

    torch's function overflows above a sixth of the largest number, where this one is the identity.
    Source: Howard et al. 2019 (MobileNetV3).
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        return torch.where(z_KBH > 1e37, z_KBH, F.hardswish(z_KBH))


@dataclass(frozen=True)
class LogSigmoid(
    Activation,
    function=F.logsigmoid,
    formula="log(1 / (1 + exp(-x)))",
    derivative="1 - sigmoid(x)",
    output_range="(-inf, 0)",
    continuity="C^inf",
    torch_class=nn.LogSigmoid,
):
    """Logarithm of the sigmoid: softplus mirrored at the origin.

    Source: torch's LogSigmoid.
    """


@dataclass(frozen=True)
class Arsinh(
    Activation,
    function=torch.asinh,
    formula="ln(x + sqrt(x^2 + 1))",
    derivative="1 / sqrt(x^2 + 1)",
    output_range="(-inf, inf)",
    continuity="C^inf",
):
    """Inverse hyperbolic sine: linear near zero, logarithmic far from it.

    The lecture's formula suffers from cancellation for large negative x; torch's function does not.
    Source: lecture.
    """


@dataclass(frozen=True)
class BentIdentity(
    Activation,
    formula="(sqrt(x^2 + 1) - 1) / 2 + x",
    derivative="x / (2 * sqrt(x^2 + 1)) + 1",
    output_range="(-inf, inf)",
    continuity="C^inf",
):
    """Bent identity: slope 1/2 far below zero, 3/2 far above.

    Source: the activation table of Wikipedia, which the lecture links to.
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        # sqrt(x^2 + 1) - 1 = x * x / (sqrt(x^2 + 1) + 1), without cancellation. Beyond the limit
        # the fraction is 1 in float64; within it, the square does not overflow in float32.
        line_KBH = z_KBH.clamp(-1e18, 1e18)
        fraction_KBH = line_KBH / (torch.sqrt(line_KBH.square() + 1) + 1)
        return z_KBH * (1 + fraction_KBH * 0.5)

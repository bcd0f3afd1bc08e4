"""Activations that are the identity on one side: relu and its relatives.

Shapes: K members, B examples in the batch, H hidden units, Q learnable parameters per layer.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlplab.network.activations.base import Activation
from mlplab.schema import Number, number
from mlplab.stacking import fit


@dataclass(frozen=True)
class Relu(
    Activation,
    function=F.relu,
    formula="max(0, x)",
    derivative="0 if x <= 0, 1 if x > 0",
    output_range="[0, inf)",
    continuity="C^0",
    torch_class=nn.ReLU,
):
    """Rectified linear unit (ReLU).

    The lecture's first table gives the range (0, inf), the second one the exact range.
    f'(0) = 0 as in both tables. Source: lecture; Nair, Hinton 2010.
    """


@dataclass(frozen=True)
class Brelu(
    Activation,
    formula="max(0, x) in even units, min(0, x) in odd units",
    derivative="relu'(x) in even units, relu'(-x) in odd units",
    output_range="(-inf, inf)",
    continuity="C^0",
):
    """Bipolar rectified linear unit (BReLU): every second unit rectifies the opposite side.

    Units are counted from 0, so the first is relu. Source: lecture; Eidnes, Nokland 2017.
    """

    def value(self, z_KBH: Tensor) -> Tensor:
        odd_H = torch.arange(z_KBH.shape[-1], device=z_KBH.device) % 2
        sign_H = (1 - 2 * odd_H).to(z_KBH.dtype)
        return sign_H * F.relu(sign_H * z_KBH)


@dataclass(frozen=True)
class LeakyRelu(
    Activation,
    formula="x if x > 0, negative_slope * x if x <= 0",
    derivative="1 if x > 0, negative_slope if x <= 0",
    output_range="(-inf, inf)",
    continuity="C^0",
    torch_class=nn.LeakyReLU,
):
    """Leaky ReLU: a small slope below zero keeps the gradient alive.

    Source: lecture (slope a); Maas, Hannun, Ng 2013. The default slope is that of torch, 0.01;
    Keras uses 0.3, TensorFlow 0.2.
    """

    negative_slope: Number = number(0.01, "slope below zero", at_least=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.negative_slope, Tensor):
            return torch.where(z_KBH > 0, z_KBH, z_KBH * fit(self.negative_slope, z_KBH))
        return F.leaky_relu(z_KBH, self.negative_slope)


@dataclass(frozen=True)
class Prelu(
    Activation,
    formula="x if x > 0, slope * x if x <= 0",
    derivative="1 if x > 0, slope if x <= 0",
    output_range="(-inf, inf)",
    continuity="C^0",
):
    """Parametric ReLU: a leaky ReLU whose slope is learned, one per layer.

    The slope is passed as parameters [K, 1, 1]; without parameters it is the initial value. Source:
    He et al. 2015, who also learn one slope per channel; Keras learns one per unit and starts at 0.
    """

    initial: Number = number(0.25, "slope below zero before training")

    def __call__(self, z_KBH: Tensor, parameters_K1Q: Tensor | None = None) -> Tensor:
        if parameters_K1Q is None:
            return self.value(z_KBH)
        return torch.where(z_KBH > 0, z_KBH, z_KBH * parameters_K1Q)

    def value(self, z_KBH: Tensor) -> Tensor:
        return torch.where(z_KBH > 0, z_KBH, z_KBH * fit(self.initial, z_KBH))

    def module(self) -> nn.Module:
        return nn.PReLU(1, float(self.initial))

    def num_parameters(self) -> int:
        return 1

    def initial_parameters(self) -> list[float]:
        return [float(self.initial)]


@dataclass(frozen=True)
class Relu6(
    Activation,
    function=F.relu6,
    formula="min(max(0, x), 6)",
    derivative="1 if 0 < x < 6, 0 beyond",
    output_range="[0, 6]",
    continuity="C^0",
    torch_class=nn.ReLU6,
):
    """ReLU clipped at 6.

    Source: Krizhevsky 2010.
    """


@dataclass(frozen=True)
class Elu(
    Activation,
    formula="x if x > 0, alpha * (exp(x) - 1) if x <= 0",
    derivative="1 if x > 0, alpha * exp(x) if x <= 0",
    output_range="(-alpha, inf)",
    continuity="C^1 for alpha = 1, else C^0",
    torch_class=nn.ELU,
):
    """Exponential linear unit (ELU).

    Source: Clevert, Unterthiner, Hochreiter 2016.
    """

    alpha: Number = number(1.0, "minus the value far below zero", above=0)

    def value(self, z_KBH: Tensor) -> Tensor:
        if isinstance(self.alpha, Tensor):
            return torch.where(z_KBH > 0, z_KBH, F.elu(z_KBH) * fit(self.alpha, z_KBH))
        return F.elu(z_KBH, self.alpha)


@dataclass(frozen=True)
class Selu(
    Activation,
    function=F.selu,
    formula="scale * x if x > 0, scale * alpha * (exp(x) - 1) if x <= 0",
    derivative="scale if x > 0, scale * alpha * exp(x) if x <= 0",
    output_range="(-1.758, inf)",
    continuity="C^0",
    torch_class=nn.SELU,
):
    """Scaled ELU, which preserves mean 0 and variance 1 across layers with lecun_normal weights.

    The lower limit is -scale * alpha; alpha = 1.6732632423543772, scale =
    1.0507009873554805. Source: Klambauer et al. 2017.
    """


@dataclass(frozen=True)
class Celu(
    Activation,
    formula="x if x > 0, alpha * (exp(x / alpha) - 1) if x <= 0",
    derivative="1 if x > 0, exp(x / alpha) if x <= 0",
    output_range="(-alpha, inf)",
    continuity="C^1",
    torch_class=nn.CELU,
):
    """Continuously differentiable ELU (CELU).

    C^1 for every alpha. Source: Barron 2017. The values agree with torch's
    celu, which is not used since its gradient rounds 1 / alpha to float32 and is therefore inexact
    in float64 for most alpha.
    """

    alpha: Number = number(
        1.0, "minus the value far below zero, and how slowly it is reached", above=0
    )

    def value(self, z_KBH: Tensor) -> Tensor:
        below_KBH = F.elu(z_KBH * fit(1 / self.alpha, z_KBH)) * fit(self.alpha, z_KBH)
        return torch.where(z_KBH > 0, z_KBH, below_KBH)

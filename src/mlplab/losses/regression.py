"""Regression losses: squared, absolute, robust, relative, and likelihoods.

f is the output, y is the target; the loss of an example is the mean over its targets. Stacked
hyperparameters are never divisors or exponents, so that a float and a [K, 1] tensor give
bit-identical results on every device.

Shapes: K members, B examples in the batch, T targets, C outputs (T, or 2T for gaussian_nll).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mlplab.losses.base import RegressionLoss
from mlplab.schema import Number, flag, number
from mlplab.stacking import fit
from mlplab.task import Task


@dataclass(frozen=True)
class Mse(RegressionLoss):
    """Mean squared error.

        (f - y)^2      in [0, inf)

    The optimal prediction is the mean. torch, Keras and scikit-learn's metric agree; the lecture
    uses half of it (half_mse).
    """

    derivative: ClassVar[str] = "2 (f - y)"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return F.mse_loss(outputs_KBC, targets_KBT, reduction="none")


@dataclass(frozen=True)
class HalfMse(RegressionLoss):
    """Half the mean squared error, as in the lecture.

        (f - y)^2 / 2      in [0, inf);      over n examples: 1 / 2n * sum (y - f)^2

    The gradient is f - y, half that of mse, so the same learning rate takes steps half as large.
    scikit-learn's MLPRegressor uses this loss.
    """

    derivative: ClassVar[str] = "f - y"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return F.mse_loss(outputs_KBC, targets_KBT, reduction="none") * 0.5


@dataclass(frozen=True)
class Mae(RegressionLoss):
    """Mean absolute error.

        |f - y|      in [0, inf)

    The optimal prediction is the median. The gradient at f = y is 0, as in torch's l1_loss.
    """

    derivative: ClassVar[str] = "sign(f - y)"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return F.l1_loss(outputs_KBC, targets_KBT, reduction="none")


@dataclass(frozen=True)
class Mape(RegressionLoss):
    """Mean absolute percentage error, as a fraction of the target.

        |f - y| / max(|y|, eps)      in [0, inf)

    Source: lecture, without eps and thus undefined at y = 0. Keras multiplies by 100 and uses
    eps = 1e-7; scikit-learn uses eps = 2.2e-16 and no factor of 100.
    """

    derivative: ClassVar[str] = "sign(f - y) / max(|y|, eps)"

    original_units: ClassVar[bool] = True
    eps: Number = number(
        1e-7, "smallest magnitude of a target; targets closer to 0 count as this value", above=0
    )

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        size_KBT = targets_KBT.abs().clamp(min=fit(self.eps, targets_KBT))
        return (outputs_KBC - targets_KBT).abs() / size_KBT


@dataclass(frozen=True)
class Smape(RegressionLoss):
    """Symmetric mean absolute percentage error, as a fraction.

        |f - y| / max((|f| + |y|) / 2, eps)      in [0, 2]

    If output and target differ in sign, the loss is 2 whatever their magnitude: the gradient is 0,
    so a network that starts there does not learn. Source: Makridakis 1993. Other definitions omit
    the 1/2 (range [0, 1]) or multiply by 100.
    """

    original_units: ClassVar[bool] = True
    eps: Number = number(
        1e-7,
        "smallest mean magnitude of output and target; anything below counts as this value",
        above=0,
    )

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        size_KBT = ((outputs_KBC.abs() + targets_KBT.abs()) * 0.5).clamp(
            min=fit(self.eps, targets_KBT)
        )
        return (outputs_KBC - targets_KBT).abs() / size_KBT


@dataclass(frozen=True)
class Msle(RegressionLoss):
    """Mean squared logarithmic error for targets >= 0; the network outputs log(1 + value).

        (f - log(1 + y))^2      in [0, inf);      prediction exp(f) - 1

    This is the usual (log(1 + prediction) - log(1 + y))^2 with prediction = exp(f) - 1. Keras takes
    the output itself as the prediction and clips it at 0, where the gradient vanishes; scikit-learn
    only has the metric.
    """

    derivative: ClassVar[str] = "2 (f - log(1 + y))"

    original_units: ClassVar[bool] = True
    target_range: ClassVar[str] = "non-negative"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return F.mse_loss(outputs_KBC, targets_KBT.log1p(), reduction="none")

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC.expm1()


@dataclass(frozen=True)
class Huber(RegressionLoss):
    """Huber loss: squared near the target, absolute far from it.

        e^2 / 2                        if e = |f - y| < delta
        delta * (e - delta / 2)        otherwise      in [0, inf)

    Source: Huber 1964. torch's smooth_l1_loss is this divided by delta.
    """

    derivative: ClassVar[str] = "clip(f - y, -delta, delta)"

    delta: Number = number(1.0, "error at which the loss changes from squared to absolute", above=0)

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        error_KBT = (outputs_KBC - targets_KBT).abs()
        near_KBT = error_KBT.clamp(max=fit(self.delta, error_KBT))
        # Both cases in one expression; torch's huber_loss rounds its gradient differently.
        return near_KBT * (error_KBT - near_KBT * 0.5)


@dataclass(frozen=True)
class LogCosh(RegressionLoss):
    """Logarithm of the hyperbolic cosine of the error: a smooth Huber loss with delta = 1.

        log cosh(f - y) = log(exp(e) + exp(-e)) - log 2      in [0, inf)

    The gradient is tanh(e), e = f - y.
    """

    derivative: ClassVar[str] = "tanh(f - y)"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        error_KBT = outputs_KBC - targets_KBT
        # Near 0 the difference of two logarithms loses all digits: cosh e = 1 + 2 sinh(e / 2)^2.
        half_KBT = error_KBT.clamp(-1, 1) * 0.5
        return torch.where(
            error_KBT.abs() <= 1,
            torch.log1p(2 * half_KBT.sinh().square()),
            torch.logaddexp(error_KBT, -error_KBT) - math.log(2),
        )


@dataclass(frozen=True)
class Quantile(RegressionLoss):
    """Quantile (pinball) loss: predicts the value below which a fraction tau of the targets lies.

        tau * e         if e = y - f >= 0
        (tau - 1) * e   if e < 0      in [0, inf)

    tau = 0.5 gives half of mae. Source: Koenker, Bassett 1978; scikit-learn's mean_pinball_loss.
    """

    derivative: ClassVar[str] = "-tau if f < y, 1 - tau if f > y"

    tau: Number = number(0.5, "fraction of the targets below the prediction", above=0, below=1)

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        error_KBT = targets_KBT - outputs_KBC
        return error_KBT * fit(self.tau, error_KBT) + (-error_KBT).relu()


@dataclass(frozen=True)
class Poisson(RegressionLoss):
    """Poisson likelihood of counts (targets >= 0); the network outputs the logarithm of the rate.

        exp(f) - y * f      in (-inf, inf), minimal at f = log y;      prediction exp(f)

    The constant log y! is omitted, as in torch's poisson_nll_loss(full=False). Above f = 30, a rate
    of 1e13, the exponential continues as its tangent, so that loss and prediction stay finite.
    """

    derivative: ClassVar[str] = "exp(f) - y"

    original_units: ClassVar[bool] = True
    target_range: ClassVar[str] = "non-negative"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return self.predict(outputs_KBC) - targets_KBT * outputs_KBC

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        clamped_KBC = outputs_KBC.clamp(max=30.0)
        rate_KBC = clamped_KBC.exp()
        # The parenthesis is exactly 0 up to 30.
        return rate_KBC + rate_KBC * (outputs_KBC - clamped_KBC)


@dataclass(frozen=True)
class Bernoulli(RegressionLoss):
    """Bernoulli likelihood of independent targets in [0, 1]: fractions, or labels of several
    classes.

        log(1 + exp(f)) - y * f      in [0, inf);      prediction 1 / (1 + exp(-f))

    This is torch's binary_cross_entropy_with_logits. Source: Bishop 2006, section 5.2.
    """

    derivative: ClassVar[str] = "1 / (1 + exp(-f)) - y"

    original_units: ClassVar[bool] = True
    target_range: ClassVar[str] = "share"

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            outputs_KBC, targets_KBT.expand_as(outputs_KBC), reduction="none"
        )

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC.sigmoid()


@dataclass(frozen=True)
class GaussianNll(RegressionLoss):
    """Gaussian likelihood: the network predicts a mean and a variance for each target.

        (log v + (m - y)^2 / v) / 2 [+ log(2 pi) / 2]      in (-inf, inf)
        v = softplus(s) + min_variance

    Outputs: the T means m, then the T raw variances s. Source: Nix, Weigend 1994. torch's
    GaussianNLLLoss has the same formula for a given variance, which it clips at its eps instead of
    adding min_variance.
    """

    predicts_deviation: ClassVar[bool] = True
    derivative: ClassVar[str] = "(m - y) / v by m, (1 - (m - y)^2 / v) / (2 v) / (1 + exp(-s)) by s"

    min_variance: Number = number(
        1e-6, "smallest variance, in squared units of the (standardized) target", above=0
    )
    full: bool = flag(False, "add the constant log(2 pi) / 2")

    def num_outputs(self, task: Task) -> int:
        return 2 * task.num_targets

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        mean_KBT, raw_KBT = outputs_KBC.chunk(2, -1)
        variance_KBT = self._variance(raw_KBT)
        loss_KBT = (variance_KBT.log() + (mean_KBT - targets_KBT).square() / variance_KBT) * 0.5
        return loss_KBT + 0.5 * math.log(2 * math.pi) if self.full else loss_KBT

    def _variance(self, raw_KBT: Tensor) -> Tensor:
        # Above the threshold torch's softplus is the identity. Its default of 20 has an error of
        # 2e-9; 40 is exact in float64.
        return F.softplus(raw_KBT, threshold=40.0) + fit(self.min_variance, raw_KBT)

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        """The predicted means, [..., T]."""
        return outputs_KBC.chunk(2, -1)[0]

    def deviation(self, outputs_KBC: Tensor) -> Tensor:
        """The predicted standard deviations sqrt(v), [..., T]."""
        return self._variance(outputs_KBC.chunk(2, -1)[1]).sqrt()

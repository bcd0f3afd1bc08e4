"""Losses: what training makes small, one number per example, and the output layer that it asks
for.
"""

from mlplab.losses.auto import Auto, resolve_auto_loss
from mlplab.losses.base import ClassificationLoss, Loss, RegressionLoss
from mlplab.losses.classification import (
    Bce,
    Brier,
    CrossEntropy,
    Focal,
    KlDivergence,
    MseOnehot,
    Nll,
)
from mlplab.losses.margin import Hinge, SquaredHinge
from mlplab.losses.regression import (
    Bernoulli,
    GaussianNll,
    HalfMse,
    Huber,
    LogCosh,
    Mae,
    Mape,
    Mse,
    Msle,
    Poisson,
    Quantile,
    Smape,
)

LOSSES: dict[str, type[Loss]] = {
    "auto": Auto,
    "mse": Mse,
    "half_mse": HalfMse,
    "mae": Mae,
    "mape": Mape,
    "smape": Smape,
    "msle": Msle,
    "huber": Huber,
    "log_cosh": LogCosh,
    "quantile": Quantile,
    "poisson": Poisson,
    "bernoulli": Bernoulli,
    "gaussian_nll": GaussianNll,
    "cross_entropy": CrossEntropy,
    "nll": Nll,
    "bce": Bce,
    "focal": Focal,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "kl_divergence": KlDivergence,
    "mse_onehot": MseOnehot,
    "brier": Brier,
}

__all__ = [
    "LOSSES",
    "Auto",
    "Bce",
    "Bernoulli",
    "Brier",
    "ClassificationLoss",
    "CrossEntropy",
    "Focal",
    "GaussianNll",
    "HalfMse",
    "Hinge",
    "Huber",
    "KlDivergence",
    "LogCosh",
    "Loss",
    "Mae",
    "Mape",
    "Mse",
    "MseOnehot",
    "Msle",
    "Nll",
    "Poisson",
    "Quantile",
    "RegressionLoss",
    "Smape",
    "SquaredHinge",
    "resolve_auto_loss",
]

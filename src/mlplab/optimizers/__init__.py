"""Optimizers, by the name that users choose in the configuration."""

from __future__ import annotations

from mlplab.optimizers.adam import Adam, Adamax, AdamW, Nadam, Radam
from mlplab.optimizers.adapter import TorchOptimizer
from mlplab.optimizers.adaptive import Adadelta, Adagrad, Rmsprop
from mlplab.optimizers.base import GradientAt, Optimizer, State, Step
from mlplab.optimizers.descent import Lion, Momentum, Nag, Rprop, Sgd

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nag": Nag,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "rmsprop": Rmsprop,
    "adam": Adam,
    "adamw": AdamW,
    "adamax": Adamax,
    "nadam": Nadam,
    "radam": Radam,
    "lion": Lion,
    "rprop": Rprop,
    "torch": TorchOptimizer,
}

__all__ = [
    "OPTIMIZERS",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GradientAt",
    "Lion",
    "Momentum",
    "Nadam",
    "Nag",
    "Optimizer",
    "Radam",
    "Rmsprop",
    "Rprop",
    "Sgd",
    "State",
    "Step",
    "TorchOptimizer",
]

"""Schedules, by the name that users choose in the configuration."""

from mlplab.schedules.base import Schedule
from mlplab.schedules.cosine import Cosine, CosineRestarts, CosLog4, FlatCosine, OneCycle
from mlplab.schedules.decay import Constant, Exponential, Linear, MultiStep, Polynomial, StepDecay
from mlplab.schedules.plateau import Plateau

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "multistep": MultiStep,
    "exponential": Exponential,
    "linear": Linear,
    "polynomial": Polynomial,
    "cosine": Cosine,
    "cosine_restarts": CosineRestarts,
    "flat_cosine": FlatCosine,
    "coslog4": CosLog4,
    "one_cycle": OneCycle,
    "plateau": Plateau,
}

__all__ = [
    "SCHEDULES",
    "Constant",
    "CosLog4",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "FlatCosine",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "StepDecay",
]

"""A metric of the user: a function of NumPy arrays, tried on small ones when it is registered.

Shapes: K members, N examples, C classes, T targets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.errors import ConfigError


@dataclass(frozen=True)
class UserMetric:
    """A metric of the user.

    Attributes:
        function: (scores, y) -> number; scores are probabilities [N, C] with y [N], or values
            [N, T] in the units of the target with y [N, T], all as NumPy arrays.
        direction: max or min.
        task: classification or regression.
    """

    function: Callable[[np.ndarray, np.ndarray], float]
    direction: str
    task: str

    def of_members(self, scores_KNC: Tensor, targets: Tensor) -> Tensor:
        """Return the metric of each member, float64 [K]."""
        pairs = zip(scores_KNC.numpy(force=True), targets.numpy(force=True), strict=True)
        values = [
            float(self.function(scores, y)) if np.isfinite(scores).all() else math.nan
            for scores, y in pairs
        ]
        return torch.tensor(values, dtype=torch.float64, device=scores_KNC.device)

    def check(self, name: str) -> None:
        """Raise ConfigError unless the function returns a number for small arrays."""
        faults = []
        for width in (2, 3) if self.task == "classification" else (1, 2):
            y: NDArray[Any]
            scores = np.linspace(0.1, 0.9, 6 * width).reshape(6, width)
            if self.task == "classification":
                scores, y = scores / scores.sum(1, keepdims=True), np.arange(6) % width
            else:
                y = scores[::-1].copy()
            shapes = f"scores {list(scores.shape)} and y {list(y.shape)}"
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    value = self.function(scores, y)
            except Exception as error:
                faults.append(f"fails for {shapes}: {type(error).__name__}: {error}")
                continue
            if np.ndim(value) == 0 and isinstance(value, (int, float, np.number, Tensor)):
                return
            kind = f"shape {list(np.shape(value))}" if np.ndim(value) else type(value).__name__
            faults.append(f"must return one number, but returned {kind} for {shapes}")
        columns = (
            "probabilities [N, C] and classes [N]"
            if self.task == "classification"
            else "predicted and true values [N, T]"
        )
        raise ConfigError(
            f"The metric `{name}` {faults[0]}. A metric for {self.task} is a function of"
            f" {columns}, as NumPy arrays, that returns a number."
        )

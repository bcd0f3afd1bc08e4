"""What simple models reach on the training rows: the scale on which a network does well or badly.

Shapes: N rows, F features, C columns of the target: indicators of the classes, or values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = (5, 15)
SMALLEST = 16
"""Rows up to which a table is a function to be learned exactly, such as that of a Boolean gate."""
MAX_FEATURES = 200
"""Columns up to which linear models are fitted."""
MAX_QUADRATIC = 12
"""The same for models with squares and products."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Scores of simple models on rows that they were not fitted on: accuracy, or R2.

    A model that says nothing here, such as neighbors among very few rows, has the score NaN.
    """

    constant: float
    neighbors: float
    linear: float
    quadratic: float

    @property
    def best(self) -> float:
        """The best score."""
        scores = (self.neighbors, self.linear, self.quadratic)
        return max([self.constant, *(score for score in scores if score == score)])

    @property
    def best_name(self) -> str:
        """The model of the best score."""
        names = {
            "linear": "a linear model",
            "quadratic": "a quadratic model",
            "neighbors": "nearest neighbors",
        }
        return next(
            (text for key, text in names.items() if getattr(self, key) == self.best), "a constant"
        )


def reference(x_NF: Floats, targets: NDArray[Any], num_classes: int, max_rows: int) -> Reference:
    """Fit the reference models to rows spread over the table; `num_classes` is 0 for values."""
    rows = np.unique(np.linspace(0, len(x_NF) - 1, min(len(x_NF), max_rows)).astype(int))
    x_NF = x_NF[rows].astype(np.float64)
    y = targets[rows]
    deviation_F = x_NF.std(0)
    varies = deviation_F > 1e-12 * np.maximum(np.abs(x_NF).max(0), 1e-300)
    x_NF = (x_NF[:, varies] - x_NF[:, varies].mean(0)) / deviation_F[varies]
    y_NC = np.eye(num_classes)[y] if num_classes else y.reshape(len(y), -1).astype(np.float64)
    constant = float(y_NC.mean(0).max()) if num_classes else 0.0
    if len(x_NF) <= SMALLEST or not x_NF.shape[1]:
        exact = num_classes and x_NF.shape[1] and _is_function(x_NF, y)
        return Reference(constant, 1.0 if exact else math.nan, math.nan, math.nan)
    table = y_NC, num_classes
    return Reference(
        constant, _neighbors(x_NF, *table), _linear(x_NF, *table), _quadratic(x_NF, *table)
    )


def _is_function(x_NF: Floats, y: NDArray[Any]) -> bool:
    """Whether equal rows have equal targets."""
    pairs = np.column_stack([x_NF, y])
    return len(np.unique(pairs, axis=0)) == len(np.unique(x_NF, axis=0))


def _neighbors(x_NF: Floats, y_NC: Floats, num_classes: int) -> float:
    """The best score of the mean of the nearest other rows."""
    squares_N = (x_NF**2).sum(1)
    distance_NN = squares_N[:, None] + squares_N - 2 * x_NF @ x_NF.T
    np.fill_diagonal(distance_NN, np.inf)
    largest = min(NEIGHBORS[-1], len(x_NF) - 1)
    order_NK = np.argpartition(distance_NN, np.arange(largest), axis=1)[:, :largest]
    near_NKC = y_NC[order_NK]
    return max(
        _score(near_NKC[:, :k].mean(1), y_NC, num_classes) for k in NEIGHBORS if k <= largest
    )


def _linear(x_NF: Floats, y_NC: Floats, num_classes: int) -> float:
    """The score of ridge regression whose prediction of each row leaves that row out."""
    if x_NF.shape[1] > MAX_FEATURES:
        return math.nan
    x_NF = np.column_stack([np.ones(len(x_NF)), x_NF])
    penalty = 1e-3 * len(x_NF) * np.eye(x_NF.shape[1])
    solved_FN = np.linalg.solve(x_NF.T @ x_NF + penalty, x_NF.T)
    leverage_N1 = np.minimum(np.einsum("nf,fn->n", x_NF, solved_FN), 0.999)[:, None]
    fitted_NC = x_NF @ (solved_FN @ y_NC)
    return _score((fitted_NC - leverage_N1 * y_NC) / (1 - leverage_N1), y_NC, num_classes)


def _quadratic(x_NF: Floats, y_NC: Floats, num_classes: int) -> float:
    """The same with the squares and products of the columns."""
    count = x_NF.shape[1]
    if count > MAX_QUADRATIC:
        return math.nan
    rows, columns = np.triu_indices(count)
    products = x_NF[:, rows] * x_NF[:, columns]
    return _linear(np.column_stack([x_NF, products]), y_NC, num_classes)


def _score(predicted_NC: Floats, y_NC: Floats, num_classes: int) -> float:
    if num_classes:
        return float((predicted_NC.argmax(1) == y_NC.argmax(1)).mean())
    variance_C = y_NC.var(0)
    error_C = ((predicted_NC - y_NC) ** 2).mean(0)
    varies = variance_C > 0
    return float((1 - error_C[varies] / variance_C[varies]).mean()) if varies.any() else 0.0

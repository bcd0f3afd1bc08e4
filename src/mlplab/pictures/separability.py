"""How easily a linear model reads the answer from a representation: what hidden layers are for, as a number.

Shapes: N examples, H units of a layer, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlplab.pictures.look import Floats
from mlplab.pictures.plane import principal_axes
from mlplab.pictures.study import Points, Study

MOST_EXAMPLES = 1000
MOST_UNITS = 64
PENALTY = 1e-5  # per example: enough to keep the weights finite where the classes can be parted


def linear_scores(study: Study, layers: list[int], frame: int) -> list[float]:
    """For each layer (0 is the input) the score of a linear model on its outputs: fitted on the train part, judged on the judged part.

    Accuracy of multinomial logistic regression for classes, R2 of least squares for values, on at most 1,000 examples. Layers of more than 64
    units are read through their 64 main directions. scikit-learn's models say the same (a test compares them); importing it takes longer than this.
    """
    fit, judge = study.points("train", MOST_EXAMPLES), study.points(study.judged, MOST_EXAMPLES)
    inside_fit, inside_judge = (study.layers(points.x, [frame]) for points in (fit, judge))
    found = []
    for layer in layers:
        a, b = (
            points.x if layer == 0 else inside[layer - 1][0].double().numpy()
            for points, inside in ((fit, inside_fit), (judge, inside_judge))
        )
        a, b = _scaled(a, b)
        score = _accuracy(a, fit, b, judge, len(study.classes)) if study.classifies else _r2(a, fit, b, judge)
        found.append(score)
    return found


def _scaled(a_NH: Floats, b_NH: Floats) -> tuple[Floats, Floats]:
    """Standardised by the first, its main directions where there are many units, with a column of ones."""
    mean, std = a_NH.mean(0), a_NH.std(0)
    std = np.where(std > 1e-12, std, 1.0)
    a_NH, b_NH = (a_NH - mean) / std, (b_NH - mean) / std
    if a_NH.shape[1] > MOST_UNITS:
        axes, _ = principal_axes(a_NH, MOST_UNITS)
        a_NH, b_NH = a_NH @ axes.T, b_NH @ axes.T
    return np.column_stack([a_NH, np.ones(len(a_NH))]), np.column_stack([b_NH, np.ones(len(b_NH))])


def _accuracy(a_NH: Floats, fit: Points, b_NH: Floats, judge: Points, num_classes: int) -> float:
    weight_HC = logistic_regression(a_NH, fit.y.astype(np.int64), num_classes)
    return float(((b_NH @ weight_HC).argmax(1) == judge.y).mean())


def logistic_regression(x_NH: Floats, y_N: NDArray[np.int64], num_classes: int) -> Floats:
    """Weights [H, C] of multinomial logistic regression with a slight L2 penalty, by SciPy's L-BFGS."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    shape, rows = (x_NH.shape[1], num_classes), np.arange(len(y_N))

    def objective(flat: Floats) -> tuple[float, Floats]:
        weight_HC = flat.reshape(shape)
        log_NC = log_softmax(x_NH @ weight_HC, axis=1)
        error_NC = np.exp(log_NC)
        error_NC[rows, y_N] -= 1
        gradient_HC = x_NH.T @ error_NC / len(y_N) + PENALTY * weight_HC
        return float(-log_NC[rows, y_N].mean() + PENALTY / 2 * (flat**2).sum()), gradient_HC.ravel()

    found = minimize(objective, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x).reshape(shape)


def _r2(a_NH: Floats, fit: Points, b_NH: Floats, judge: Points) -> float:
    weight = np.linalg.lstsq(a_NH, fit.y, rcond=None)[0]
    left = ((judge.y - b_NH @ weight) ** 2).sum(0)
    whole = ((judge.y - judge.y.mean(0)) ** 2).sum(0)
    return float((1 - left / np.maximum(whole, 1e-300)).mean())

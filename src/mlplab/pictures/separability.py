"""How well a linear model predicts the target from a hidden representation.

Shapes: N examples, H units of a layer, C classes.
"""

import numpy as np
from numpy.typing import NDArray

from mlplab.pictures.colors import Floats
from mlplab.pictures.plane import principal_axes
from mlplab.pictures.study import Points, Study

MAX_EXAMPLES = 1000
MAX_UNITS = 64
MAX_PARAMETERS = 640  # of a linear model; the cost of a Newton step grows with the third power
MAX_ITERATIONS = 25
TOLERANCE = 1e-5
PENALTY = 1e-5  # keeps the weights finite if the classes are separable


def linear_scores(study: Study, layers: list[int], frame: int) -> list[float]:
    """Return for each layer (0 is the input) the score of a linear model on its outputs.

    The model is fitted on at most 1,000 training examples and scored on at most 1,000 of the
    evaluation split. The score is the accuracy of multinomial logistic regression for classes and
    R2 of least squares for values. Layers with more than 64 units (fewer with many classes) are
    reduced to their principal components. scikit-learn would give the same scores, but importing it
    takes longer than drawing all pictures of a small run.
    """
    samples = [study.points(split, MAX_EXAMPLES) for split in ("train", study.eval_split)]
    outputs = [study.layers(points.x, [frame]) for points in samples]
    max_units = max(2, min(MAX_UNITS, MAX_PARAMETERS // max(1, len(study.classes))))
    scores = []
    for layer in layers:
        a, b = (
            points.x if layer == 0 else hidden[layer - 1][0].double().numpy()
            for points, hidden in zip(samples, outputs, strict=True)
        )
        a, b = _scaled(a, b, max_units)
        scores.append(
            _accuracy(a, samples[0], b, samples[1], len(study.classes))
            if study.classifies
            else _r2(a, samples[0], b, samples[1])
        )
    return scores


def _scaled(a_NH: Floats, b_NH: Floats, max_units: int) -> tuple[Floats, Floats]:
    """Standardize both by the first, reduce many units to principal components, append ones."""
    mean, std = a_NH.mean(0), a_NH.std(0)
    std = np.where(std > 1e-12, std, 1.0)
    a_NH, b_NH = (a_NH - mean) / std, (b_NH - mean) / std
    if a_NH.shape[1] > max_units:
        axes, _ = principal_axes(a_NH, max_units)
        a_NH, b_NH = a_NH @ axes.T, b_NH @ axes.T
    return np.column_stack([a_NH, np.ones(len(a_NH))]), np.column_stack([b_NH, np.ones(len(b_NH))])


def _accuracy(
    a_NH: Floats, train_points: Points, b_NH: Floats, eval_points: Points, num_classes: int
) -> float:
    weight_HC = logistic_regression(a_NH, train_points.y.astype(np.int64), num_classes)
    return float(((b_NH @ weight_HC).argmax(1) == eval_points.y).mean())


def logistic_regression(x_NH: Floats, y_N: NDArray[np.int64], num_classes: int) -> Floats:
    """Return the weights [H, C] of multinomial logistic regression with a slight L2 penalty.

    Uses Newton's method; each step is halved until the objective decreases.
    """
    num_examples, num_units = x_NH.shape
    target_NC = np.eye(num_classes)[y_N]
    weight_HC = np.zeros((num_units, num_classes))
    value, probability_NC = _objective(x_NH, target_NC, weight_HC)
    for _ in range(MAX_ITERATIONS):
        gradient_HC = x_NH.T @ (probability_NC - target_NC) / num_examples + PENALTY * weight_HC
        if np.abs(gradient_HC).max() < TOLERANCE:
            break
        direction = (
            np.linalg.solve(_hessian(x_NH, probability_NC), gradient_HC.T.ravel())
            .reshape(num_classes, num_units)
            .T
        )
        step_size = 1.0
        while step_size > 1e-6:
            after, probability_after_NC = _objective(
                x_NH, target_NC, weight_HC - step_size * direction
            )
            if after < value:
                break
            step_size /= 2
        else:
            break
        weight_HC, value, probability_NC = (
            weight_HC - step_size * direction,
            after,
            probability_after_NC,
        )
    return weight_HC


def _objective(x_NH: Floats, target_NC: Floats, weight_HC: Floats) -> tuple[float, Floats]:
    """Return the mean cross-entropy plus the penalty, and the class probabilities [N, C]."""
    scores_NC = x_NH @ weight_HC
    scores_NC -= scores_NC.max(1, keepdims=True)
    log_NC = scores_NC - np.log(np.exp(scores_NC).sum(1, keepdims=True))
    return float(-(target_NC * log_NC).sum(1).mean() + PENALTY / 2 * (weight_HC**2).sum()), np.exp(
        log_NC
    )


def _hessian(x_NH: Floats, probability_NC: Floats) -> Floats:
    """Return the Hessian [C * H, C * H]; block (a, b) is X' diag(p_a (1[a = b] - p_b)) X / N."""
    num_examples, num_units = x_NH.shape
    num_classes = probability_NC.shape[1]
    blocks = np.empty((num_classes, num_units, num_classes, num_units))
    for a in range(num_classes):
        for b in range(a, num_classes):
            curvature_N = probability_NC[:, a] * (float(a == b) - probability_NC[:, b])
            blocks[a, :, b] = blocks[b, :, a] = (
                x_NH.T @ (curvature_N[:, None] * x_NH) / num_examples
            )
    return blocks.reshape(num_classes * num_units, -1) + PENALTY * np.eye(num_classes * num_units)


def _r2(a_NH: Floats, train_points: Points, b_NH: Floats, eval_points: Points) -> float:
    weight = np.linalg.lstsq(a_NH, train_points.y, rcond=None)[0]
    residual = ((eval_points.y - b_NH @ weight) ** 2).sum(0)
    total = ((eval_points.y - eval_points.y.mean(0)) ** 2).sum(0)
    return float((1 - residual / np.maximum(total, 1e-300)).mean())

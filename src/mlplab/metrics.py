"""Metrics of predictions, one value per member, computed on the device in float64.

The cheap metrics are for every evaluation, the `final_` ones for the end of a run. All agree with
scikit-learn; where it is undefined, the metric here is NaN. A member whose predictions contain a
NaN has NaN metrics; other members are not affected.

Shapes: K members, N examples, C classes, T targets. A metric is float64 [K].
"""

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor

from mlplab.errors import ConfigError
from mlplab.metric_names import CHEAP as CHEAP
from mlplab.metric_names import FINAL as FINAL
from mlplab.user_metrics import UserMetric

HIGHER_IS_BETTER = frozenset(
    {"accuracy", "balanced_accuracy", "f1", "auroc", "average_precision", "mcc", "r2"}
)
BOUNDS = {
    **dict.fromkeys(HIGHER_IS_BETTER - {"r2", "mcc"}, (0.0, 1.0)),
    "mcc": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "brier": (0.0, 2.0),
    **dict.fromkeys(("log_loss", "mae", "rmse", "mape"), (0.0, math.inf)),
}
"""The lowest and the highest value of a metric; others, such as the loss, have no bounds."""


Measure: TypeAlias = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""(probabilities [K, N, C], targets [K, N]) -> some metrics, each [K]."""


_registered: dict[str, UserMetric] = {}


def register(
    name: str, direction: str, task: str
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Return a decorator that registers a function (scores, y) -> number as a metric, which
    `training.monitor` then accepts; see `UserMetric`. A metric of the same name is replaced.

    Args:
        name: letters, digits and _; not the name of a metric of mlplab.
        direction: "max" if higher is better, or "min".
        task: "classification" or "regression".

    Raises ConfigError for an invalid name, direction or task. The function is tried at once on
    small arrays; the decorator raises ConfigError if it fails or does not return one number.
    """
    if not name.isidentifier() or name in ("auto", "loss", *sum(FINAL.values(), ())):
        raise ConfigError(
            f"The metric `{name}` needs another name, of letters, digits and _, that no metric has."
        )
    if direction not in ("max", "min") or task not in FINAL:
        raise ConfigError(
            f"The metric `{name}` needs direction='max' or 'min' and task='classification' or"
            f" 'regression', not {direction!r} and {task!r}."
        )

    def decorate(function: Callable[..., float]) -> Callable[..., float]:
        metric = UserMetric(function, direction, task)
        metric.check(name)
        _registered[name] = metric
        return function

    return decorate


def names_for(task: str) -> tuple[str, ...]:
    """Return the names of all metrics for a kind of task, those of the user included."""
    registered = (name for name, metric in _registered.items() if metric.task == task)
    return ("loss", *FINAL[task], *registered)


def direction(metric: str) -> str:
    """Return whether to maximize ("max") or minimize ("min") a metric.

    The name may start with a split, as in val/accuracy.
    """
    name = metric.rpartition("/")[2]
    if name in _registered:
        return _registered[name].direction
    return "max" if name in HIGHER_IS_BETTER else "min"


def bounds(metric: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a metric, infinite where there is none.

    The name may start with a split, as in val/accuracy.
    """
    name = metric.rpartition("/")[2]
    name = "f1" if name.startswith("f1_class_") else name
    return BOUNDS.get(name, (-math.inf, math.inf))


def final_metrics(task: str, scores_KNC: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return all metrics for a kind of task, each [K], those of the user included.

    Scores are probabilities [K, N, C] with targets [K, N], or values [K, N, T] with targets
    [K, N, T].
    """
    classifies = task == "classification"
    measure = final_classification_metrics if classifies else final_regression_metrics
    registered = {name: metric for name, metric in _registered.items() if metric.task == task}
    return measure(scores_KNC, targets) | {
        name: metric.of_members(scores_KNC, targets) for name, metric in registered.items()
    }


def final_metric(name: str, task: str, scores_KNC: Tensor, targets: Tensor) -> Tensor:
    """Return one of the metrics of `final_metrics`, [K], without the cost of most others."""
    if name in _registered:
        return _registered[name].of_members(scores_KNC, targets)
    if task == "regression":
        return final_regression_metrics(scores_KNC, targets)[name]
    (measure,) = (measure for names, measure in _MEASURES.items() if name in names)
    return final_classification_metrics(scores_KNC, targets, measures=(measure,))[name]


def classification_metrics(
    probabilities_KNC: Tensor,
    targets_KN: Tensor,
    classes_KN: Tensor | None = None,
    mask_KN: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return accuracy [K]: the fraction of examples whose most probable class is the target.

    Ties go to the first class. If `classes_KN` is passed, it has the predicted classes, and any
    scores may be passed instead of probabilities. `mask_KN` is False for examples that do not
    count.
    """
    hits_KN = (probabilities_KNC.argmax(-1) if classes_KN is None else classes_KN) == targets_KN
    accuracy_K = (
        hits_KN.double().mean(1)
        if mask_KN is None
        else (hits_KN & mask_KN).sum(1).double() / mask_KN.sum(1)
    )
    return {"accuracy": _spread_nan(accuracy_K, probabilities_KNC)}


def final_classification_metrics(
    probabilities_KNC: Tensor,
    targets_KN: Tensor,
    max_entries: int = 1 << 22,
    measures: Iterable[Measure] | None = None,
) -> dict[str, Tensor]:
    """Return all classification metrics, each [K], or those of some `measures`.

    These are accuracy, balanced_accuracy, f1, mcc, auroc, average_precision, log_loss and brier.
    Members are processed in chunks of about `max_entries` probabilities, which bounds the memory of
    sorting and does not change the results.
    """
    rows = max(1, max_entries // max(1, probabilities_KNC[0].numel()))
    pairs = zip(torch.split(probabilities_KNC, rows), torch.split(targets_KN, rows), strict=True)
    measures = _MEASURES.values() if measures is None else tuple(measures)
    chunks = [
        {
            name: _spread_nan(metric_K, probabilities)
            for measure in measures
            for name, metric_K in measure(probabilities, targets).items()
        }
        for probabilities, targets in pairs
    ]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _spread_nan(metric_K: Tensor, probabilities_KNC: Tensor) -> Tensor:
    return metric_K.masked_fill(probabilities_KNC.sum((1, 2)).isnan(), math.nan)


def _confusion_metrics(probabilities_KNC: Tensor, targets_KN: Tensor) -> dict[str, Tensor]:
    """Metrics of the confusion matrix.

    balanced_accuracy: mean recall of the classes that occur in the targets. f1: unweighted mean
    over the classes that occur in targets or predictions. mcc: Matthews' correlation coefficient,
    generalized to many classes by Gorodkin (2004); 0 if targets or predictions have one class.
    """
    num_members, num_classes = len(targets_KN), probabilities_KNC.shape[-1]
    predicted_KN = probabilities_KNC.argmax(-1)
    member_K1 = torch.arange(num_members, device=targets_KN.device).unsqueeze(1)
    cell_KN = (member_K1 * num_classes + targets_KN) * num_classes + predicted_KN
    table_KCC = (
        torch.bincount(cell_KN.flatten(), minlength=num_members * num_classes**2)
        .view(-1, num_classes, num_classes)
        .double()
    )
    hits_KC, actual_KC, predicted_KC = (
        table_KCC.diagonal(dim1=1, dim2=2),
        table_KCC.sum(2),
        table_KCC.sum(1),
    )
    hits_K, total = hits_KC.sum(1), targets_KN.shape[1]
    covariance_K = hits_K * total - (actual_KC * predicted_KC).sum(1)
    variance_K = (total**2 - predicted_KC.square().sum(1)) * (total**2 - actual_KC.square().sum(1))
    return {
        "accuracy": hits_K / total,
        "balanced_accuracy": (hits_KC / actual_KC).nanmean(1),
        "f1": (2 * hits_KC / (actual_KC + predicted_KC)).nanmean(1),
        "mcc": torch.where(variance_K > 0, covariance_K / variance_K.sqrt(), 0.0),
    }


def _ranking_metrics(probabilities_KNC: Tensor, targets_KN: Tensor) -> dict[str, Tensor]:
    """Areas under the ROC and the precision-recall curve.

    With two classes they are those of class 1, else the unweighted mean of one class against the
    rest.
    """
    num_classes = probabilities_KNC.shape[-1]
    classes = [1] if num_classes == 2 else range(num_classes)
    areas = [_areas(probabilities_KNC[..., c].contiguous(), targets_KN == c) for c in classes]
    auroc_KC, precision_KC = (torch.stack(columns, 1) for columns in zip(*areas, strict=True))
    return {"auroc": auroc_KC.mean(1), "average_precision": precision_KC.mean(1)}


def _areas(scores_KN: Tensor, positive_KN: Tensor) -> tuple[Tensor, Tensor]:
    """AUROC and average precision of one class, [K] each; equal scores share a threshold.

        auroc = (sum of the positives' midranks - P (P + 1) / 2) / (P * (N - P))
        average precision = mean over the positives i of
                            (positives scored >= i) / (examples scored >= i)

    P is the number of positives; auroc is the statistic of Mann and Whitney (1947). Without
    positives or negatives auroc is NaN; without positives average precision is 0, as in
    scikit-learn.
    """
    num_examples = scores_KN.shape[1]
    sorted_KN, order_KN = scores_KN.sort(1)
    positive_KN = positive_KN.gather(1, order_KN).double()
    below_KN = torch.searchsorted(sorted_KN, sorted_KN)
    up_to_KN = torch.searchsorted(sorted_KN, sorted_KN, right=True)
    positives_K = positive_KN.sum(1)
    ranks_K = (positive_KN * (below_KN + up_to_KN + 1)).sum(1) / 2
    auroc_K = (ranks_K - positives_K * (positives_K + 1) / 2) / (
        positives_K * (num_examples - positives_K)
    )
    # integer counts, since CUDA has no deterministic cumsum of floats
    counts_KN = positive_KN.long().flip(1).cumsum(1).flip(1)
    # the clamp is for NaN scores only
    reached_KN = counts_KN.gather(1, below_KN.clamp(max=num_examples - 1)).double()
    precision_KN = reached_KN / (num_examples - below_KN)
    average_K = (positive_KN * precision_KN).sum(1) / positives_K.clamp(min=1)
    return auroc_K, average_K


def _probability_metrics(probabilities_KNC: Tensor, targets_KN: Tensor) -> dict[str, Tensor]:
    """Proper scoring rules.

    log_loss: mean of -log p of the target, with p clipped to [eps, 1 - eps] of the dtype, as in
    scikit-learn. brier: mean over examples of sum_c (p_c - [c = target])^2, in [0, 2]; for two
    classes half of it, (p_1 - [1 = target])^2 in [0, 1]. Both agree with scikit-learn's
    brier_score_loss.
    """
    eps = torch.finfo(probabilities_KNC.dtype).eps
    index_KN1 = targets_KN.unsqueeze(-1)
    hit_KN = probabilities_KNC.gather(-1, index_KN1).squeeze(-1)
    log_loss_K = -hit_KN.clamp(eps, 1 - eps).double().log().mean(1)
    probabilities_KNC = probabilities_KNC.double()
    miss_KNC = probabilities_KNC.scatter(-1, index_KN1, hit_KN.double().unsqueeze(-1) - 1)
    halved = 0.5 if probabilities_KNC.shape[-1] == 2 else 1.0
    return {"log_loss": log_loss_K, "brier": halved * miss_KNC.square().sum(-1).mean(1)}


_MEASURES: dict[tuple[str, ...], Measure] = {
    ("accuracy", "balanced_accuracy", "f1", "mcc"): _confusion_metrics,
    ("auroc", "average_precision"): _ranking_metrics,
    ("log_loss", "brier"): _probability_metrics,
}


def total_squares(targets_KNT: Tensor) -> Tensor:
    """Return the sum of squares about the mean, float64 [K, T], with which r2 compares.

    It depends only on the targets, so callers may compute it once. It is exactly 0 for a constant
    target, whose mean may round.
    """
    targets_KNT = targets_KNT.double()
    total_KT = (targets_KNT - targets_KNT.mean(1, keepdim=True)).square().sum(1)
    return total_KT.masked_fill((targets_KNT == targets_KNT[:, :1]).all(1), 0)


def regression_metrics(
    predictions_KNT: Tensor,
    targets_KNT: Tensor,
    total_KT: Tensor | None = None,
    mask_KN: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return mae, rmse and r2, each [K]: the mean over the targets of each target's metric.

        mae = mean |f - y|
        rmse = sqrt(mean (f - y)^2)
        r2 = 1 - sum (f - y)^2 / sum (y - mean y)^2

    `total_KT` is `total_squares(targets_KNT)`, computed here by default. r2 of a constant target is
    1 if the prediction is exact, else 0; r2 of fewer than two examples is NaN. `mask_KN` is False
    for examples that do not count.
    """
    if mask_KN is not None:
        return _masked_regression_metrics(
            predictions_KNT.double(), targets_KNT.double(), mask_KN.double().unsqueeze(-1)
        )
    error_KNT = predictions_KNT.double() - targets_KNT.double()
    squares_KT = error_KNT.square().sum(1)
    num_examples = error_KNT.shape[1]
    return {
        "mae": error_KNT.abs().mean((1, 2)),
        "rmse": (squares_KT / num_examples).sqrt().mean(1),
        "r2": _r2(
            squares_KT, total_squares(targets_KNT) if total_KT is None else total_KT, num_examples
        ),
    }


def _masked_regression_metrics(
    predictions_KNT: Tensor, targets_KNT: Tensor, mask_KN1: Tensor
) -> dict[str, Tensor]:
    count_K1 = mask_KN1.sum(1)
    error_KNT = (predictions_KNT - targets_KNT) * mask_KN1
    squares_KT = error_KNT.square().sum(1)
    mean_K1T = ((targets_KNT * mask_KN1).sum(1) / count_K1).unsqueeze(1)
    total_KT = ((targets_KNT - mean_K1T).square() * mask_KN1).sum(1)
    top_KT, bottom_KT = (
        torch.where(mask_KN1 > 0, targets_KNT, -side * math.inf).mul(side).amax(1).mul(side)
        for side in (1, -1)
    )
    total_KT = total_KT.masked_fill(top_KT == bottom_KT, 0)
    return {
        "mae": (error_KNT.abs().sum(1) / count_K1).mean(1),
        "rmse": (squares_KT / count_K1).sqrt().mean(1),
        "r2": torch.where(count_K1[:, 0] < 2, math.nan, _r2(squares_KT, total_KT, 2)),
    }


def _r2(squares_KT: Tensor, total_KT: Tensor, num_examples: int) -> Tensor:
    if num_examples < 2:
        return torch.full_like(squares_KT[:, 0], math.nan)
    score_KT = 1 - squares_KT / total_KT
    constant_KT = torch.where(squares_KT > 0, 0.0, 1.0)
    return torch.where((total_KT == 0) & ~squares_KT.isnan(), constant_KT, score_KT).mean(1)


def final_regression_metrics(
    predictions_KNT: Tensor, targets_KNT: Tensor, total_KT: Tensor | None = None
) -> dict[str, Tensor]:
    """Return all regression metrics, each [K]: mae, rmse, r2 and mape.

    mape = mean |f - y| / max(|y|, 2.2e-16) is a fraction, as in scikit-learn.
    """
    metrics = regression_metrics(predictions_KNT, targets_KNT, total_KT)
    targets_KNT = targets_KNT.double()
    size_KNT = targets_KNT.abs().clamp(min=torch.finfo(torch.float64).eps)
    return metrics | {
        "mape": ((predictions_KNT.double() - targets_KNT).abs() / size_KNT).mean((1, 2))
    }

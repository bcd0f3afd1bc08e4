"""Prediction intervals of values by split conformal prediction with normalized residuals.

    score_i = |y_i - f(x_i)| / scale(x_i)      of n rows that the network did not learn from
    interval(x) = f(x) -+ q * scale(x),        q: the ceil((n + 1) * level)-th smallest score

scale(x) is the deviation that the network predicts, if it does, times the difficulty of the row.
If the rows are exchangeable, a new row lies within with at least the probability `level`, on
average over rows and calibrations. Source: Lei et al., "Distribution-free predictive inference for
regression", JASA 2018; Papadopoulos et al. 2011 for the normalization. Scores of several networks
are combined as in CV+: Barber et al., "Predictive inference with the jackknife+", 2021.

Shapes: N rows, F features, T targets, S scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.errors import DataError
from mlplab.model.difficulty import Difficulty, Trees, fit_difficulty

VERSION = 1
MAX_ENTRIES = 1 << 22  # ends of intervals that are sorted at once


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a network says of rows: scaled features [N, F], values [N, T] in the units of the
    target, and their deviations [N, T] if its loss predicts them.
    """

    x_NF: np.ndarray
    values_NT: np.ndarray
    deviations_NT: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Intervals:
    """What the intervals of one network need.

    `scores` are sorted, [S] for each target. With `signed`, as for a quantile, they are
    (y - f) / scale, and each end of an interval has its own quantile. `center` and `spread` [T]
    standardize the predictions, which are features of the difficulty; targets are within `bounds`.
    """

    scores: tuple[np.ndarray, ...]
    difficulties: tuple[Difficulty, ...]
    center_T: np.ndarray
    spread_T: np.ndarray
    num_features: int
    signed: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def scales(self, predicted: Predicted) -> np.ndarray:
        """Return the scale of the errors of each row, [N, T]."""
        x_NF = _with_predictions(predicted, self.center_T, self.spread_T)
        scale_NT = np.stack([difficulty(x_NF) for difficulty in self.difficulties], 1)
        return scale_NT if predicted.deviations_NT is None else scale_NT * predicted.deviations_NT

    def to_dict(self) -> dict[str, object]:
        """Return what a JSON file stores."""
        return {
            "version": VERSION,
            "signed": self.signed,
            "bounds": [end if math.isfinite(end) else None for end in self.bounds],
            "num_features": self.num_features,
            "center": self.center_T.tolist(),
            "spread": self.spread_T.tolist(),
            "targets": [
                {
                    "scores": scores_S.tolist(),
                    "exponent": difficulty.exponent,
                    "trees": difficulty.trees.to_dict() if difficulty.trees else None,
                }
                for scores_S, difficulty in zip(self.scores, self.difficulties, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Intervals:
        """Return what `to_dict` described. Raises KeyError, TypeError or ValueError for others."""
        if fields["version"] != VERSION:
            raise ValueError(
                f"its intervals have version {fields['version']!r}, and this version of mlplab"
                f" reads {VERSION}"
            )
        targets = fields["targets"]
        if not isinstance(targets, list) or not targets:
            raise TypeError("its targets are no list")
        scores = tuple(np.array(target["scores"], np.float64) for target in targets)
        if not all(len(one) and np.isfinite(one).all() for one in scores):
            raise ValueError("its scores are not finite")
        bounds = fields["bounds"]
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise TypeError("its bounds are no list of two")
        num_features = int(str(fields["num_features"]))
        difficulties = tuple(
            Difficulty(
                Trees.from_dict(target["trees"], num_features + len(targets))
                if target["trees"]
                else None,
                float(target["exponent"]),
            )
            for target in targets
        )
        return cls(
            scores,
            difficulties,
            np.array(fields["center"], np.float64),
            np.array(fields["spread"], np.float64),
            num_features,
            bool(fields["signed"]),
            (
                -math.inf if bounds[0] is None else float(bounds[0]),
                math.inf if bounds[1] is None else float(bounds[1]),
            ),
        )


def _with_predictions(
    predicted: Predicted, center_T: np.ndarray, spread_T: np.ndarray
) -> np.ndarray:
    return np.concatenate([predicted.x_NF, (predicted.values_NT - center_T) / spread_T], axis=1)


def fit_intervals(
    predicted: Predicted,
    y_NT: np.ndarray,
    signed: bool = False,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    optimism: float = 1.0,
) -> Intervals:
    """Return the intervals of a network, given rows that it did not learn from and targets. Errors
    of other rows are `optimism` times as large as those of these.
    """
    center_T, spread_T = predicted.values_NT.mean(0), predicted.values_NT.std(0)
    spread_T = np.where(spread_T > 0, spread_T, 1.0)
    x_NF = _with_predictions(predicted, center_T, spread_T)
    scores, difficulties = [], []
    for t in range(y_NT.shape[1]):
        error_N = y_NT[:, t] - predicted.values_NT[:, t]
        if predicted.deviations_NT is not None:
            error_N = error_N / predicted.deviations_NT[:, t]
        difficulty, held_out_N = fit_difficulty(x_NF, np.abs(error_N))
        score_N = optimism * error_N / held_out_N
        scores.append(np.sort(score_N if signed else np.abs(score_N)))
        difficulties.append(difficulty)
    num_features = predicted.x_NF.shape[1]
    return Intervals(
        tuple(scores), tuple(difficulties), center_T, spread_T, num_features, signed, bounds
    )


def rank(num_scores: int, level: float, signed: bool) -> int:
    """Return which of the sorted scores, counted from 1, bounds the upper end of an interval:
    ceil((n + 1) * level), or with (1 + level) / 2 if each end has its own.
    """
    share = (1 + level) / 2 if signed else level
    # 10 * 0.9 is 9.000000000000002 for some n: without the margin, ceil would add one
    return math.ceil((num_scores + 1) * share - 1e-9)


def check_level(level: float, num_scores: int, signed: bool) -> None:
    """Raise DataError unless intervals of this level have ends."""
    if not 0 < level < 1:
        raise DataError(f"An interval of level {level:g} is none: choose one between 0 and 1.")
    if rank(num_scores, level, signed) <= num_scores:
        return
    highest = num_scores / (num_scores + 1)
    highest = 2 * highest - 1 if signed else highest
    advice = (
        f"the highest level that they can hold is {math.floor(highest * 1000) / 1000:g}"
        if highest >= 0.001
        else "they are too few for any"
    )
    raise DataError(
        f"An interval of level {level:g} needs more than the {num_scores} rows that it is"
        f" calibrated on: {advice}. A larger dataset.val gives more."
    )


def interval(
    members: Sequence[tuple[Intervals, Predicted]], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper ends of the intervals, [N, T] each, of one network, or of
    several (CV+), each with what it predicts of the same rows.

    Raises DataError if the level is not between 0 and 1, or too high for the number of scores.
    """
    first = members[0][0]
    num_scores = sum(len(intervals.scores[0]) for intervals, _ in members)
    check_level(level, num_scores, first.signed)
    position = rank(num_scores, level, first.signed) - 1
    scales = [intervals.scales(predicted) for intervals, predicted in members]
    num_rows, num_targets = members[0][1].values_NT.shape
    lower_NT, upper_NT = np.empty((2, num_rows, num_targets))
    step = max(1, MAX_ENTRIES // num_scores)
    for t in range(num_targets):
        for start in range(0, num_rows, step):
            rows = slice(start, start + step)
            upper_NS, lower_NS = [], []
            for (intervals, predicted), scale_NT in zip(members, scales, strict=True):
                value_N1 = predicted.values_NT[rows, t, None]
                scale_N1, scores_S = scale_NT[rows, t, None], intervals.scores[t]
                upper_NS.append(value_N1 + scores_S * scale_N1)
                below_S = scores_S if first.signed else -scores_S
                lower_NS.append(value_N1 + below_S * scale_N1)
            upper_NT[rows, t] = _ordered(upper_NS, position)
            lower_NT[rows, t] = _ordered(lower_NS, num_scores - 1 - position)
    return np.clip(lower_NT, *first.bounds), np.clip(upper_NT, *first.bounds)


def _ordered(columns: Sequence[np.ndarray], position: int) -> np.ndarray:
    """The value at a position of each sorted row."""
    joined_NS = np.concatenate(columns, 1)
    return np.asarray(np.partition(joined_NS, position, axis=1)[:, position])

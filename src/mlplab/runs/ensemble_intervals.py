"""The prediction intervals of one run, or of the mean of several that learned the same task.

Runs that share their val split are calibrated together on it. Others are combined as in CV+: each
network has the errors on rows that it did not learn from, in a cross-validation those of its fold's
test split. Source: Barber et al., "Predictive inference with the jackknife+", 2021.

Shapes: N rows, F features, T targets, K runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.tabular.cell_errors import first_row
from mlplab.errors import DataError
from mlplab.model.ensemble import Ensemble
from mlplab.model.intervals import Intervals, Predicted, check_level, fit_intervals, interval
from mlplab.runs.intervals import BOUNDS, data_of_training, predicted, quantile_of
from mlplab.runs.run import Run
from mlplab.training import DataCache
from mlplab.validation import KFold

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Member:
    """Intervals, and what predicts the rows of a frame: (frame, source) -> predictions."""

    intervals: Intervals
    predict: Callable[[pd.DataFrame, str], Predicted]


@dataclass(frozen=True)
class EnsembleIntervals:
    """The calibrated members whose intervals are combined."""

    members: tuple[Member, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> EnsembleIntervals:
        """Calibrate runs on held-out rows, or read what earlier calls stored. Raises DataError."""
        if len(runs) == 1:
            run = runs[0]
            return cls((_member(run, run.intervals()),))
        if runs[0].preprocessing.task.classifies:
            raise DataError(
                "These runs predict classes, which have probabilities: intervals are for values."
            )
        cache = DataCache()
        is_cross_validation = all(isinstance(run.settings.validation, KFold) for run in runs)
        if not is_cross_validation and (shared := _shared_val_member(runs, cache)) is not None:
            return cls((shared,))
        split = "test" if is_cross_validation else "val"
        return cls(tuple(_member(run, run.intervals(cache=cache, split=split)) for run in runs))

    def check_level(self, level: float) -> None:
        """Raise DataError unless intervals of this level have ends."""
        first = self.members[0].intervals
        num_scores = sum(len(member.intervals.scores[0]) for member in self.members)
        check_level(level, num_scores, first.signed)

    def ends(
        self, frame: pd.DataFrame, source: str, levels: Sequence[float]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each level the lower and the upper ends for the rows of a frame, [N, T]."""
        members = [(member.intervals, member.predict(frame, source)) for member in self.members]
        return [interval(members, level) for level in levels]


def _member(run: Run, intervals: Intervals) -> Member:
    def predict(frame: pd.DataFrame, source: str) -> Predicted:
        features_NF = run.preprocessing.features(frame, source)
        return predicted(run.model, features_NF, source, 1 + first_row(frame))

    return Member(intervals, predict)


def _shared_val_member(runs: Sequence[Run], cache: DataCache) -> Member | None:
    """The mean of runs, calibrated on the val split that they share; None if they do not."""
    prepared = [data_of_training(run.folder, run.settings, cache) for run in runs]
    preprocessing = {run.preprocessing.to_json() for run in runs}
    val = prepared[0].val
    if val is None or len(preprocessing) > 1 or any(one.val is not val for one in prepared[1:]):
        return None
    ensemble, first = Ensemble([run.model for run in runs]), runs[0]

    def of_features(features_NF: np.ndarray, source: str, row: int) -> Predicted:
        values_NT, spread_NT = ensemble.scores_of_features([features_NF], source, row)
        deviations = [run.model.deviations(features_NF) for run in runs]
        variances = [np.square(one[0]) for one in deviations if one is not None]
        deviation_NT = (
            np.sqrt(np.mean(variances, axis=0) + np.square(spread_NT)) if variances else None
        )
        # where the networks disagree, errors are larger
        return Predicted(np.concatenate([features_NF, spread_NT], 1), values_NT, deviation_NT)

    def predict(frame: pd.DataFrame, source: str) -> Predicted:
        features_NF = first.preprocessing.features(frame, source)
        return of_features(features_NF, source, 1 + first_row(frame))

    examples = val.real()
    y_NT = first.preprocessing.in_target_units(np.asarray(examples.y, np.float64))
    intervals = fit_intervals(
        of_features(examples.x, "the val split", 0),
        y_NT,
        quantile_of(first.model.loss) is not None,
        BOUNDS[first.model.loss.target_range],
        float(np.mean([run.optimism_of_selection() for run in runs])),
    )
    return Member(intervals, predict)

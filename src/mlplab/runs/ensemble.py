"""Predictions for new rows: of one run, or the mean of several that learned the same task.

Shapes: N rows, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.tabular.cell_errors import first_row
from mlplab.errors import DataError
from mlplab.model.ensemble import Ensemble
from mlplab.runs.ensemble_intervals import EnsembleIntervals
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictor:
    """Runs whose predictions are averaged."""

    runs: tuple[Run, ...]

    @cached_property
    def ensemble(self) -> Ensemble:
        """The models of the runs."""
        if len(self.runs) == 1:
            return Ensemble([self.runs[0].model])
        return Ensemble([replace(run.model, names=(str(run.folder),)) for run in self.runs])

    @classmethod
    def of_jobs(cls, runs: Sequence[Run], folder: Path) -> Predictor:
        """Return the predictor of jobs of the sweep in a folder.

        Raises DataError if the jobs learned different tasks.
        """
        for run in runs[1:]:
            if run.preprocessing.problem != runs[0].preprocessing.problem:
                raise DataError(
                    f"The jobs of {folder} learned different tasks ({run.folder} and"
                    f" {runs[0].folder}): their predictions cannot be averaged."
                )
        return cls(tuple(runs))

    def scores(self, frame: pd.DataFrame, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over the runs of class probabilities [N, C] or values [N, T], and their
        standard deviation over the runs [N, C or T].

        `source` names the data in messages. Raises NotFiniteError, with the number of the row in
        the source if the index of the frame has it.
        """
        return self.ensemble.scores(frame, source, 1 + first_row(frame))

    @cached_property
    def intervals(self) -> EnsembleIntervals:
        """What the intervals of the predictions need; see `EnsembleIntervals.of`."""
        return EnsembleIntervals.of(self.runs)

    def table(self, frame: pd.DataFrame, source: str, level: float | None = None) -> pd.DataFrame:
        """Return predictions as a data frame: the class and one probability per class, or one value
        per target; of several members also their standard deviation ("spread"). With a `level`,
        each target has the columns "lower" and "upper" of the intervals of that level.

        Raises NotFiniteError as `scores` does.
        """
        import pandas as pd

        preprocessing = self.runs[0].preprocessing
        has_spread = len(self.runs) > 1 or len(self.runs[0].model.weighted_members()) > 1
        mean, spread = self.scores(frame, source)
        if preprocessing.task.classifies:
            columns: dict[str, np.ndarray] = {
                "prediction": np.array(preprocessing.class_names, dtype=object)[mean.argmax(1)]
            }
            columns |= {
                f"P({name})": mean[:, c] for c, name in enumerate(preprocessing.class_names)
            }
            if has_spread:
                columns["spread"] = np.take_along_axis(spread, mean.argmax(1)[:, None], 1)[:, 0]
        else:
            columns = {name: mean[:, t] for t, name in enumerate(preprocessing.target_names)}
            if level is not None:
                lower_NT, upper_NT = self.intervals.ends(frame, source, level)
                for t, name in enumerate(preprocessing.target_names):
                    columns |= {f"{name} lower": lower_NT[:, t], f"{name} upper": upper_NT[:, t]}
            if has_spread:
                columns |= {
                    f"{name} spread": spread[:, t]
                    for t, name in enumerate(preprocessing.target_names)
                }
        return pd.DataFrame(columns, index=frame.index)

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
from mlplab.runs.run import Run, load
from mlplab.runs.run_index import summary_of

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
    def from_folder(cls, folder: Path, best: int | None = None) -> Predictor:
        """Load the run in a folder, or the finished jobs of a sweep: all, or the `best` by their
        loss on the validation split (train if there is none).

        Raises DataError if no job is done, or the jobs learned different tasks.
        """
        if not (folder / "plan.yaml").is_file():
            return cls((load(folder),))
        done = [
            path
            for path in sorted((folder / "jobs").iterdir(), key=lambda path: int(path.name))
            if summary_of(path).get("status") == "done"
        ]
        if not done:
            raise DataError(f"{folder} has no finished job: there is nothing to predict with.")
        runs = [load(path) for path in _best_folders(done, best)]
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

    def table(self, frame: pd.DataFrame, source: str) -> pd.DataFrame:
        """Return predictions as a data frame: the class and one probability per class, or one value
        per target; with several runs also their standard deviation ("spread").

        Raises NotFiniteError as `scores` does.
        """
        import pandas as pd

        preprocessing = self.runs[0].preprocessing
        mean, spread = self.scores(frame, source)
        if preprocessing.task.classifies:
            columns: dict[str, np.ndarray] = {
                "prediction": np.array(preprocessing.class_names, dtype=object)[mean.argmax(1)]
            }
            columns |= {
                f"P({name})": mean[:, c] for c, name in enumerate(preprocessing.class_names)
            }
            if len(self.runs) > 1:
                columns["spread"] = np.take_along_axis(spread, mean.argmax(1)[:, None], 1)[:, 0]
        else:
            columns = {name: mean[:, t] for t, name in enumerate(preprocessing.target_names)}
            if len(self.runs) > 1:
                columns |= {
                    f"{name} spread": spread[:, t]
                    for t, name in enumerate(preprocessing.target_names)
                }
        return pd.DataFrame(columns, index=frame.index)


def _best_folders(folders: Sequence[Path], number: int | None) -> Sequence[Path]:
    if number is None:
        return folders
    metrics = [summary_of(folder).get("metrics") or {} for folder in folders]
    name = "val/loss" if "val/loss" in metrics[0] else "train/loss"
    losses = [
        float(values[name]) if isinstance(values.get(name), (int, float)) else float("inf")
        for values in metrics
    ]
    return [folders[i] for i in sorted(range(len(folders)), key=losses.__getitem__)[:number]]

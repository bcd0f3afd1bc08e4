"""Predictions for new rows: of one run, or the mean of several that learned the same task.

Shapes: N rows, F features, C classes, T targets, M runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlplab.errors import DataError
from mlplab.finite import check_finite_outputs
from mlplab.runs.run import Run, load
from mlplab.runs.run_index import summary_of
from mlplab.runs.stacked_models import StackedModels, structure_key

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.model.preprocessing import Preprocessing


@dataclass(frozen=True)
class Predictor:
    """Runs whose predictions are averaged; networks of equal structure predict as one batch."""

    runs: tuple[Run, ...]

    @cached_property
    def _groups(self) -> list[tuple[StackedModels, list[int]]]:
        """Networks of equal structure, and the index of each one's preprocessing in
        `_preprocessing`.
        """
        runs_by_structure: dict[str, list[Run]] = {}
        for run in self.runs:
            runs_by_structure.setdefault(structure_key(run), []).append(run)
        return [
            (StackedModels(runs), [self._preprocessing[1][id(run)] for run in runs])
            for runs in runs_by_structure.values()
        ]

    @cached_property
    def _preprocessing(self) -> tuple[list[Run], dict[int, int]]:
        """One run per distinct preprocessing, and id(run) -> index of its preprocessing."""
        index_of_json: dict[str, int] = {}
        distinct_runs: list[Run] = []
        indices = {}
        for run in self.runs:
            text = run.preprocessing.to_json()
            if text not in index_of_json:
                index_of_json[text] = len(distinct_runs)
                distinct_runs.append(run)
            indices[id(run)] = index_of_json[text]
        return distinct_runs, indices

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
        reference = runs[0].preprocessing
        for run in runs[1:]:
            preprocessing = run.preprocessing
            if (
                preprocessing.task,
                preprocessing.class_names,
                preprocessing.target_names,
                _column_names(preprocessing),
            ) != (
                reference.task,
                reference.class_names,
                reference.target_names,
                _column_names(reference),
            ):
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
        distinct = self._preprocessing[0]
        scaled = [
            run.preprocessing.feature_scaler.apply(_features(run, frame, source))
            for run in distinct
        ]
        group_scores = []
        for stacked, indices in self._groups:
            features = (
                [scaled[index] for index in indices]
                if len(set(indices)) > 1
                else [scaled[indices[0]]]
            )
            predicted_MNC = stacked.predict(features)
            group_scores.append(
                np.stack(
                    [
                        distinct[index].preprocessing.in_target_units(member_values)
                        for index, member_values in zip(indices, predicted_MNC, strict=True)
                    ]
                )
            )
        scores_MNC = np.concatenate(group_scores)
        ordered = [run for stacked, _ in self._groups for run in stacked.runs]
        for run, scores_NC in zip(ordered, scores_MNC, strict=True):
            run_folder = str(run.folder) if len(ordered) > 1 else ""
            check_finite_outputs(scores_NC, source, 1 + _first_row(frame), run_folder)
        return scores_MNC.mean(0), scores_MNC.std(0)

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


def _first_row(frame: pd.DataFrame) -> int:
    """The number of a frame's first row in its source, from 0: the index of a chunk of a file has
    it.
    """
    return int(getattr(frame.index, "start", 0))


def _column_names(preprocessing: Preprocessing) -> tuple[str, ...]:
    encoder = preprocessing.encoder
    return (
        tuple(column.name for column in encoder.columns)
        if encoder is not None
        else preprocessing.feature_names
    )


def _features(run: Run, frame: pd.DataFrame, source: str) -> np.ndarray:
    """The unscaled features of a run, computed by its encoder."""
    preprocessing = run.preprocessing
    return (
        preprocessing.encoder.apply(frame, source)
        if preprocessing.encoder is not None
        else plain_features(frame, preprocessing.feature_names, source)
    )


def plain_features(frame: pd.DataFrame, names: Sequence[str], source: str) -> np.ndarray:
    """Return the features of a run that was not trained on a file: the columns `names` as float64
    [N, F].

    Raises DataError if a column is missing or a value is not finite.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(
            f"{source} lacks the column(s) {', '.join(missing)}; the run learned from"
            f" {', '.join(names)}."
        )
    features_NF = np.asarray(frame[list(names)].to_numpy(np.float64, na_value=np.nan))
    invalid_NF = ~np.isfinite(features_NF)
    if invalid_NF.any():
        row, column = np.argwhere(invalid_NF)[0]
        raise DataError(
            f"{source}, column '{names[column]}', row {_first_row(frame) + row + 1}:"
            f" {features_NF[row, column]} is not a finite number; {int(invalid_NF.sum())} such"
            " cell(s)."
        )
    return features_NF


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

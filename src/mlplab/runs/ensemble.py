"""Predictions for new rows: of one run, or the mean of several that learnt the same task. Shapes: N
rows, C classes or targets, M runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.errors import DataError
from mlplab.finite import check_finite_outputs
from mlplab.runs.run import Run, load
from mlplab.runs.run_index import summary_of
from mlplab.runs.stacked_models import StackedModels, structure_key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictor:
    """Runs whose predictions are averaged. Those of one structure predict as one population."""

    runs: tuple[Run, ...]

    @cached_property
    def _groups(self) -> list[tuple[StackedModels, list[int]]]:
        """Networks of one structure, and the place of each one's preprocessing in
        `_preprocessing`.
        """
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(structure_key(run), []).append(run)
        return [
            (StackedModels(runs), [self._preprocessing[1][id(run)] for run in runs])
            for runs in found.values()
        ]

    @cached_property
    def _preprocessing(self) -> tuple[list[Run], dict[int, int]]:
        """A run for each way to make features, and which of them each run has."""
        known: dict[str, int] = {}
        first: list[Run] = []
        place = {}
        for run in self.runs:
            text = run.preprocessing.to_json()
            if text not in known:
                known[text] = len(first)
                first.append(run)
            place[id(run)] = known[text]
        return first, place

    @classmethod
    def of(cls, folder: Path, best: int | None = None) -> Predictor:
        """The run in a folder, or the jobs of a sweep's that are done, all or the `best` by their
        validation metric. Raises DataError.
        """
        if not (folder / "plan.yaml").is_file():
            return cls((load(folder),))
        done = [
            path
            for path in sorted((folder / "jobs").iterdir(), key=lambda path: int(path.name))
            if summary_of(path).get("status") == "done"
        ]
        if not done:
            raise DataError(f"{folder} has no job that is done: there is nothing to predict with.")
        runs = [load(path) for path in _best(done, best)]
        first = runs[0].preprocessing
        for run in runs[1:]:
            own = run.preprocessing
            if (own.task, own.class_names, own.target_names, _columns(own)) != (
                first.task,
                first.class_names,
                first.target_names,
                _columns(first),
            ):
                raise DataError(
                    f"The jobs of {folder} learnt different tasks ({run.folder} and"
                    f" {runs[0].folder}): their predictions cannot be averaged."
                )
        return cls(tuple(runs))

    def scores(self, frame: pd.DataFrame, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean over the runs of class probabilities [N, C] or values [N, T], and their standard
        deviation over the runs [N, C or T]. Raises NotFiniteError, with the number of the row in
        the source where the frame has it as its index.
        """
        distinct = self._preprocessing[0]
        scaled = [
            run.preprocessing.feature_scaler.apply(_features(run, frame, source))
            for run in distinct
        ]
        pieces = []
        for together, places in self._groups:
            own = (
                [scaled[place] for place in places] if len(set(places)) > 1 else [scaled[places[0]]]
            )
            predicted_MNC = together.predicted(own)
            pieces.append(
                np.stack(
                    [
                        self._restored(distinct[place], one)
                        for place, one in zip(places, predicted_MNC, strict=True)
                    ]
                )
            )
        scores_MNC = np.concatenate(pieces)
        ordered = [run for together, _ in self._groups for run in together.runs]
        for run, scores_NC in zip(ordered, scores_MNC, strict=True):
            by = str(run.folder) if len(ordered) > 1 else ""
            check_finite_outputs(scores_NC, source, 1 + _first(frame), by)
        return scores_MNC.mean(0), scores_MNC.std(0)

    @staticmethod
    def _restored(run: Run, predicted: np.ndarray) -> np.ndarray:
        """Values in the target's own units."""
        own = run.preprocessing
        return (
            predicted
            if own.task.classifies or own.target_scaler is None
            else own.target_scaler.invert(predicted)
        )

    def table(self, frame: pd.DataFrame, source: str) -> pd.DataFrame:
        """Predictions as a data frame: the class and a probability a class, or a value a target;
        with several runs also their spread.
        """
        import pandas as pd

        own = self.runs[0].preprocessing
        mean, spread = self.scores(frame, source)
        if own.task.classifies:
            found: dict[str, Any] = {
                "prediction": np.array(own.class_names, dtype=object)[mean.argmax(1)]
            }
            found |= {f"P({name})": mean[:, c] for c, name in enumerate(own.class_names)}
            if len(self.runs) > 1:
                found["spread"] = np.take_along_axis(spread, mean.argmax(1)[:, None], 1)[:, 0]
        else:
            found = {name: mean[:, t] for t, name in enumerate(own.target_names)}
            if len(self.runs) > 1:
                found |= {f"{name} spread": spread[:, t] for t, name in enumerate(own.target_names)}
        return pd.DataFrame(found, index=frame.index)


def _first(frame: pd.DataFrame) -> int:
    """The number of a frame's first row in its source, from 0: a piece of a file has it as its
    index.
    """
    return int(getattr(frame.index, "start", 0))


def _columns(preprocessing: Any) -> tuple[str, ...]:
    encoder = preprocessing.encoder
    return (
        tuple(column.name for column in encoder.columns)
        if encoder is not None
        else preprocessing.feature_names
    )


def _features(run: Run, frame: pd.DataFrame, source: str) -> np.ndarray:
    """The unscaled features of a run, by its own encoder."""
    own = run.preprocessing
    return (
        own.encoder.apply(frame, source)
        if own.encoder is not None
        else plain_features(frame, own.feature_names, source)
    )


def plain_features(frame: pd.DataFrame, names: Sequence[str], source: str) -> np.ndarray:
    """The features of a network that did not learn from a file: float64 [N, F] of the columns with
    their names.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(
            f"{source} lacks the column(s) {', '.join(absent)}; the run learnt from"
            f" {', '.join(names)}."
        )
    found = np.asarray(frame[list(names)].to_numpy(np.float64, na_value=np.nan))
    wrong = ~np.isfinite(found)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{source}, column '{names[column]}', row {_first(frame) + row + 1}:"
            f" {found[row, column]} is no finite number; {int(wrong.sum())} such cell(s)."
        )
    return found


def _best(folders: Sequence[Path], number: int | None) -> Sequence[Path]:
    if number is None:
        return folders
    metrics = [summary_of(folder).get("metrics") or {} for folder in folders]
    name = "val/loss" if "val/loss" in metrics[0] else "train/loss"
    losses = [
        float(own[name]) if isinstance(own.get(name), (int, float)) else float("inf")
        for own in metrics
    ]
    return [folders[i] for i in sorted(range(len(folders)), key=losses.__getitem__)[:number]]

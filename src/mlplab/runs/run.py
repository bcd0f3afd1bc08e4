"""A finished run in Python: its metrics, its history, its network, and predictions for new data.

Shapes: N examples, F features, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import nn

from mlplab.data.table import SPLITS
from mlplab.errors import DataError, UnfinishedRunError
from mlplab.io.files import load_weights
from mlplab.io.reading import read_json, reading
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.thresholds import (
    TunedThreshold,
    check_threshold,
    decide,
    tune_threshold,
)
from mlplab.runs.history_file import read_history
from mlplab.runs.packed_weights import read_ensemble
from mlplab.runs.run_index import is_sound, summary_of
from mlplab.settings import Settings
from mlplab.task import accuracy_flatters
from mlplab.training.history import History

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mlplab.data.preparation.examples import Prepared
    from mlplab.doctor import Diagnosis, Finding
    from mlplab.explain.attribution import Attribution
    from mlplab.explain.explanation import Explanation
    from mlplab.model.intervals import Intervals
    from mlplab.training import DataCache

RowsLike: TypeAlias = "ArrayLike | Mapping[str, object] | Sequence[Mapping[str, object]]"
"""Rows before preprocessing: an array, a data frame, or mappings from columns to cells."""
REPR_METRICS = ("loss", "accuracy", "r2")


@dataclass(frozen=True, repr=False)
class Run:
    """One finished run."""

    folder: Path
    settings: Settings
    summary: Mapping[str, Any]
    history: History
    model: Model

    @property
    def preprocessing(self) -> Preprocessing:
        """The transformations between raw columns and the network."""
        return self.model.preprocessing

    @property
    def status(self) -> str:
        """The status of the run: done, diverged, interrupted or failed."""
        return str(self.summary["status"])

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the best weights: {"test/accuracy": 0.98, ...}."""
        return {
            name: float("nan") if value is None else value
            for name, value in self.summary["metrics"].items()
        }

    def module(self) -> nn.Sequential:
        """Return the network as plain PyTorch, a copy in the dtype of the training: scaled features
        in, as `preprocessing.features` returns them for raw columns, logits or scaled values out.
        """
        return self.model.module()

    def diagnose(self) -> list[Finding]:
        """Return why the training went badly: findings with a name, a cause, the numbers behind it
        and overrides that help; none for a healthy run. Raises MlplabError if its data is gone.
        """
        return list(self.diagnosis().findings)

    def diagnosis(self, cache: DataCache | None = None) -> Diagnosis:
        """Return the findings and the notes on the training, as `diagnose` does."""
        from mlplab.runs.health import diagnosis_of

        return diagnosis_of(
            self.folder, self.settings, self.summary, self.history, self.model, cache
        )

    def scores(self, scaled_NF: np.ndarray, source: str = "x", first: int = 0) -> np.ndarray:
        """Predict from scaled features [N, F]: class probabilities [N, C], or values [N, T] in the
        units of the target. Raises NotFiniteError as `Model.scores` does.
        """
        return np.asarray(self.model.scores(scaled_NF, source, first)[0])

    def predict_proba(self, x_NF: RowsLike) -> np.ndarray:
        """Return class probabilities for raw features: float64 [N, C], columns in the order of
        `preprocessing.class_names`. `x_NF` is as in `predict`.

        Rows for which the network's output is not finite are NaN. Raises ValueError if the run
        predicts values, or if x has the wrong shape or values that are not finite.
        """
        if not self.preprocessing.task.classifies:
            raise ValueError("this run predicts values, not classes: use predict")
        features_NF = self.preprocessing.features(x_NF)
        return np.asarray(self.model.scores(features_NF, allow_nan=True)[0])

    def predict(self, x_NF: RowsLike, threshold: float | str | None = None) -> np.ndarray:
        """Predict from raw features: the label of the most probable class [N], as `mlplab predict`
        writes it (an integer if all labels are integers), or values [N, T] in the units of the
        target. `x_NF` is an array, a data frame with the columns of the training, a mapping from
        the names of the columns to the cells of one row, or a list of such mappings.

        With a `threshold` between two classes, the second one is predicted from this probability
        up; "f1" and "balanced_accuracy" choose it as `tuned_threshold` does.

        Raises NotFiniteError, with the row, if an output of the network is not finite, ValueError
        if x has the wrong shape or values that are not finite, and ConfigError for a threshold that
        is none.
        """
        if not self.preprocessing.task.classifies and threshold is None:
            return self.scores(self.preprocessing.features(x_NF))
        return np.asarray(self.preprocessing.labels[self.predict_codes(x_NF, threshold)])

    def predict_codes(self, x_NF: RowsLike, threshold: float | str | None = None) -> np.ndarray:
        """Return the most probable class as a number from 0 to C - 1, int64 [N]: the column of
        `predict_proba`. Otherwise like `predict`; raises ValueError if the run predicts values.
        """
        if threshold is not None:
            check_threshold(threshold, self.preprocessing.task, self.preprocessing.class_names)
        elif not self.preprocessing.task.classifies:
            raise ValueError("this run predicts values, not classes: use predict")
        if isinstance(threshold, str):
            threshold = self.tuned_threshold(threshold).threshold
        return decide(self.scores(self.preprocessing.features(x_NF)), threshold)

    def tuned_threshold(
        self, metric: str = "balanced_accuracy", prepared: Prepared | None = None
    ) -> TunedThreshold:
        """Return the threshold between two classes that maximizes f1 or balanced_accuracy on the
        val split. `prepared` is the run's data, if it is at hand.

        Raises ConfigError for another metric or more classes, and DataError if the data is gone or
        has changed, or there is no val split.
        """
        from mlplab.runs.intervals import data_of_training

        check_threshold(metric, self.preprocessing.task, self.preprocessing.class_names)
        data = prepared or data_of_training(self.folder, self.settings, purpose="A threshold")
        if data.val is None:
            raise DataError(
                f"{self.folder} has no val split, on which a threshold is chosen: use a number."
            )
        examples = data.val.real()
        return tune_threshold(
            self.scores(examples.x), examples.y, metric, self.preprocessing.class_names
        )

    def predict_interval(
        self, x_NF: RowsLike, level: float | Sequence[float] = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and the upper ends, [N, T] each, of intervals that contain the value of
        a new row with this probability, for raw features as in `predict`. For a list of levels,
        they are [L, N, T].

        They are calibrated on the val split by conformal prediction, once: the run's data must be
        there, or `mlplab evaluate` must have measured the run. Raises DataError if the run predicts
        classes, or the val split is missing or too small for the level.
        """
        from mlplab.model.intervals import interval
        from mlplab.runs.intervals import predicted

        intervals = self.intervals()
        rows = [(intervals, predicted(self.model, self.preprocessing.features(x_NF)))]
        if not isinstance(level, Sequence):
            return interval(rows, level)
        lower, upper = zip(*(interval(rows, one) for one in level), strict=True)
        return np.stack(lower), np.stack(upper)

    def optimism_of_selection(self) -> float:
        """Return how much larger errors are on other rows than on the val split."""
        from mlplab.runs.intervals import optimism_of_selection

        best_epoch = int(self.summary.get("best_epoch", -1))
        return optimism_of_selection(self.history, best_epoch, self.model.loss)

    def intervals(
        self,
        prepared: Prepared | None = None,
        cache: DataCache | None = None,
        split: str = "val",
    ) -> Intervals:
        """Return what the intervals of the predictions need: what the folder stores, or else
        calibrated now, on a split that did not train the network. See `intervals_of`.
        """
        from mlplab.runs.intervals import intervals_of

        optimism = self.optimism_of_selection() if split == "val" else 1.0
        return intervals_of(
            self.folder, self.settings, self.model, prepared, cache, split, optimism
        )

    def explain(self, split: str = "test", **options: Any) -> Explanation:
        """Explain the network on a split of its data: importances, partial dependences, and slices
        with a high error. `options` are `metric`, `repeats`, `num_dependences`, `groups` and `seed`
        of `mlplab.explain.explanation.explain`.

        Raises DataError if the data is gone or changed, and ConfigError for an unknown metric or
        column.
        """
        from mlplab.explain.explanation import explain
        from mlplab.runs.raw_split import described_rows

        rows, description = described_rows(self.folder, self.settings, split)
        return explain([self.model], rows, description, **options)

    def explain_row(self, row: int, split: str = "test", seed: int = 0) -> list[Attribution]:
        """Return what moves the prediction of a row of a split, counted from 1: Shapley values of
        its cells, which add up to the prediction; see `mlplab.explain.attribution.attribute`.

        Raises ConfigError if there is no such row, and DataError if the data is gone or changed.
        """
        from mlplab.explain.attribution import attribute
        from mlplab.runs.raw_split import described_rows

        rows, description = described_rows(self.folder, self.settings, split)
        return attribute([self.model], rows, row, description, seed)

    def __repr__(self) -> str:
        values = self.metrics
        is_shown = {f"{split}/{name}" for split in SPLITS for name in REPR_METRICS}
        for split in SPLITS:
            name = f"{split}/balanced_accuracy"
            if accuracy_flatters(values.get(f"{split}/accuracy"), values.get(name)):
                is_shown.add(name)
        shown = [f"{name}={value:.4g}" for name, value in values.items() if name in is_shown]
        metrics = ", ".join(shown)
        return f"Run({str(self.folder)!r}, {self.status}, {metrics})"

    def _repr_html_(self) -> str:
        """Return metrics, curves and the picture of the decision as HTML, which notebooks show."""
        from mlplab.display.fragments import run_html

        return run_html(self.settings.name, self.folder, self.summary, dict(self.history.items()))


def load(folder: str | Path) -> Run:
    """Load a run from its folder.

    Nothing in the folder is executed: the configuration is checked like overrides on the command
    line, and weights are plain tensors. Raises ConfigError for a folder without a run,
    UnfinishedRunError for a run without weights, and DamagedFileError for a file that cannot be
    read.
    """
    from mlplab.config import settings_of_folder

    run_folder = Path(folder)
    settings = settings_of_folder(run_folder)
    require_weights(run_folder)
    summary = read_summary(run_folder)
    with reading(run_folder / "weights.safetensors"):
        tensors, metadata = load_weights(run_folder / "weights.safetensors")
        preprocessing = Preprocessing.from_json(metadata["preprocessing"])
        model = (
            read_ensemble(settings, preprocessing, tensors, metadata)
            if "ensemble" in metadata
            else Model.of_state(settings, preprocessing, tensors)
        )
    return Run(run_folder, settings, summary, read_history(run_folder), model)


def require_weights(folder: Path) -> None:
    """Raise UnfinishedRunError if a run that is training, was killed or failed has no weights."""
    path = folder / "weights.safetensors"
    if not path.exists() and (
        not (folder / "summary.json").exists() or summary_of(folder).get("status") == "failed"
    ):
        raise UnfinishedRunError(
            f"{folder} holds a run without weights, which has not finished, or failed: there is no"
            f" {path.name}. Its log.txt says more. If it is not training now, `mlplab resume"
            f" {folder}` finishes it."
        )


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json. Raises DamagedFileError."""
    path = folder / "summary.json"
    summary = read_json(path)
    with reading(path):
        if not isinstance(summary["status"], str) or not isinstance(summary["metrics"], dict):
            raise TypeError("`status` is not a string, or `metrics` has no keys and values")
        if not is_sound(summary):
            raise TypeError("a metric or another number is not a number")
    return summary

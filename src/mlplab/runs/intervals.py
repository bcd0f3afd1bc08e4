"""The prediction intervals of a run: calibrated on its val split, and stored in its folder.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.errors import DataError
from mlplab.io.files import write_json
from mlplab.io.reading import read_json, reading
from mlplab.losses import Loss
from mlplab.losses.regression import Quantile
from mlplab.model.intervals import Intervals, Predicted, fit_intervals
from mlplab.model.model import Model
from mlplab.runs.provenance import is_data_of_training
from mlplab.settings import Settings
from mlplab.training import DataCache, prepare_members
from mlplab.training.history import History

FILES = {"val": "intervals.json", "test": "intervals_test.json"}
"""By the split that they are calibrated on."""
NEIGHBORS = 5  # evaluations before and after the selected one
REMEDY = "Delete the file: the intervals are calibrated again when they are asked for."
BOUNDS = {"any": (-math.inf, math.inf), "non-negative": (0.0, math.inf), "share": (0.0, 1.0)}
"""The range of the targets, by the `target_range` of the loss."""


def predicted(model: Model, x_NF: np.ndarray, source: str = "x", first: int = 0) -> Predicted:
    """Return what the network says of scaled features. Raises NotFiniteError as `Model.scores`."""
    deviations_KNT = model.deviations(x_NF)
    return Predicted(
        x_NF,
        model.scores(x_NF, source, first)[0],
        None if deviations_KNT is None else deviations_KNT[0],
    )


def quantile_of(loss: Loss) -> float | None:
    """Return which quantile a network predicts, if it does. Errors below and above it are not
    alike, so that each end of an interval has a quantile of its own.
    """
    return float(loss.tau) if isinstance(loss, Quantile) else None


def optimism_of_selection(history: History, best_epoch: int, loss: Loss) -> float:
    """Return how much larger the errors of other rows are than those of the val split, which
    selected the best of many evaluations: the median error of up to five evaluations before and
    after the selected one, divided by its own. 1 without a history.

    What the selected weights are better than their neighbors on the val split is mostly the chance
    of its rows: without the factor, 90 % intervals of networks that learn fast contain 87 %.
    """
    name = "val/loss" if isinstance(loss, Quantile) else "val/mae"
    if name not in history.names or best_epoch not in history.epoch:
        return 1.0
    best = int(np.flatnonzero(history.epoch == best_epoch)[0])
    errors = np.asarray(history[name])[max(0, best - NEIGHBORS) : best + NEIGHBORS + 1]
    selected = float(history[name][best])
    errors = errors[np.isfinite(errors)]
    if len(errors) < NEIGHBORS or not selected > 0:
        return 1.0
    return max(1.0, float(np.median(errors)) / selected)


def calibrate_on(model: Model, examples: Examples, source: str, optimism: float = 1.0) -> Intervals:
    """Return intervals calibrated on examples that the network did not learn from; `optimism` is
    as in `fit_intervals`.
    """
    examples = examples.real()
    y_NT = model.preprocessing.in_target_units(np.asarray(examples.y, np.float64))
    return fit_intervals(
        predicted(model, examples.x, source),
        y_NT,
        quantile_of(model.loss) is not None,
        BOUNDS[model.loss.target_range],
        optimism,
    )


def stored_intervals(folder: Path, model: Model, split: str = "val") -> Intervals | None:
    """Return the intervals in the folder of a run, or None. Raises DamagedFileError."""
    path = folder / FILES[split]
    if not path.is_file():
        return None
    content = read_json(path, REMEDY)
    with reading(path, REMEDY):
        intervals = Intervals.from_dict(content)
        preprocessing = model.preprocessing
        sizes = intervals.num_features, len(intervals.scores)
        if sizes != (len(preprocessing.input_names), len(preprocessing.target_names)):
            raise ValueError("its intervals are not those of this network")
    return intervals


def intervals_of(
    folder: Path,
    settings: Settings,
    model: Model,
    prepared: Prepared | None = None,
    cache: DataCache | None = None,
    split: str = "val",
    optimism: float = 1.0,
) -> Intervals:
    """Return the intervals of a run: the stored ones, or else those of its val split, which are
    then stored if the run has its folder. `prepared` is its data, if it is at hand. For networks of
    a cross-validation that are used together, `split` may be test, which selected nothing; on the
    val split, `optimism` is that of the selection.

    Raises DataError if the run predicts classes, or lacks the split or the data of its training.
    """
    if model.preprocessing.task.classifies:
        raise DataError(
            f"{folder} predicts classes, which have probabilities: intervals are for values."
        )
    if (stored := stored_intervals(folder, model, split)) is not None:
        return stored
    if prepared is None:
        prepared = data_of_training(folder, settings, cache)
    examples = prepared.val if split == "val" else prepared.test
    if examples is None:
        raise DataError(
            f"{folder} has no {split} split, on which intervals are calibrated: train with"
            " dataset.val above 0."
        )
    intervals = calibrate_on(model, examples, f"the {split} split of {folder}", optimism)
    if (folder / "config.yaml").is_file():
        write_json(folder / FILES[split], intervals.to_dict())
    return intervals


def data_of_training(folder: Path, settings: Settings, cache: DataCache | None = None) -> Prepared:
    """Prepare the data of a run again. Raises DataError if it is gone or has changed."""
    try:
        prepared = prepare_members([settings], cache)[0].prepared
    except (DataError, OSError) as error:
        raise DataError(
            f"Intervals of {folder} are calibrated once, on the val split of its data, which cannot"
            f" be read: {error} `mlplab evaluate` or `mlplab predict --interval` must run once"
            " where the data is."
        ) from error
    has_provenance = (folder / "provenance.json").is_file()
    if has_provenance and not is_data_of_training(folder, prepared.data_hash):
        raise DataError(
            f"The data of {folder} changed since it was trained: its val split may contain rows"
            " that it was trained on, so that no intervals can be calibrated on it."
        )
    return prepared

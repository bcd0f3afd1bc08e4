"""The rows on which an ensemble is selected: the validation split, or the rows of all folds, each
predicted by networks that did not train on it (out of fold).

Shapes: N rows, F features, C classes or targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.data.preparation.examples import Prepared
from mlplab.data.table import Ints
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.task import Task


@dataclass(frozen=True)
class ValidationRows:
    """The features of the rows that each fold holds out, `rows` their numbers among all rows, and
    the targets y of all rows: classes, int64 [N], or values in their units, float64 [N, T].
    """

    x_NF: tuple[np.ndarray, ...]
    rows: tuple[Ints, ...]
    y: np.ndarray
    task: Task

    @classmethod
    def of_val(cls, prepared: Prepared) -> ValidationRows:
        """Return those of the validation split, which the data must have."""
        assert prepared.val is not None
        examples = prepared.val.real()
        y = Preprocessing.of(prepared).in_target_units(examples.y)
        return cls((examples.x,), (np.arange(len(y)),), y, prepared.task)

    @classmethod
    def out_of_fold(cls, whole: Prepared, held_out: Sequence[Ints]) -> ValidationRows:
        """Return all rows of the train split, of which each fold holds some out."""
        examples = whole.train
        y = Preprocessing.of(whole).in_target_units(examples.y)
        return cls(tuple(examples.x[rows] for rows in held_out), tuple(held_out), y, whole.task)

    @property
    def num_folds(self) -> int:
        """The number of networks of a member."""
        return len(self.rows)

    def inputs(self, models: Sequence[Model]) -> list[np.ndarray]:
        """Return the inputs [N, G] of the networks of a member, one for each fold."""
        pairs = zip(models, self.x_NF, strict=True)
        return [model.preprocessing.inputs(x_NF) for model, x_NF in pairs]

    def predictions(self, models: Sequence[Model]) -> np.ndarray:
        """Return what the networks of a member predict, [N, C]; not finite where one is not."""
        return self.mean(
            [
                model.scores(inputs_NG, allow_nan=True)[0]
                for model, inputs_NG in zip(models, self.inputs(models), strict=True)
            ]
        )

    def deviations(self, models: Sequence[Model]) -> np.ndarray | None:
        """Return the standard deviations that the networks of a member predict, [N, T]; None if
        they predict none.
        """
        pairs = zip(models, self.inputs(models), strict=True)
        deviations = [model.deviations(inputs_NG) for model, inputs_NG in pairs]
        values = [one[0] for one in deviations if one is not None]
        return self.mean(values) if len(values) == len(models) else None

    def mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mean of the values of each fold for its rows, [N, C]: repeats of a
        cross-validation predict a row several times.
        """
        if len(values) == 1:
            return values[0]
        total_NC = np.zeros((len(self.y), values[0].shape[-1]))
        count_N = np.zeros(len(self.y))
        for rows, values_NC in zip(self.rows, values, strict=True):
            total_NC[rows] += values_NC
            count_N[rows] += 1
        return np.asarray(total_NC / count_N[:, None])

"""Shapley values of one prediction: how much each cell of a row moves it from the mean.

A random order of the columns and a random other row (the background) are drawn. The cells of the
background row are replaced by those of the explained row, column by column in this order, and each
column is credited with the change of the prediction at its step. The mean of many such walks
estimates the Shapley value of the game whose value for a set of columns is the mean prediction over
backgrounds with the cells of the set (interventional Shapley values). The steps of a walk add up to
the difference of its ends, so that the values add up to the prediction minus the mean prediction of
the drawn backgrounds, whatever their number. Each order is also walked in reverse, which makes the
errors smaller. Source: Strumbelj and Kononenko, "Explaining prediction models and individual
predictions with feature contributions", 2014; Mitchell et al., "Sampling permutations for Shapley
value estimation", 2022, for reversed orders.

Shapes: N rows, R columns, M walks, C classes or targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.data.preparation.raw_rows import RawRows
from mlplab.data.table import Floats
from mlplab.errors import ConfigError
from mlplab.explain.columns_scorer import MAX_ROWS_AT_ONCE, ColumnsScorer
from mlplab.model.model import Model

MAX_WALKS = 2000
MIN_WALKS = 100
MIN_ROWS = 10
"""Rows that a prediction is compared with, at least."""


@dataclass(frozen=True, eq=False)
class Contribution:
    """How much the cell of a column moves the prediction, and the standard error of that."""

    column: str
    cell: str
    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Attribution:
    """The prediction of one output for a row, as a sum.

    Attributes:
        output: the target, or P(class).
        row: the number of the row, from 1.
        description: the rows that it is compared with.
        mean: the mean prediction of the drawn rows.
        prediction: that of the row: `mean` plus all contributions.
        contributions: one per column, the largest first.
        num_walks: how many walks they are the mean of.
    """

    output: str
    row: int
    description: str
    mean: float
    prediction: float
    contributions: tuple[Contribution, ...]
    num_walks: int

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "output": self.output,
            "row": self.row,
            "rows": self.description,
            "mean": self.mean,
            "prediction": self.prediction,
            "contributions": [vars(one) for one in self.contributions],
            "walks": self.num_walks,
        }


def attribute(
    models: Sequence[Model], rows: RawRows, row: int, description: str, seed: int = 0
) -> list[Attribution]:
    """Attribute the prediction of a row, counted from 1, to its cells, against the other rows.

    Args:
        models: one or more models of one task, whose mean is meant.
        rows: the row and the rows that it is compared with; their targets are not used.
        row: its number.
        description: which rows they are, for people.
        seed: of the walks.

    Returns:
        One attribution per target; for classes one, of the second of two or of the predicted one.

    Raises:
        ConfigError: if there is no such row, or there are too few others.
        DataError: if a row cannot be predicted.
    """
    if not 1 <= row <= len(rows):
        raise ConfigError(f"--row {row}: {rows.source} has the rows 1 to {len(rows)}.")
    if len(rows) <= MIN_ROWS:
        raise ConfigError(
            f"--row {row}: the prediction is compared with other rows, and {rows.source} has only"
            f" {len(rows) - 1}; at least {MIN_ROWS} are needed."
        )
    rng = np.random.default_rng(seed)
    scorer = ColumnsScorer(models, rows)
    num_columns = len(scorer.names)
    budget = MAX_ROWS_AT_ONCE // (num_columns + 1)
    num_pairs = min(MAX_WALKS, max(MIN_WALKS, budget)) // 2
    others = np.delete(np.arange(len(rows)), row - 1)
    background_M = np.tile(rng.choice(others, num_pairs), 2)
    order_MR = rng.permuted(np.tile(np.arange(num_columns), (num_pairs, 1)), axis=1)
    order_MR = np.concatenate([order_MR, order_MR[:, ::-1]])
    scores_MSC = scorer.walked(row - 1, background_M, order_MR)
    steps_MRC = np.diff(scores_MSC, axis=1)
    position_MR = np.argsort(order_MR, axis=1)
    of_columns_MRC = np.take_along_axis(steps_MRC, position_MR[:, :, None], axis=1)
    of_pairs = (of_columns_MRC[:num_pairs] + of_columns_MRC[num_pairs:]) / 2
    error_RC = of_pairs.std(0) / np.sqrt(num_pairs)
    prediction_C = scorer.scores[row - 1]
    texts = [_text(rows.columns[name], row - 1) for name in scorer.names]
    mean_C, values_RC = scores_MSC[:, 0].mean(0), of_columns_MRC.mean(0)
    results = []
    for c, output in _outputs(scorer, prediction_C):
        columns = (scorer.names, texts, values_RC[:, c].tolist(), error_RC[:, c].tolist())
        contributions = [Contribution(*fields) for fields in zip(*columns, strict=True)]
        ordered = tuple(sorted(contributions, key=lambda one: -abs(one.value)))
        numbers = float(mean_C[c]), float(prediction_C[c])
        results.append(Attribution(output, row, description, *numbers, ordered, len(order_MR)))
    return results


def _outputs(scorer: ColumnsScorer, prediction_C: Floats) -> list[tuple[int, str]]:
    """The index and the name of each output to attribute."""
    preprocessing = scorer.preprocessing
    if not preprocessing.task.classifies:
        return list(enumerate(preprocessing.target_names))
    names = preprocessing.class_names
    c = 1 if len(names) == 2 else int(prediction_C.argmax())
    return [(c, f"P({names[c]})")]


def _text(cells: object, row: int) -> str:
    """The cell as people read it."""
    cell = cells.iloc[row] if hasattr(cells, "iloc") else cells[row]  # type: ignore[index]
    if cell is None or cell != cell:
        return "(missing)"
    return f"{cell:.6g}" if isinstance(cell, (float, np.floating)) else str(cell)

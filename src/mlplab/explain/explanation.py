"""All that `mlplab explain` says about a network, computed once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlplab.config.suggestions import did_you_mean
from mlplab.data.preparation.raw_rows import RawRows
from mlplab.errors import ConfigError
from mlplab.explain.columns_scorer import ColumnsScorer
from mlplab.explain.dependence import Dependence, dependence
from mlplab.explain.importance import Importance, correlated_groups, importances
from mlplab.explain.row_losses import from_mean, metric_of, row_losses
from mlplab.explain.slices import Slice, worst_slices
from mlplab.explain.stored import FORMAT
from mlplab.model.model import Model

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 10_000
MAX_DEPENDENCE_ROWS = 500


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which columns a network uses, how, and where it errs.

    Attributes:
        description: which rows were used.
        metric: the metric of the importances.
        score: this metric on the rows.
        importances: the importance of each column, the largest first.
        correlated: the importances of columns that can stand in for each other, permuted together.
        dependences: the partial dependence on the most important columns.
        error_name: what the slices measure: error rate or mean absolute error.
        error: its mean over the rows.
        slices: the rows with a significantly higher error, the worst first.
        num_rows: the number of rows.
    """

    description: str
    metric: str
    score: float
    importances: tuple[Importance, ...]
    correlated: tuple[Importance, ...]
    dependences: tuple[Dependence, ...]
    error_name: str
    error: float
    slices: tuple[Slice, ...]
    num_rows: int

    def table(self) -> pd.DataFrame:
        """Return the importances as a data frame: column, importance, low, high."""
        import pandas as pd

        return pd.DataFrame(
            [(one.name, one.value, one.low, one.high) for one in self.importances],
            columns=["column", "importance", "low", "high"],
        )

    def slice_table(self) -> pd.DataFrame:
        """Return the slices as a data frame: slice, error, rows, p."""
        import pandas as pd

        return pd.DataFrame(
            [(one.name, one.error, one.num_rows, one.p) for one in self.slices],
            columns=["slice", "error", "rows", "p"],
        )

    def to_json(self) -> dict[str, object]:
        """Return plain values, as explain.json holds them."""

        def plain(one: Importance) -> dict[str, object]:
            return {
                "columns": list(one.columns),
                "importance": one.value,
                "low": one.low,
                "high": one.high,
            }

        return {
            "format": FORMAT,
            "rows": self.description,
            "metric": self.metric,
            "score": self.score,
            "importances": [plain(one) for one in self.importances],
            "correlated": [plain(one) for one in self.correlated],
            "dependences": [one.to_json() for one in self.dependences],
            "error": {"name": self.error_name, "value": self.error},
            "slices": [
                {
                    "conditions": list(one.conditions),
                    "error": one.error,
                    "rows": one.num_rows,
                    "p": one.p,
                }
                for one in self.slices
            ],
        }

    def _repr_html_(self) -> str:
        """Return the importances and the slices as HTML, which notebooks show."""
        tables = [self.table(), *([self.slice_table()] if self.slices else [])]
        return "".join(table.to_html(index=False, float_format="%.4g") for table in tables)


def explain(
    models: Sequence[Model],
    rows: RawRows,
    description: str,
    metric: str | None = None,
    repeats: int = 10,
    num_dependences: int = 6,
    groups: Sequence[Sequence[str]] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanation:
    """Explain models, whose mean is meant, on some rows with their targets.

    Args:
        models: one or more models of one task.
        rows: the rows; of more than 10,000, a random sample is used.
        description: which rows they are, for people.
        metric: log_loss, accuracy or brier, or rmse or mae; None for the first of the task.
        repeats: how often each column is permuted.
        num_dependences: the number of columns whose partial dependence is computed.
        groups: further columns to permute together.
        seed: of the permutations, the sample and the halves of the slices.
        progress: called with the number of steps done and their total.

    Raises:
        ConfigError: if a metric or a column does not exist.
        DataError: if a row cannot be predicted.
    """
    rng = np.random.default_rng(seed)
    if len(rows) > MAX_ROWS:
        description = f"{MAX_ROWS:,} of {description}, drawn at random"
        rows = rows.take(np.sort(rng.choice(len(rows), MAX_ROWS, replace=False)))
    scorer = ColumnsScorer(models, rows)
    metric = metric_of(scorer.preprocessing.task, metric)
    together = [*correlated_groups(scorer), *(_known(group, scorer.names) for group in groups)]
    together = list(dict.fromkeys(together))
    total = repeats * (len(scorer.names) + len(together)) + num_dependences
    steps = itertools.count(1)

    def step() -> None:
        progress(next(steps), total)

    singles = importances(scorer, [(name,) for name in scorer.names], metric, repeats, rng, step)
    joint = importances(scorer, together, metric, repeats, rng, step)
    sample = rng.permutation(len(rows))[:MAX_DEPENDENCE_ROWS]
    dependences = []
    for importance in singles[:num_dependences]:
        if (one := dependence(scorer, importance.columns[0], sample)) is not None:
            dependences.append(one)
        step()
    return _with_errors(scorer, description, metric, singles, joint, dependences, rng)


def _with_errors(
    scorer: ColumnsScorer,
    description: str,
    metric: str,
    singles: Sequence[Importance],
    joint: Sequence[Importance],
    dependences: Sequence[Dependence],
    rng: np.random.Generator,
) -> Explanation:
    """Add the metric and the slices with a high error."""
    task, rows, scores = scorer.preprocessing.task, scorer.rows, scorer.scores
    error_N = row_losses("accuracy" if task.classifies else "mae", task, scores, rows.y)
    mean = from_mean(metric, row_losses(metric, task, scores, rows.y).mean())
    return Explanation(
        description,
        metric,
        float(1 - mean if metric == "accuracy" else mean),
        tuple(singles),
        tuple(joint),
        tuple(dependences),
        "error rate" if task.classifies else "mean absolute error",
        float(error_N.mean()),
        tuple(worst_slices(rows, error_N, rng)),
        len(rows),
    )


def _known(group: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    for name in group:
        if name not in names:
            raise ConfigError(
                f"--group {','.join(group)}: the run has no column '{name}'."
                f" {did_you_mean(name, names)}Columns: {', '.join(names[:30])}."
            )
    return tuple(dict.fromkeys(group))

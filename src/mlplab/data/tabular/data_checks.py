"""Detect oddities in a table and state their consequences.

They are printed before training and written to data_report.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import SPLITS, Ints
from mlplab.data.tabular.columns import CATEGORY, NUMBER
from mlplab.data.tabular.data_report import DataReport, Finding

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.raw_table import RawTable
    from mlplab.data.tabular.table_options import TabularDataset

RARE_CLASS_FRACTION = 0.05
LEAK_SCORE = 0.995
"""Accuracy or correlation from which a column is reported to predict the target by itself."""

MAX_ROWS = 200_000
MAX_EXACT_INTEGER = 2**24
"""The integers up to this are exact in single precision."""

_IMPUTED = "Filled with the median of the train split, with an indicator feature"
_IMBALANCED = (
    "Accuracy is not very informative here: use balanced_accuracy and f1, or set"
    " loss.class_weight=balanced"
)


def inspect(table: RawTable, rows: Mapping[str, Ints], dataset: TabularDataset) -> DataReport:
    """Check every column, the rows and the target, and return the report."""
    findings = [
        finding
        for column in table.columns
        for finding in _column_findings(table, column.name, column.kind)
    ]
    findings += _row_findings(table, rows) + _target_findings(table)
    if table.dropped:
        findings.append(
            Finding(
                "",
                f"{table.dropped} rows had empty cells",
                "They were left out (dataset.missing=drop)",
            )
        )
    sizes = ", ".join(f"{len(rows[name])} {name}" for name in SPLITS if len(rows[name]))
    target = (
        f"{table.task.num_classes} classes"
        if table.task.classifies
        else f"{len(table.target_names)} value(s)"
    )
    notes = (
        *table.notes,
        (
            f"target {', '.join(table.target_names)}: {target}; {sizes}; {len(table.columns)}"
            " feature columns"
        ),
    )
    return DataReport(
        table.source,
        notes,
        tuple(_column_summary(table.frame[column.name], column.kind) for column in table.columns),
        tuple(findings),
    )


def _column_summary(values: pd.Series, kind: str) -> tuple[str, ...]:
    """Return the cells of a column's row in the report."""
    present = values.dropna()
    first = present.iloc[:MAX_ROWS]
    distinct = (
        f"{first.nunique()}"
        if len(present) <= MAX_ROWS
        else f"{first.nunique()} in the first {MAX_ROWS:,} rows"
    )
    if kind == CATEGORY:
        value_range = ", ".join(map(str, present.value_counts().index[:5])) + (
            " ..." if present.nunique() > 5 else ""
        )
    elif len(present):
        value_range = f"{present.min()} to {present.max()}"
    else:
        value_range = ""
    return str(values.name), kind, distinct, str(int(values.isna().sum())), value_range


def _column_findings(table: RawTable, name: str, kind: str) -> list[Finding]:
    values, findings = table.frame[name], []
    present, missing = values.dropna(), int(values.isna().sum())
    distinct = present.iloc[:MAX_ROWS].nunique()
    if distinct <= 1 < len(present) and kind != CATEGORY and present.min() != present.max():
        distinct = 2  # the values vary only after the first MAX_ROWS rows
    if missing:
        findings.append(
            Finding(
                name,
                f"{missing} of {len(values)} cells are empty",
                _IMPUTED if kind != CATEGORY else "They become a separate category",
            )
        )
    if distinct <= 1:
        findings.append(
            Finding(
                name,
                "always the same value",
                f"Nothing can be learned from it; leave it out with dataset.ignore=[{name}]",
            )
        )
    elif (
        distinct == len(values)
        and len(values) > 20
        and (kind == CATEGORY or (kind == NUMBER and _is_consecutive(present)))
    ):
        findings.append(
            Finding(
                name,
                "a different value in each row, like an identifier",
                f"It is used as a feature; dataset.id_column={name} leaves it out",
            )
        )
    elif (
        kind == NUMBER
        and float(present.abs().max()) > MAX_EXACT_INTEGER
        and bool((present % 1 == 0).all())
    ):
        findings.append(
            Finding(
                name,
                f"integers above {MAX_EXACT_INTEGER:,}",
                "Single precision rounds them; dtype=float64 does not",
            )
        )
    if distinct > 1 and _predicts_target(table, values, kind):
        findings.append(
            Finding(
                name,
                "predicts the target almost by itself",
                "It is used as a feature; if it is known only after the target, leave it out",
            )
        )
    return findings


def _is_consecutive(numbers: pd.Series) -> bool:
    """Whether distinct numbers are consecutive integers in some order."""
    span = float(numbers.max() - numbers.min())
    return bool((numbers % 1 == 0).all()) and span == len(numbers) - 1


def _predicts_target(table: RawTable, values: pd.Series, kind: str) -> bool:
    """Whether the column predicts the target by itself.

    The prediction is the majority class of each value, or a straight line in regression.
    """
    first = values.iloc[:MAX_ROWS]
    y = table.y[:MAX_ROWS]
    if table.task.classifies:
        groups = (
            first.astype(str)
            if kind == CATEGORY or first.nunique() <= len(first) // 10
            else _bins(first)
        )
        if groups is None or groups.nunique() > max(2, len(first) // 10):
            return False
        import pandas as pd

        counts = pd.crosstab(groups.to_numpy(), y)
        accuracy = counts.max(axis=1).sum() / len(first)
        majority = np.bincount(y.astype(np.int64)).max() / len(y)
        return bool(accuracy >= LEAK_SCORE and accuracy > majority + 0.01)
    if kind == CATEGORY or y.shape[1] != 1:
        return False
    numbers = first.to_numpy(np.float64, na_value=np.nan) if kind == NUMBER else None
    if numbers is None or np.isnan(numbers).any() or numbers.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(numbers, y[:, 0])[0, 1]) >= LEAK_SCORE)


def _bins(values: pd.Series) -> pd.Series | None:
    """Return the quantile bin of each number, of twenty; None if they cannot be binned."""
    import pandas as pd

    try:
        return pd.qcut(values.astype(float), 20, labels=False, duplicates="drop").astype(str)
    except (TypeError, ValueError):
        return None


def _row_findings(table: RawTable, rows: Mapping[str, Ints]) -> list[Finding]:
    import pandas as pd
    from pandas.util import hash_pandas_object

    names = [column.name for column in table.columns]
    features = hash_pandas_object(table.frame[names], index=False).to_numpy()
    with_target = features ^ (
        hash_pandas_object(pd.DataFrame(table.y), index=False).to_numpy() * np.uint64(31)
    )
    findings = []
    repeated = int(pd.Series(with_target).duplicated().sum())
    if repeated:
        findings.append(
            Finding(
                "",
                f"{repeated} rows repeat another one",
                "They are kept; each counts as often as it occurs",
            )
        )
    trained = pd.Index(pd.unique(features[rows["train"]]))
    for split in ("val", "test"):
        shared = trained.get_indexer(features[rows[split]]) >= 0
        if shared.any():
            first = int(rows[split][int(shared.argmax())]) + 1
            findings.append(
                Finding(
                    "",
                    f"{int(shared.sum())} rows of the {split} split have the features of a train"
                    f" row, the first is row {first}",
                    f"The {split} metrics look better than they are",
                )
            )
    return findings


def _target_findings(table: RawTable) -> list[Finding]:
    if not table.task.classifies:
        return []
    counts = np.bincount(table.y.astype(np.int64), minlength=table.task.num_classes)
    fraction = counts.min() / counts.sum()
    if fraction >= RARE_CLASS_FRACTION:
        return []
    label = table.class_names[int(counts.argmin())]
    return [
        Finding(
            table.target_names[0],
            f"class '{label}' is {fraction:.1%} of the rows",
            _IMBALANCED,
        )
    ]

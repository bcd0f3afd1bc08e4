"""What is odd about a table, and what is done about it: told before training, and written into
data_report.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import Ints
from mlplab.data.tabular.columns import CATEGORY, NUMBER
from mlplab.data.tabular.data_report import DataReport, Finding

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.raw_table import RawTable
    from mlplab.data.tabular.table_options import TabularDataset

RARE = 0.05
ALONE = 0.995
MAX_ROWS = 200_000
EXACT = 2**24
_FILLED = "Filled with the median of the train part, and a feature says so"
_IMBALANCED = (
    "Accuracy says little here: look at balanced_accuracy and f1, or weigh with"
    " loss.class_weight=balanced"
)


def inspect(table: RawTable, rows: Mapping[str, Ints], dataset: TabularDataset) -> DataReport:
    """Look at every column and at the rows."""
    findings = [
        finding
        for column in table.columns
        for finding in _of_column(table, column.name, column.kind)
    ]
    findings += _of_rows(table, rows) + _of_target(table)
    if table.dropped:
        findings.append(
            Finding(
                "",
                f"{table.dropped} rows had empty cells",
                "They are left out (dataset.missing=drop)",
            )
        )
    sizes = ", ".join(
        f"{len(rows[part])} {part}" for part in ("train", "val", "test") if len(rows[part])
    )
    what = (
        f"{table.task.num_classes} classes"
        if table.task.classifies
        else f"{len(table.target_names)} value(s)"
    )
    told = (
        *table.told,
        (
            f"target {', '.join(table.target_names)}: {what}; {sizes}; {len(table.columns)} columns"
            " to learn from"
        ),
    )
    return DataReport(
        table.source,
        told,
        tuple(_row(table.frame[column.name], column.kind) for column in table.columns),
        tuple(findings),
    )


def _row(values: pd.Series, kind: str) -> tuple[str, ...]:
    known = values.dropna()
    first = known.iloc[:MAX_ROWS]
    different = (
        f"{first.nunique()}"
        if len(known) <= MAX_ROWS
        else f"{first.nunique()} in the first {MAX_ROWS:,} rows"
    )
    if kind == CATEGORY:
        shown = ", ".join(map(str, known.value_counts().index[:5])) + (
            " ..." if known.nunique() > 5 else ""
        )
    elif len(known):
        shown = f"{known.min()} to {known.max()}"
    else:
        shown = ""
    return str(values.name), kind, different, str(int(values.isna().sum())), shown


def _of_column(table: RawTable, name: str, kind: str) -> list[Finding]:
    values, found = table.frame[name], []
    known, missing = values.dropna(), int(values.isna().sum())
    distinct = known.iloc[:MAX_ROWS].nunique()
    if distinct <= 1 < len(known) and kind != CATEGORY and known.min() != known.max():
        distinct = 2  # it varies further on
    if missing:
        found.append(
            Finding(
                name,
                f"{missing} of {len(values)} cells are empty",
                _FILLED if kind != CATEGORY else "A category of their own",
            )
        )
    if distinct <= 1:
        found.append(
            Finding(
                name,
                "always the same value",
                f"It teaches nothing; leave it out with dataset.ignore=[{name}]",
            )
        )
    elif (
        distinct == len(values)
        and len(values) > 20
        and (kind == CATEGORY or (kind == NUMBER and _counts_up(known)))
    ):
        found.append(
            Finding(
                name,
                "a different value in each row, like an identifier",
                f"It is learnt from as it is; dataset.id_column={name} keeps it out",
            )
        )
    elif kind == NUMBER and float(known.abs().max()) > EXACT and bool((known % 1 == 0).all()):
        found.append(
            Finding(
                name,
                f"whole numbers above {EXACT:,}",
                "Single precision rounds them; dtype=float64 does not",
            )
        )
    if distinct > 1 and _tells_all(table, values, kind):
        found.append(
            Finding(
                name,
                "predicts the target almost by itself",
                "It is learnt from; if it is known only afterwards, leave it out",
            )
        )
    return found


def _counts_up(known: pd.Series) -> bool:
    return bool((known % 1 == 0).all()) and float(known.max() - known.min()) == len(known) - 1


def _tells_all(table: RawTable, values: pd.Series, kind: str) -> bool:
    """Whether the column alone gives the target: the majority of each value for classes, or a
    straight line for values.
    """
    few = values.iloc[:MAX_ROWS]
    y = table.y[:MAX_ROWS]
    if table.task.classifies:
        groups = (
            few.astype(str) if kind == CATEGORY or few.nunique() <= len(few) // 10 else _bins(few)
        )
        if groups is None or groups.nunique() > max(2, len(few) // 10):
            return False
        import pandas as pd

        table_of_counts = pd.crosstab(groups.to_numpy(), y)
        hits = table_of_counts.max(axis=1).sum() / len(few)
        return bool(hits >= ALONE and hits > np.bincount(y.astype(np.int64)).max() / len(y) + 0.01)
    if kind == CATEGORY or y.shape[1] != 1:
        return False
    numbers = few.to_numpy(np.float64, na_value=np.nan) if kind == NUMBER else None
    if numbers is None or np.isnan(numbers).any() or numbers.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(numbers, y[:, 0])[0, 1]) >= ALONE)


def _bins(values: pd.Series) -> pd.Series | None:
    """Numbers in twenty groups of equal size."""
    import pandas as pd

    try:
        return pd.qcut(values.astype(float), 20, labels=False, duplicates="drop").astype(str)
    except (TypeError, ValueError):
        return None


def _of_rows(table: RawTable, rows: Mapping[str, Ints]) -> list[Finding]:
    import pandas as pd
    from pandas.util import hash_pandas_object

    names = [column.name for column in table.columns]
    features = hash_pandas_object(table.frame[names], index=False).to_numpy()
    whole = features ^ (
        hash_pandas_object(pd.DataFrame(table.y), index=False).to_numpy() * np.uint64(31)
    )
    found = []
    repeated = int(pd.Series(whole).duplicated().sum())
    if repeated:
        found.append(
            Finding(
                "",
                f"{repeated} rows repeat another one",
                "They stay; each counts as often as it is there",
            )
        )
    trained = pd.Index(pd.unique(features[rows["train"]]))
    for part in ("val", "test"):
        shared = trained.get_indexer(features[rows[part]]) >= 0
        if shared.any():
            first = int(rows[part][int(shared.argmax())]) + 1
            found.append(
                Finding(
                    "",
                    f"{int(shared.sum())} rows of the {part} part have the features of a train row,"
                    f" the first is row {first}",
                    f"The {part} metrics look better than they are",
                )
            )
    return found


def _of_target(table: RawTable) -> list[Finding]:
    if not table.task.classifies:
        return []
    counts = np.bincount(table.y.astype(np.int64), minlength=table.task.num_classes)
    share = counts.min() / counts.sum()
    if share >= RARE:
        return []
    label = table.class_names[int(counts.argmin())]
    return [
        Finding(
            table.target_names[0],
            f"class '{label}' is {share:.1%} of the rows",
            _IMBALANCED,
        )
    ]

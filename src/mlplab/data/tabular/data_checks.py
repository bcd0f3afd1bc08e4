"""Detect oddities in a table and state their consequences.

They are printed before training and written to data_report.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mlplab.data.table import SPLITS, Floats, Ints, Series
from mlplab.data.tabular.cells import category_text, parse_dates
from mlplab.data.tabular.columns import CATEGORY, DATE, NUMBER
from mlplab.data.tabular.data_report import DataReport, Finding
from mlplab.data.tabular.number_columns import (
    NumberStatistics,
    accuracy_by_value,
    batches,
    correlations,
    plain_number_columns,
    row_hashes,
    statistics,
)
from mlplab.data.tabular.raw_table import RawTable
from mlplab.data.tabular.splits import time_ranges
from mlplab.data.tabular.table_options import TabularDataset

RARE_CLASS_FRACTION = 0.12
LEAK_SCORE = 0.995
"""Accuracy or correlation from which a column is reported to predict the target by itself."""

MAX_ROWS = 200_000
MIN_WIDE = 500
_TOTAL = re.compile(
    r"(grand |sub)?totals?:?|sum:?|summe:?|gesamt:?|insgesamt:?|totaal:?|合计|合計|总计|합계|총계"
    r"|итого:?|всего:?",
    re.IGNORECASE,
)
MAX_EXACT_INTEGER = 2**24
"""The integers up to this are exact in single precision."""


def inspect(table: RawTable, dataset: TabularDataset, rows: Mapping[str, Ints]) -> DataReport:
    """Check every column, the rows and the target, and return the report."""
    sizes = ", ".join(f"{len(rows[name])} {name}" for name in SPLITS if len(rows[name]))
    note = (
        f"target {', '.join(table.target_names)}: {table.task}; {sizes}; {len(table.columns)}"
        " feature columns"
    )
    ranges = time_ranges(table, dataset, rows).items()
    in_time = [f"{split} from {first} to {last}" for split, (first, last) in ranges]
    if in_time:
        note += f"; by {dataset.time_column}: {', '.join(in_time)}"
    numbers = _number_columns(table)
    return DataReport(
        table.source,
        (*table.notes, note),
        tuple(
            numbers[column.name].summary
            if column.name in numbers
            else _column_summary(table.frame[column.name], column.kind, dataset.date_format)
            for column in table.columns
        ),
        tuple(_findings(table, rows, numbers)),
    )


@dataclass(frozen=True)
class _NumberColumn:
    """A column of plain numbers: its row in the report, and its findings."""

    summary: tuple[str, ...]
    findings: tuple[Finding, ...]


def _number_columns(table: RawTable) -> dict[str, _NumberColumn]:
    """Inspect the columns of plain numbers together, by name. None of a table of many rows, of
    which only the first are inspected.
    """
    names = [column.name for column in table.columns if column.kind == NUMBER]
    inspected: dict[str, _NumberColumn] = {}
    if len(table.frame) > MAX_ROWS:
        return inspected
    for batch, x_NF in batches(table.frame, plain_number_columns(table.frame, names)):
        sorted_NF = np.sort(x_NF, axis=0)  # NaN last
        leaks_F = _predicting(x_NF, sorted_NF, table)
        measured = statistics(x_NF, sorted_NF)
        for name, stats, leaks in zip(batch, measured, leaks_F.tolist(), strict=True):
            is_integer = table.frame.dtypes[name].kind != "f"
            low, high = (int(stats.low), int(stats.high)) if is_integer else (stats.low, stats.high)
            value_range = f"{low} to {high}" if stats.distinct else ""
            summary = (name, NUMBER, str(stats.distinct), str(stats.missing), value_range)
            inspected[name] = _NumberColumn(
                summary, tuple(_number_findings(name, stats, leaks, len(table.frame)))
            )
    return inspected


def _predicting(x_NF: Floats, sorted_NF: Floats, table: RawTable) -> np.ndarray:
    """Return which columns of numbers predict the target by themselves, bool [F]."""
    y = table.y
    if table.task.classifies:
        y_N = y.astype(np.int64)
        accuracy_F = accuracy_by_value(x_NF, sorted_NF, y_N, table.task.num_classes)
        majority = np.bincount(y_N).max() / len(y_N)
        return np.asarray((accuracy_F >= LEAK_SCORE) & (accuracy_F > majority + 0.01))
    if y.shape[1] != 1:
        return np.zeros(x_NF.shape[1], bool)
    return np.asarray(correlations(x_NF, y[:, 0].astype(np.float64)) >= LEAK_SCORE)


def _number_findings(
    name: str, stats: NumberStatistics, leaks: bool, num_rows: int
) -> Iterator[Finding]:
    if stats.missing:
        yield _empty_cells(name, NUMBER, stats.missing, num_rows)
    is_run = stats.all_integers and stats.high - stats.low == num_rows - 1
    if stats.distinct <= 1:
        yield _constant(name)
    elif stats.distinct == num_rows > 20 and is_run:
        yield _identifier(name)
    elif stats.all_integers and max(abs(stats.low), abs(stats.high)) > MAX_EXACT_INTEGER:
        yield _large_integers(name)
    if stats.distinct > 1 and leaks:
        yield _leak(name)


def _empty_cells(name: str, kind: str, missing: int, num_rows: int) -> Finding:
    consequence = (
        "They become a separate category"
        if kind == CATEGORY
        else "Filled with the median of the train split, with an indicator feature"
    )
    return Finding(name, f"{missing} of {num_rows} cells are empty", consequence)


def _constant(name: str) -> Finding:
    consequence = f"Nothing can be learned from it; leave it out with dataset.ignore=[{name}]"
    return Finding(name, "always the same value", consequence)


def _identifier(name: str) -> Finding:
    return Finding(
        name,
        "a different value in each row, like an identifier",
        f"It is used as a feature; dataset.id_column={name} leaves it out",
    )


def _large_integers(name: str) -> Finding:
    return Finding(
        name,
        f"integers above {MAX_EXACT_INTEGER:,}",
        "Single precision rounds them; dtype=float64 does not",
    )


def _leak(name: str) -> Finding:
    return Finding(
        name,
        "predicts the target almost by itself",
        "It is used as a feature; if it is known only after the target, leave it out",
    )


def _findings(
    table: RawTable, rows: Mapping[str, Ints], numbers: Mapping[str, _NumberColumn]
) -> Iterator[Finding]:
    for column in table.columns:
        if column.name in numbers:
            yield from numbers[column.name].findings
        else:
            yield from _column_findings(table, column.name, column.kind)
    yield from _row_findings(table, rows)
    yield from _total_findings(table)
    if table.task.classifies:
        yield from _class_findings(table)
    if table.dropped:
        yield Finding(
            "",
            f"{table.dropped} rows had an empty target or other empty cells",
            "They were left out (dataset.missing=drop, or impute if only the target is empty)",
        )


def _column_summary(values: Series, kind: str, date_format: str | None) -> tuple[str, ...]:
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
    else:
        if kind == DATE and isinstance(present.iloc[0], str):  # whose order is that of the letters
            present = parse_dates(present, str(values.name), date_format).map(category_text)
        value_range = f"{present.min()} to {present.max()}" if len(present) else ""
    return str(values.name), kind, distinct, str(int(values.isna().sum())), value_range


def _column_findings(table: RawTable, name: str, kind: str) -> Iterator[Finding]:
    values = table.frame[name]
    present, missing = values.dropna(), int(values.isna().sum())
    distinct = present.iloc[:MAX_ROWS].nunique()
    if distinct <= 1 < len(present) and kind != CATEGORY and present.min() != present.max():
        distinct = 2  # the values vary only after the first MAX_ROWS rows
    if missing:
        yield _empty_cells(name, kind, missing, len(values))
    if kind == CATEGORY:
        yield from _case_findings(name, present.iloc[:MAX_ROWS].unique())
    if distinct <= 1:
        yield _constant(name)
    elif (
        distinct == len(values)
        and len(values) > 20
        and (kind == CATEGORY or (kind == NUMBER and _is_consecutive(present)))
    ):
        yield _identifier(name)
    elif (
        kind == NUMBER
        and float(present.abs().max()) > MAX_EXACT_INTEGER
        and bool((present % 1 == 0).all())
    ):
        yield _large_integers(name)
    if distinct > 1 and _predicts_target(table, values, kind):
        yield _leak(name)


def _case_findings(name: str, categories: Iterable[object]) -> Iterator[Finding]:
    texts: dict[str, str] = {}
    for category in sorted(map(str, categories)):
        other = texts.setdefault(category.strip().lower(), category)
        if other != category and other.strip() == category.strip():
            yield Finding(
                name,
                f"'{other}' and '{category}' differ only in the blanks around them",
                "They are one category",
            )
        elif other != category:
            yield Finding(
                name,
                f"'{other}' and '{category}' differ only in case",
                "They are two categories; write them alike if they are one",
            )


def _total_findings(table: RawTable) -> Iterator[Finding]:
    """Say that the last row is a total: a cell says so, or it is the sum of the others."""
    frame = table.frame.iloc[:, :MIN_WIDE]
    last = frame.iloc[-1]
    titles = [cell for cell in last if isinstance(cell, str) and _TOTAL.fullmatch(cell.strip())]
    numbers = frame[plain_number_columns(frame, list(frame.columns))].to_numpy(np.float64)
    sums_F = np.nansum(numbers[:-1], 0)
    is_sum_F = np.isclose(numbers[-1], sums_F, rtol=1e-6, atol=0) & (sums_F != 0)
    if titles or (len(frame) > 3 and len(is_sum_F) > 1 and is_sum_F.all()):
        what = f"'{titles[0]}'" if titles else "each number is the sum of those above"
        yield Finding(
            "",
            f"the last row, row {len(frame)}, looks like a total: {what}",
            "It is used like any other row; remove it from the file if it is one",
        )


def _is_consecutive(numbers: Series) -> bool:
    """Whether distinct numbers are consecutive integers in some order."""
    return bool((numbers % 1 == 0).all() and numbers.max() - numbers.min() == len(numbers) - 1)


def _predicts_target(table: RawTable, values: Series, kind: str) -> bool:
    """Whether the column predicts the target by itself.

    The prediction is the majority class of each value, or a straight line in regression.
    """
    first = values.iloc[:MAX_ROWS]
    y = table.y[:MAX_ROWS]
    if table.task.classifies:
        codes_N, distinct = first.factorize()
        num_distinct = len(distinct)  # without empty cells, which are a value of their own
        if kind != CATEGORY and num_distinct > len(first) // 10:
            codes_N = _bins(first)
            if codes_N is None:
                return False
        num_groups = len(np.unique(codes_N))
        if num_groups > max(2, len(first) // 10):
            return False
        counts = np.bincount(
            (codes_N + 1) * table.task.num_classes + y.astype(np.int64),
            minlength=(codes_N.max() + 2) * table.task.num_classes,
        )
        accuracy = counts.reshape(-1, table.task.num_classes).max(1).sum() / len(first)
        majority = np.bincount(y.astype(np.int64)).max() / len(y)
        return bool(accuracy >= LEAK_SCORE and accuracy > majority + 0.01)
    if kind == CATEGORY or y.shape[1] != 1:
        return False
    numbers = first.to_numpy(np.float64, na_value=np.nan) if kind == NUMBER else None
    if numbers is None or np.isnan(numbers).any() or numbers.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(numbers, y[:, 0])[0, 1]) >= LEAK_SCORE)


def _bins(values: Series) -> Ints | None:
    """Return the quantile bin of each number, of twenty, and -1 if empty: int64 [N].

    None if they cannot be binned.
    """
    try:
        numbers_N = values.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return None
    if np.isnan(numbers_N).all():
        return None
    present_N = numbers_N[~np.isnan(numbers_N)]
    edges = np.unique(np.quantile(present_N, np.linspace(0, 1, 21)))
    bins_N = np.maximum(np.searchsorted(edges, numbers_N), 1) - 1
    return np.where(np.isnan(numbers_N), -1, bins_N)


def _row_findings(table: RawTable, rows: Mapping[str, Ints]) -> Iterator[Finding]:
    import pandas as pd
    from pandas.util import hash_pandas_object

    frame = table.frame[[column.name for column in table.columns]]
    plain = plain_number_columns(frame, list(frame.columns))
    if len(plain) > MIN_WIDE:  # for which pandas takes long
        rest = frame.drop(columns=plain)
        others = hash_pandas_object(rest, index=False).to_numpy() if rest.shape[1] else np.uint64(0)
        features = row_hashes(frame, plain).view(np.uint64) ^ others
    else:
        features = hash_pandas_object(frame, index=False).to_numpy()
    targets = hash_pandas_object(pd.DataFrame(table.y), index=False).to_numpy()
    repeated = int(pd.Series(features ^ (targets * np.uint64(31))).duplicated().sum())
    if repeated:
        yield Finding(
            "",
            f"{repeated} rows repeat another one",
            "They are kept; each counts as often as it occurs",
        )
    for split in ("val", "test"):
        shared = rows[split][np.isin(features[rows[split]], features[rows["train"]])]
        if len(shared):
            yield Finding(
                "",
                f"{len(shared)} rows of the {split} split have the features of a train row, the"
                f" first is row {shared[0] + 1}",
                f"The {split} metrics look better than they are",
            )


def _class_findings(table: RawTable) -> Iterator[Finding]:
    yield from _case_findings(table.target_names[0], table.class_names)
    counts = np.bincount(table.y.astype(np.int64), minlength=table.task.num_classes)
    fraction = counts.min() / counts.sum()
    if fraction < RARE_CLASS_FRACTION:
        yield Finding(
            table.target_names[0],
            f"class '{table.class_names[counts.argmin()]}' is {fraction:.1%} of the rows",
            "Accuracy is not very informative here: use balanced_accuracy and f1, or set"
            " loss=cross_entropy loss.class_weights=balanced",
        )

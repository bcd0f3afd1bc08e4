"""Decide whether targets are classes or values, and number the classes.

Shapes: N rows, T targets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.cell_errors import check_numbers, refuse_empty_cells
from mlplab.data.tabular.cells import category_text
from mlplab.data.tabular.columns import NUMBER
from mlplab.data.tabular.stored_columns import StoredColumn
from mlplab.errors import DataError
from mlplab.task import Task

MAX_CLASS_VALUES = 20

Targets: TypeAlias = tuple[Floats | Ints, Task, tuple[str, ...]]
"""Labels int64 [N] or values float64 [N, T]; the task; the class names, empty for values."""


def encode_targets(columns: Mapping[str, StoredColumn], task: str, source: str) -> Targets:
    """Return the targets of columns passed from Python. Raises DataError if they are invalid."""
    for name, column in columns.items():
        refuse_missing_targets(column.empty(), name, source)
    first = next(iter(columns.values()))
    numeric = first.kind == NUMBER
    code_N, distinct = first.factorize()
    if are_classes(task, len(columns), numeric, distinct, len(code_N)):
        return class_targets(code_N, distinct, numeric, list(columns), source)
    advice = " If these are classes, set dataset.task=classification."
    values = {
        name: column.as_numbers(f"{source}, target '{name}'", advice)
        for name, column in columns.items()
    }
    for name, values_N in values.items():
        check_numbers(values_N, name, source)
    return np.stack(list(values.values()), 1), Task("regression", num_targets=len(columns)), ()


def refuse_missing_targets(missing_N: np.ndarray, name: str, source: str) -> None:
    """Raise DataError if a cell of a target is empty."""
    refuse_empty_cells(
        missing_N,
        f"{source}, target '{name}'",
        "A row without a target cannot be learned from: leave these rows out"
        " (dataset.missing=drop or impute).",
    )


def are_classes(
    task: str, num_targets: int, numeric: bool, distinct: Collection[Any], num_rows: int
) -> bool:
    """Return whether the targets are classes: as `task` says, or, if it is auto, one target of
    strings, booleans or few distinct integers.
    """
    few_integers = (
        numeric
        and len(distinct) <= min(MAX_CLASS_VALUES, max(2, num_rows // 10))
        and all(value % 1 == 0 for value in distinct)
    )
    return task == "classification" or (
        task == "auto" and num_targets == 1 and (not numeric or few_integers)
    )


def class_texts(cells: Sequence[object]) -> list[str]:
    """Return the name of the class of each cell: the string as it is written, or the canonical text
    if the cell is not a string or its class is written in several ways.
    """
    texts = [category_text(cell) for cell in cells]
    strings: dict[str, set[object]] = {}
    for text, cell in zip(texts, cells, strict=True):
        strings.setdefault(text, set()).add(cell)
    return [
        cell if isinstance(cell, str) and len(strings[text]) == 1 else text
        for text, cell in zip(texts, cells, strict=True)
    ]


def class_targets(
    code_N: np.ndarray,
    distinct: Iterable[object],
    numeric: bool,
    targets: Sequence[str],
    source: str,
) -> Targets:
    """Number the classes in the order of their names, or of their numbers.

    Args:
        code_N: the index of each row's cell in `distinct`.
        distinct: the distinct cells.
        numeric: whether the cells are numbers.
        targets: the names of the target columns.
        source: the name of the file or data set, for messages.

    Raises:
        DataError: for several targets, fewer than two classes, or too many.
    """
    if len(targets) > 1:
        raise DataError(
            f"{source}: several targets ({', '.join(targets)}) must be values, not classes."
            " Name one target, or set dataset.task=regression."
        )
    distinct = list(distinct)
    name_of_code = class_texts(distinct)
    class_names = sorted(
        set(name_of_code),
        key=(lambda name: (0, float(name), "")) if numeric else (lambda name: (1, 0.0, name)),
    )
    if len(class_names) < 2:
        raise DataError(
            f"{source}, target '{targets[0]}': all {len(code_N)} rows are of one class,"
            f" '{class_names[0]}'; a classification needs at least two."
        )
    if len(class_names) > max(2, len(code_N) // 2):
        raise DataError(
            f"{source}, target '{targets[0]}': {len(class_names)} different values in {len(code_N)}"
            " rows are too many for classes. If they are quantities, set dataset.task=regression."
        )
    label_of_name = {name: label for label, name in enumerate(class_names)}
    labels = np.array([label_of_name[name] for name in name_of_code], np.int64)
    return labels[code_N], Task("classification", len(class_names)), tuple(class_names)

"""The columns with a role of their own: targets, split, weights, groups, time, identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.columns import check_numbers, need
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.table_options import TabularDataset

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def targets(dataset: TabularDataset, available: Sequence[str], source: str) -> list[str]:
    """The target columns: those named, else `y`, else the last one."""
    named = dataset.targets
    if named is None:
        return ["y"] if "y" in available else [available[-1]]
    for name in named:
        need(name, available, source, "target")
    return list(named)


def reserved_columns(
    dataset: TabularDataset, targets: Sequence[str], available: Sequence[str], source: str
) -> list[str]:
    """The columns that are not learnt from because they have another role."""
    found = list(targets)
    for key in ("split_column", "group_column", "weight_column", "id_column"):
        name = getattr(dataset, key)
        if name is not None:
            need(name, available, source, key.replace("_", " "))
            found.append(name)
    # the order of the rows; what the date says may be learnt from only where it is asked for
    if dataset.time_column is not None:
        need(dataset.time_column, available, source, "time column")
        if dataset.features is None or dataset.time_column not in dataset.features:
            found.append(dataset.time_column)
    return found


def regression_targets(frame: pd.DataFrame, names: Sequence[str], source: str) -> Floats:
    """float64 [N, T]."""
    import pandas as pd

    columns = []
    for name in names:
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = np.isnan(numbers)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{source}, target '{name}', row {row + 1}: '{frame[name].iloc[row]}' is no number;"
                f" {int(wrong.sum())} such cell(s). Are these classes? dataset.task=classification."
            )
        check_numbers(numbers, name, source)
        columns.append(numbers)
    return np.stack(columns, 1)


def weights(frame: pd.DataFrame, name: str | None, source: str) -> Floats | None:
    """How much each row counts: finite, not negative, not all zero."""
    if name is None:
        return None
    import pandas as pd

    numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(numbers) | (numbers < 0)
    if wrong.any() or not numbers.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{source}, weight column '{name}', row {row + 1}: '{frame[name].iloc[row]}' is no"
            f" weight; {int(wrong.sum())} are not. Weights are numbers >= 0, some above."
        )
    return np.asarray(numbers, np.float64)


def split_from_column(values: pd.Series, source: str) -> dict[str, Ints]:
    """Rows by what a column says of their part."""
    words = values.astype(str).str.strip().str.lower().map(_WORDS)
    wrong = words.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{source}, split column '{values.name}', row {row + 1}: '{values.iloc[row]}' is not"
            f" train, val or test; {int(wrong.sum())} such cell(s)."
        )
    parts = {part: np.flatnonzero((words == part).to_numpy()) for part in ("train", "val", "test")}
    if not len(parts["train"]):
        raise DataError(f"{source}, split column '{values.name}': no row says train.")
    return {part: rows for part, rows in parts.items() if len(rows)}

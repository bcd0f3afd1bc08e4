"""A table as it was read: its columns and their roles, its targets, and how it becomes examples.
Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.folding import held_out, pool
from mlplab.data.scaling import Scaler, fit_scaler, identity
from mlplab.data.table import SPLITS, Floats, Ints
from mlplab.data.tabular import roles
from mlplab.data.tabular.columns import choose, feature_columns, need
from mlplab.data.tabular.data_checks import inspect
from mlplab.data.tabular.encoder import Encoder, category_text, fit_encoder, pad_to_same_width
from mlplab.data.tabular.raw_table import RawTable, Split
from mlplab.data.tabular.splits import group_codes, split_table
from mlplab.errors import DataError
from mlplab.task import Task
from mlplab.validation import KFold

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.table_options import TabularDataset

MIN_ROWS = 3
MAX_CLASS_VALUES = 20


def table_of(
    dataset: TabularDataset,
    frame: pd.DataFrame,
    source: str,
    parts: Mapping[str, Ints] | None = None,
    told: Sequence[str] = (),
) -> RawTable:
    """Decide what the columns of a frame are, and refuse what cannot be learnt from."""
    available = list(frame.columns)
    targets = roles.targets(dataset, available, source)
    taken = roles.reserved_columns(dataset, targets, available, source)
    names = choose(
        available,
        list(dataset.features) if dataset.features is not None else None,
        list(dataset.ignore),
        taken,
        source,
    )
    for name in dataset.categories:
        need(name, available, source)
    before = len(frame)
    if dataset.missing == "drop":
        kept = frame[[*names, *targets]].notna().all(axis=1).to_numpy()
        frame, parts = frame[kept].reset_index(drop=True), _kept(parts, kept)
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"{source} has {len(frame)}"
            f" row(s){' without empty cells' if before > len(frame) else ''}; at least {MIN_ROWS}"
            " are needed."
        )
    columns = feature_columns(frame, names, dataset.categories, source)
    y, task, classes = _targets(frame, targets, dataset.task, source)
    if dataset.split_column:
        parts = roles.split_from_column(frame[dataset.split_column], source)
    return RawTable(
        frame,
        tuple(columns),
        y,
        task,
        tuple(targets),
        classes,
        parts,
        roles.weights(frame, dataset.weight_column, source),
        source,
        tuple(told),
        before - len(frame),
        range(len(frame)),
    )


def _kept(parts: Mapping[str, Ints] | None, kept: np.ndarray) -> dict[str, Ints] | None:
    if parts is None:
        return None
    place = np.cumsum(kept) - 1
    return {part: place[rows[kept[rows]]] for part, rows in parts.items()}


def _targets(
    frame: pd.DataFrame, names: Sequence[str], task: str, source: str
) -> tuple[Floats | Ints, Task, tuple[str, ...]]:
    """Targets as numbers, the task, and the names of the classes as they stand in the file."""
    import pandas as pd
    from pandas.api import types

    for name in names:
        missing = frame[name].isna().to_numpy()
        if missing.any():
            raise DataError(
                f"{source}, target '{name}', row {int(missing.argmax()) + 1}: the cell is empty;"
                f" {int(missing.sum())} are. A row without a target teaches nothing: leave these"
                " rows out (dataset.missing=drop)."
            )
    values = frame[names[0]]
    numeric = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    whole = numeric and bool((values % 1 == 0).all())
    few = whole and values.nunique() <= min(MAX_CLASS_VALUES, max(2, len(values) // 10))
    classify = task == "classification" or (
        task == "auto" and len(names) == 1 and (not numeric or few)
    )
    if not classify:
        return (
            roles.regression_targets(frame, names, source),
            Task("regression", num_targets=len(names)),
            (),
        )
    if len(names) > 1:
        raise DataError(
            f"{source}: several targets ({', '.join(names)}) can be values, not classes. Give one"
            " target, or dataset.task=regression."
        )
    code_N, distinct = pd.factorize(values)
    word_of_code = [category_text(value) for value in distinct]
    order = sorted(
        set(word_of_code),
        key=(lambda word: (0, float(word), "")) if numeric else (lambda word: (1, 0.0, word)),
    )
    if len(order) < 2:
        raise DataError(
            f"{source}, target '{names[0]}': all {len(values)} rows are of one class, '{order[0]}';"
            " there is nothing to tell apart."
        )
    if len(order) > max(2, len(values) // 2):
        raise DataError(
            f"{source}, target '{names[0]}': {len(order)} different values in {len(values)} rows"
            " are no classes. If they are quantities: dataset.task=regression."
        )
    place = {word: i for i, word in enumerate(order)}
    return (
        np.array([place[word] for word in word_of_code], np.int64)[code_N],
        Task("classification", len(order)),
        tuple(order),
    )


def split(table: RawTable, dataset: TabularDataset, rng: np.random.Generator) -> Split:
    """Part the rows, look at what there is, measure the encoder and the scaler on the train part
    alone, and encode all rows.

    The columns leave the table as they are encoded.
    """
    if table.parts is not None:
        _check_trained_classes(table, table.parts)
    rows = split_table(table, dataset, rng)
    _check_trained_classes(table, rows)
    report = inspect(table, rows, dataset)
    encoder = fit_encoder(
        table.frame,
        rows["train"],
        table.columns,
        dataset.missing,
        dataset.encode,
        dataset.scaling,
        int(rng.integers(2**31)),
    )
    encoded_NF = encoder.apply(table.frame, table.source, consume=True)
    return Split(
        rows,
        encoder,
        _scaler(encoder, encoded_NF, rows["train"], dataset.scaling),
        encoded_NF,
        report,
    )


def split_folds(
    table: RawTable, dataset: TabularDataset, kfold: KFold, rng: np.random.Generator
) -> list[Split]:
    """The same for each fold of a cross-validation: its own encoder and scaler, all with the same
    number of features.
    """
    if dataset.time_column is not None:
        raise DataError(
            "validation=kfold would train on what came later than the rows that it tests:"
            " dataset.time_column and it exclude each other."
        )
    groups = group_codes(table, dataset.group_column) if dataset.group_column is not None else None
    seed = int(rng.integers(2**31))
    parts = []
    for test in held_out(table, groups, kfold, rng):
        given = replace(table, parts={"train": pool(len(table.y), test), "test": test})
        rows = split_table(given, dataset, rng)
        _check_trained_classes(given, rows)
        parts.append(rows)
    report = inspect(table, parts[0], dataset)
    encoders = pad_to_same_width(
        [
            fit_encoder(
                table.frame,
                rows["train"],
                table.columns,
                dataset.missing,
                dataset.encode,
                dataset.scaling,
                seed,
            )
            for rows in parts
        ]
    )
    found = []
    for rows, encoder in zip(parts, encoders, strict=True):
        encoded_NF = encoder.apply(table.frame, table.source)
        found.append(
            Split(
                rows,
                encoder,
                _scaler(encoder, encoded_NF, rows["train"], dataset.scaling),
                encoded_NF,
                report,
            )
        )
    return found


def _scaler(encoder: Encoder, encoded_NF: Floats, train: Ints, how: str) -> Scaler:
    """Measured quantities are scaled; ones and zeros, and what is scaled by rank already, stay. A
    column at a time, which spares memory.
    """
    scaler = identity(encoded_NF.shape[1])
    if how in ("none", "quantile"):
        return scaler
    for i in np.flatnonzero(encoder.numeric()):
        own = fit_scaler(encoded_NF[train, i, None], how, "feature")
        scaler.shift[i], scaler.scale[i] = own.shift[0], own.scale[0]
    return scaler


def _check_trained_classes(table: RawTable, rows: Mapping[str, Ints]) -> None:
    if not table.task.classifies:
        return
    counts = np.bincount(table.y[rows["train"]].astype(np.int64), minlength=table.task.num_classes)
    if (counts == 0).any():
        label = int((counts == 0).argmax())
        where = [
            part
            for part in SPLITS
            if part != "train" and part in rows and (table.y[rows[part]] == label).any()
        ]
        number = int((table.y == label).sum())
        raise DataError(
            f"{table.source}: class '{table.class_names[label]}' has {number} row(s), all in"
            f" {' and '.join(where)}, and none to train on. Move some of them to the train part, or"
            " leave the class out."
        )

"""Build a raw table from a data frame, then split and encode it.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mlplab.data.folding import held_out_rows, with_test_rows
from mlplab.data.input_features import COLUMN
from mlplab.data.scaling import Scaler, fit_scaler, identity
from mlplab.data.splitting import with_val_in_train
from mlplab.data.table import SPLITS, DataFrame, Floats, Ints
from mlplab.data.tabular import roles
from mlplab.data.tabular.cells import number_markers, without_markers
from mlplab.data.tabular.columns import feature_columns, require_column, select_feature_names
from mlplab.data.tabular.computed import (
    check_operands,
    features_of_encoded,
    operand_columns,
    requested_formulas,
)
from mlplab.data.tabular.data_checks import inspect
from mlplab.data.tabular.data_report import DataReport
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.encoder_fitting import fit_encoder, pad_to_same_width
from mlplab.data.tabular.number_columns import BATCH_CELLS
from mlplab.data.tabular.number_formats import (
    NumberFormat,
    Recognized,
    parse_formatted,
    recognize,
)
from mlplab.data.tabular.raw_table import RawTable, Split
from mlplab.data.tabular.splits import group_codes, split_table
from mlplab.data.tabular.table_options import BY_RANK, TabularDataset
from mlplab.data.tabular.targets import (
    Targets,
    are_classes,
    class_targets,
    refuse_missing_targets,
)
from mlplab.errors import DataError
from mlplab.task import Task
from mlplab.validation import KFold

MIN_ROWS = 3


def build_table(
    dataset: TabularDataset,
    frame: DataFrame,
    source: str,
    given_split: Mapping[str, Ints] | None = None,
    notes: Sequence[str] = (),
    decimal: str = ".",
) -> RawTable:
    """Classify the columns of a frame and encode its targets.

    Args:
        dataset: the roles and options of the columns.
        frame: the rows, with strings as column names.
        source: the name of the file or data set, for messages.
        given_split: the row numbers of each split, if files define it.
        notes: how the file is written.
        decimal: the decimal sign of the file.

    Raises:
        DataError: if a named column does not exist, a column or target cannot be learned from, or
            there are too few rows.
    """
    available = list(frame.columns)
    targets = roles.targets(dataset, available, source)
    reserved = roles.reserved_columns(dataset, targets, available, source)
    formulas = requested_formulas(dataset, frame, reserved, source)
    names = select_feature_names(
        available, operand_columns(formulas), list(dataset.ignore), reserved, source
    )
    for name in (*dataset.categories, *dataset.numbers, *dataset.column_markers):
        require_column(name, available, source)
    num_rows_read = len(frame)
    required = {"impute": targets, "drop": [*names, *targets]}.get(dataset.missing, [])
    frame, given_split = _complete_rows(_without_markers(frame, dataset), required, given_split)
    if len(frame) < MIN_ROWS:
        complete = " without empty cells" if num_rows_read > len(frame) else ""
        needed = f"at least {MIN_ROWS} are needed"
        raise DataError(f"{source} has {len(frame)} row(s){complete}; {needed}.")
    frame, recognized = _plain_numbers(frame, [*names, *targets], dataset, decimal)
    formats = {name: one.form for name, one in recognized.items()}
    columns = feature_columns(frame, names, dataset, source, formats)
    check_operands(formulas, columns, dataset, source)
    y, task, classes = _targets(frame, targets, _wanted_task(dataset, targets, formats), source)
    if dataset.split_column:
        given_split = roles.split_from_column(frame[dataset.split_column], source)
    return RawTable(
        frame,
        tuple(columns),
        y,
        task,
        tuple(targets),
        classes,
        given_split,
        roles.weights(frame, dataset.weight_column, source),
        source,
        (*notes, *(one.note(name) for name, one in recognized.items())),
        num_rows_read - len(frame),
        tuple(formulas or ()) if any(f.function != COLUMN for f in formulas or ()) else (),
        {name: formats[name] for name in targets if name in formats},
    )


def _wanted_task(
    dataset: TabularDataset, targets: Sequence[str], formats: Mapping[str, NumberFormat]
) -> str:
    """Return the task that is configured; amounts and percentages are values, not classes."""
    has_unit = any(formats[name].has_unit for name in targets if name in formats)
    return "regression" if has_unit and dataset.task == "auto" else dataset.task


def _plain_numbers(
    frame: DataFrame, names: Sequence[str], dataset: TabularDataset, decimal: str
) -> tuple[DataFrame, dict[str, Recognized]]:
    """Return the frame with numbers in place of strings such as $1,234, and how they were written.

    Categories, and the targets of a classification, stay as they are.
    """
    kept = {*dataset.categories, *(dataset.id_column,)}
    if dataset.task == "classification":
        kept.update(dataset.targets or ("y", frame.columns[-1]))
    recognized = {
        name: column
        for name in names
        if name not in kept
        and (column := recognize(frame[name], decimal, dataset.thousands)) is not None
    }
    if not recognized:
        return frame, recognized
    numbers = {
        name: parse_formatted(frame[name], column.form)[0] for name, column in recognized.items()
    }
    return frame.assign(**numbers), recognized


def _without_markers(frame: DataFrame, dataset: TabularDataset) -> DataFrame:
    """Return the frame with cells that are markers as missing: strings and numbers of a Parquet
    file. Those of a text file are missing already, but for numbers that are written otherwise.
    """
    if not dataset.markers:
        return frame
    has_numbers = bool(number_markers(dataset.markers))
    changed = {
        name: without_markers(
            frame[name], (*dataset.markers, *dataset.column_markers.get(str(name), ()))
        )
        for name, kind in frame.dtypes.items()
        if kind.kind not in "biufcmM" or has_numbers or name in dataset.column_markers
    }
    return frame.assign(**changed) if changed else frame


def _complete_rows(
    frame: DataFrame,
    required: Sequence[str],
    given_split: Mapping[str, Ints] | None,
) -> tuple[DataFrame, Mapping[str, Ints] | None]:
    """Return the rows in which no cell of the required columns is missing, and the split in their
    numbers.
    """
    complete_N = frame[list(required)].notna().all(axis=1).to_numpy()
    if complete_N.all():
        return frame, given_split
    if given_split is not None:
        new_number_N = np.cumsum(complete_N) - 1
        given_split = {
            split: new_number_N[rows[complete_N[rows]]] for split, rows in given_split.items()
        }
    return frame[complete_N].reset_index(drop=True), given_split


def _targets(frame: DataFrame, names: Sequence[str], task: str, source: str) -> Targets:
    """Return the targets as numbers, the task, and the class names as written in the file."""
    from pandas.api import types

    for name in names:
        refuse_missing_targets(frame[name].isna().to_numpy(), name, source)
    values = frame[names[0]]
    numeric = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    code_N, distinct = values.factorize()
    if are_classes(task, len(names), numeric, distinct, len(values)):
        return class_targets(code_N, distinct, numeric, names, source)
    values_NT = roles.regression_targets(frame, names, source)
    return values_NT, Task("regression", num_targets=len(names)), ()


def split_and_encode(
    table: RawTable, dataset: TabularDataset, rng: np.random.Generator, val_trains: bool = False
) -> Split:
    """Split the rows, inspect the table, fit encoder and scaler on train, and encode all rows. With
    `val_trains`, the rows of val are rows of train.

    Each column is removed from the table's frame once it is encoded. Raises DataError if the rows
    cannot be split or a column cannot be encoded.
    """
    if table.given_split is not None:
        _check_trained_classes(table, table.given_split)
    rows = _split_rows(table, dataset, rng)
    if val_trains:
        rows = with_val_in_train(rows)
    seed = int(rng.integers(2**31))
    encoder = fit_encoder(
        table.frame, rows["train"], table.columns, dataset, seed, table.target_formats
    )
    return _encoded(table, rows, encoder, dataset, inspect(table, dataset, rows), consume=True)


def split_folds(
    table: RawTable, dataset: TabularDataset, kfold: KFold, rng: np.random.Generator
) -> list[Split]:
    """Split and encode the table for each fold, with a separate encoder and scaler per fold.

    All folds have the same number of features. Raises DataError if the table cannot be folded.
    """
    groups = groups_of_folds(table, dataset)
    seed = int(rng.integers(2**31))
    rows_of_folds = [
        _split_rows(with_test_rows(table, test), dataset, rng)
        for test in held_out_rows(table, groups, kfold, rng)
    ]
    report = inspect(table, dataset, rows_of_folds[0])
    encoders = pad_to_same_width(
        [
            fit_encoder(
                table.frame, rows["train"], table.columns, dataset, seed, table.target_formats
            )
            for rows in rows_of_folds
        ]
    )
    return [
        _encoded(table, rows, encoder, dataset, report)
        for rows, encoder in zip(rows_of_folds, encoders, strict=True)
    ]


def groups_of_folds(table: RawTable, dataset: TabularDataset) -> np.ndarray | None:
    """Return the group of each row, which folds do not divide; None without groups. Raises
    DataError if the rows are in order of time.
    """
    if dataset.time_column is not None:
        raise DataError(
            "validation=kfold cannot be combined with dataset.time_column: folds would train on"
            " rows that are later than those they are tested on."
        )
    if dataset.group_column is None:
        return None
    return np.asarray(group_codes(table, dataset.group_column))


def _split_rows(
    table: RawTable, dataset: TabularDataset, rng: np.random.Generator
) -> dict[str, Ints]:
    rows = split_table(table, dataset, rng)
    _check_trained_classes(table, rows)
    return rows


def _encoded(
    table: RawTable,
    rows: Mapping[str, Ints],
    encoder: Encoder,
    dataset: TabularDataset,
    report: DataReport,
    consume: bool = False,
) -> Split:
    x_NF = encoded_NR = encoder.apply(table.frame, table.source, consume)
    numeric_F, computed = encoder.numeric(), None
    if table.formulas:
        computed = features_of_encoded(table.formulas, encoder, encoded_NR[rows["train"]])
        x_NF = computed.apply(encoded_NR, table.source, 1)
        numeric_F = np.array(
            [f != COLUMN or encoder.numeric()[i] for f, (i, *_) in computed.formulas]
        )
    scaler = _scaler(numeric_F, x_NF, rows["train"], dataset.scaling)
    return Split(rows, encoder, computed, scaler, x_NF, encoded_NR, report)


def _scaler(numeric_F: np.ndarray, encoded_NF: Floats, train: Ints, how: str) -> Scaler:
    """Fit the scaler of quantities; zeros and ones, and numbers scaled by rank, stay unchanged.

    Columns are fitted some at a time, which saves memory.
    """
    scaler = identity(encoded_NF.shape[1])
    if how == "none":
        return scaler
    if how in BY_RANK:
        how = "standard"  # of dates and ordinal categories, which have no ranks
    clip_F = np.full(len(scaler.shift), np.inf) if how == "robust_clip" else None
    # the sums of a mean depend on their order, so that its bits are those of a column by itself
    size = 1 if how == "standard" else max(1, BATCH_CELLS // len(encoded_NF))
    features = np.flatnonzero(numeric_F)
    for batch in np.split(features, range(size, len(features), size)) if len(features) else ():
        fitted = fit_scaler(encoded_NF[np.ix_(train, batch)], how, "feature")
        scaler.shift[batch], scaler.scale[batch] = fitted.shift, fitted.scale
        if clip_F is not None and fitted.clip is not None:
            clip_F[batch] = fitted.clip
    return replace(scaler, clip=clip_F)


def _check_trained_classes(table: RawTable, rows: Mapping[str, Ints]) -> None:
    if not table.task.classifies:
        return
    untrained = np.setdiff1d(np.arange(table.task.num_classes), table.y[rows["train"]])
    if len(untrained):
        is_untrained = table.y == untrained[0]
        where = [split for split in SPLITS if split in rows and is_untrained[rows[split]].any()]
        raise DataError(
            f"{table.source}: class '{table.class_names[untrained[0]]}' has {is_untrained.sum()}"
            f" row(s), all in {' and '.join(where)}, and none to train on. Move some of them to the"
            " train split, or leave the class out."
        )

"""Turn a dataset into arrays for training: make the table, split it and scale it.

Shapes: N examples, F features, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mlplab.data import folding
from mlplab.data.feature_groups import FeatureGroups
from mlplab.data.input_features import InputFeatures, resolve
from mlplab.data.scaling import Scaler, fit_scaler, identity
from mlplab.data.splitting import split_rows, with_val_in_train
from mlplab.data.table import SPLITS, Dataset, Floats, Ints, Table
from mlplab.data.tabular.data_report import DataReport
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.raw_table import RawTable, Split
from mlplab.data.tabular.table_builder import groups_of_folds, split_and_encode, split_folds
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError
from mlplab.randomness import numpy_generator
from mlplab.task import Task
from mlplab.validation import KFold


@dataclass(frozen=True, eq=False)
class Examples:
    """The scaled examples of one split (train, val or test).

    Attributes:
        x: the inputs of the network, float64 [N, F].
        y: labels int64 [N] (classification) or scaled values float64 [N, T] (regression).
        weights: the weight of each example [N].
        mask: bool [N], False for padding rows.
        columns: the unscaled columns, float64 [N, R], from which features are computed, if any are,
            or of which the features are encodings.
    """

    x: Floats
    y: Floats | Ints
    weights: Floats | None = None
    mask: NDArray[np.bool_] | None = None
    columns: Floats | None = None

    def __len__(self) -> int:
        return len(self.x)

    def real(self) -> Examples:
        """Return the examples without padding rows."""
        return self if self.mask is None else self.take(self.mask)

    def take(self, rows: NDArray[Any]) -> Examples:
        """Return some rows, by their numbers or a mask, as examples that are no padding."""
        return Examples(
            self.x[rows],
            self.y[rows],
            self.weights[rows] if self.weights is not None else None,
            columns=self.columns[rows] if self.columns is not None else None,
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data that training sees; a split without examples is None.

    Attributes:
        target_scaler: its `invert` undoes the scaling of regression targets; the identity for
            classes.
        target_bounds: the range of the training targets, float64 [2, T] in their units, if
            predictions are clamped to it.
        data_hash: the hash of the table before splitting and scaling.
        encoder: from the columns of a file to features, if the data comes from one.
        input_features: from (encoded) columns to features, if some are computed.
        groups: from scaled features to the inputs of the network, if it embeds some of them.
        report: observations about the file, if the data comes from one.
        held_out: of a cross-validated ensemble, the positions in the train split of the rows that
            each fold holds out.
        test_rows: in a cross-validation, the row numbers of the fold's test split in the table.
    """

    task: Task
    train: Examples
    val: Examples | None
    test: Examples | None
    feature_scaler: Scaler
    target_scaler: Scaler
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    class_names: tuple[str, ...]
    data_hash: str
    encoder: Encoder | None = None
    report: DataReport | None = None
    test_rows: Ints | None = None
    input_features: InputFeatures | None = None
    target_bounds: Floats | None = None
    groups: FeatureGroups | None = None
    held_out: tuple[Ints, ...] | None = None

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs of the network: the features, or what encodes them."""
        names = self.feature_names
        return self.groups.input_names(names) if self.groups is not None else names

    @property
    def num_features(self) -> int:
        """The number of inputs of the network."""
        return self.groups.num_inputs if self.groups is not None else len(self.feature_names)


def made_table(dataset: Dataset, seed: int) -> Any:
    """The table of a dataset. Raises DataError if its `make` returns something else."""
    table = dataset.make(numpy_generator(seed, "data"))
    if not hasattr(table, "content_hash"):
        raise DataError(
            f"{type(dataset).__name__}.make returned a {type(table).__name__} instead of a table:"
            " return class_table(x, y, class_names) or value_table(x, y) of mlplab.data."
        )
    return table


def prepare(dataset: Dataset, seed: int, target_scaling_default: bool) -> Prepared:
    """Make the table of a dataset, split it and scale it.

    Args:
        dataset: the configured dataset; its seed, if set, takes precedence over `seed`.
        seed: the seed of the run.
        target_scaling_default: whether target_scaling=auto standardizes regression targets.

    Raises:
        DataError: if the data cannot be read, split or scaled.
    """
    seed = seed if dataset.seed is None else dataset.seed
    table: Any = made_table(dataset, seed)
    split_rng = numpy_generator(seed, "split")
    if isinstance(table, Table):
        return prepare_table(table, dataset, split_rng, target_scaling_default)
    data_hash = table.content_hash()
    split = split_and_encode(table, cast(TabularDataset, dataset), split_rng)
    return _scaled_raw_splits(table, split, dataset, target_scaling_default, data_hash)


def prepare_table(
    table: Table, dataset: Dataset, split_rng: np.random.Generator, target_scaling_default: bool
) -> Prepared:
    """Split and scale a table as configured in `dataset`, measuring the scalers on train only.

    Raises DataError if there are too few rows or scaling overflows.
    """
    rows = split_rows(table, {"val": dataset.val, "test": dataset.test}, split_rng)
    return _scaled_splits(table, rows, dataset, target_scaling_default, table.content_hash())


def prepare_folds(
    dataset: Dataset, seed: int, kfold: KFold, target_scaling_default: bool
) -> list[Prepared]:
    """Return the data of every fold, padded to equal shapes.

    Train and val of a fold are drawn from the rows that are not in its test split, and each fold is
    scaled by its train split. Raises DataError if the table cannot be folded.
    """
    seed = seed if dataset.seed is None else dataset.seed
    table: Any = made_table(dataset, seed)
    rng = numpy_generator(seed, "folds")
    data_hash = table.content_hash()
    if isinstance(table, Table):
        rows_of_folds: list[Mapping[str, Ints]] = [
            split_rows(folding.with_test_rows(table, test), {"val": dataset.val, "test": 0.0}, rng)
            for test in folding.held_out_rows(table, None, kfold, rng)
        ]
        folds = [
            _scaled_splits(table, rows, dataset, target_scaling_default, data_hash)
            for rows in rows_of_folds
        ]
    else:
        splits = split_folds(table, cast(TabularDataset, dataset), kfold, rng)
        rows_of_folds = [split.rows for split in splits]
        folds = [
            _scaled_raw_splits(table, split, dataset, target_scaling_default, data_hash)
            for split in splits
        ]
    padded = {
        name: folding.pad_to_same_length([getattr(fold, name) for fold in folds]) for name in SPLITS
    }
    return [
        replace(fold, test_rows=rows["test"], **{name: padded[name][i] for name in SPLITS})
        for i, (fold, rows) in enumerate(zip(folds, rows_of_folds, strict=True))
    ]


def prepare_held_out(
    dataset: Dataset, seed: int, kfold: KFold, target_scaling_default: bool
) -> Prepared:
    """Return the data of a cross-validated ensemble: the test split of the dataset, and all other
    rows as its train split, with the positions that each fold holds out.

    All folds share encoder and scalers, which see no row of test. Raises DataError if the table
    cannot be split or folded.
    """
    seed = seed if dataset.seed is None else dataset.seed
    table: Any = made_table(dataset, seed)
    split_rng, fold_rng = (numpy_generator(seed, name) for name in ("split", "folds"))
    data_hash, groups = table.content_hash(), None
    if isinstance(table, Table):
        fractions = {"val": dataset.val, "test": dataset.test}
        rows = with_val_in_train(split_rows(table, fractions, split_rng))
        whole = _scaled_splits(table, rows, dataset, target_scaling_default, data_hash)
    else:
        tabular = cast(TabularDataset, dataset)
        groups = groups_of_folds(table, tabular)
        split = split_and_encode(table, tabular, split_rng, val_trains=True)
        rows = dict(split.rows)
        whole = _scaled_raw_splits(table, split, dataset, target_scaling_default, data_hash)
    held_out = folding.held_out_rows(
        folding.TrainRows.of(table, rows["train"]),
        None if groups is None else groups[rows["train"]],
        kfold,
        fold_rng,
    )
    return replace(whole, held_out=tuple(held_out))


def in_folds(whole: Prepared) -> list[Prepared]:
    """Return the data of each fold of a cross-validated ensemble, padded to equal shapes: its val
    split is what it holds out, its train split all other rows.
    """
    assert whole.held_out is not None
    train, numbers_N = whole.train, np.arange(len(whole.train))
    padded = [
        folding.pad_to_same_length([train.take(rows) for rows in of_folds])
        for of_folds in (
            [np.setdiff1d(numbers_N, held_out) for held_out in whole.held_out],
            whole.held_out,
        )
    ]
    return [
        replace(whole, train=fold, val=held_out, test=None)
        for fold, held_out in zip(*padded, strict=True)
    ]


def _scaled_splits(
    table: Table,
    rows: Mapping[str, Ints],
    dataset: Dataset,
    target_scaling_default: bool,
    data_hash: str,
) -> Prepared:
    x_NF, names, computed = table.x, table.feature_names, None
    if dataset.features:
        formulas = [resolve(name, names, "the dataset") for name in dataset.features]
        computed = InputFeatures.of(formulas, names, x_NF.take(rows["train"], axis=0))
        x_NF, names = computed.apply(x_NF, "The dataset"), computed.feature_names
    return _prepared(
        table,
        rows,
        x_NF,
        fit_scaler(x_NF.take(rows["train"], axis=0), dataset.scaling, "feature"),
        _target_scaler(table, rows["train"], dataset.target_scaling, target_scaling_default),
        target_bounds=_target_bounds(table, rows["train"], dataset),
        columns_NR=table.x if computed else None,
        feature_names=names,
        data_hash=data_hash,
        input_features=computed,
    )


def _scaled_raw_splits(
    table: RawTable, split: Split, dataset: Dataset, target_scaling_default: bool, data_hash: str
) -> Prepared:
    return _prepared(
        table,
        split.rows,
        split.x_NF,
        split.scaler,
        _target_scaler(table, split.rows["train"], dataset.target_scaling, target_scaling_default),
        target_bounds=_target_bounds(table, split.rows["train"], dataset),
        columns_NR=split.encoded_NR if split.input_features else None,
        input_features=split.input_features,
        feature_names=(split.input_features or split.encoder).feature_names,
        data_hash=data_hash,
        encoder=split.encoder,
        report=split.report,
    )


def _target_scaler(table: Table | RawTable, train_rows: Ints, how: str, default: bool) -> Scaler:
    if table.task.classifies:
        return identity(1)
    if how == "auto":
        how = "standard" if default else "none"
    return fit_scaler(table.y[train_rows].astype(np.float64, copy=False), how, "target")


def _target_bounds(table: Table | RawTable, train_rows: Ints, dataset: Dataset) -> Floats | None:
    """The range of the training targets, [2, T], if predictions are clamped to it."""
    if table.task.classifies or not dataset.target_clamp:
        return None
    y_NT = table.y[train_rows].astype(np.float64, copy=False)
    return np.stack([y_NT.min(0), y_NT.max(0)])


def _prepared(
    table: Table | RawTable,
    rows: Mapping[str, Ints],
    x_NF: Floats,
    feature_scaler: Scaler,
    target_scaler: Scaler,
    columns_NR: Floats | None,
    **description: Any,
) -> Prepared:
    splits: dict[str, Any] = {
        name: _examples(table, numbers, x_NF, feature_scaler, target_scaler, columns_NR)
        for name, numbers in rows.items()
    }
    return Prepared(
        task=table.task,
        **splits,
        feature_scaler=feature_scaler,
        target_scaler=target_scaler,
        target_names=table.target_names,
        class_names=table.class_names,
        **description,
    )


def _examples(
    table: Table | RawTable,
    rows: Ints,
    features: Floats,
    feature_scaler: Scaler,
    target_scaler: Scaler,
    columns_NR: Floats | None,
) -> Examples | None:
    if len(rows) == 0:
        return None
    y = table.y.take(rows, axis=0)
    with np.errstate(over="ignore"):
        x_NF = features.take(rows, axis=0)  # a copy, so scaling in place is safe
        x_NF -= feature_scaler.shift
        x_NF /= feature_scaler.scale
        feature_scaler.clip_smoothly_inplace(x_NF)
        if not table.task.classifies:
            y = target_scaler.apply(y.astype(np.float64, copy=False))
    if not (np.isfinite(x_NF).all() and np.isfinite(y).all()):
        raise DataError(
            "Scaling made some numbers infinite: a column hardly varies in the train split and is"
            " huge elsewhere. Turn scaling off."
        )
    return Examples(
        x_NF,
        y,
        table.weights[rows] if table.weights is not None else None,
        columns=columns_NR.take(rows, axis=0) if columns_NR is not None else None,
    )

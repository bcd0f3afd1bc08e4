"""From a dataset to arrays a network can learn from: made, split, scaled. Shapes: N examples, F
features, T targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlplab.data.scaling import Scaler, fit_scaler, identity
from mlplab.data.splitting import split_rows
from mlplab.data.table import SPLITS, Dataset, Floats, Ints, Table
from mlplab.errors import DataError
from mlplab.task import Task
from mlplab.validation import KFold

if TYPE_CHECKING:
    from mlplab.data.tabular.data_report import DataReport
    from mlplab.data.tabular.encoder import Encoder
    from mlplab.data.tabular.raw_table import RawTable, Split


@dataclass(frozen=True, eq=False)
class Examples:
    """One part: x float64 [N, F], scaled; y int64 [N] (classes) or float64 [N, T] (values,
    scaled).
    """

    x: Floats
    y: Floats | Ints
    weights: Floats | None = None  # [N]: how much each counts
    mask: NDArray[np.bool_] | None = None  # [N]: False for rows that only fill up the shape

    def __len__(self) -> int:
        return len(self.x)

    def real(self) -> Examples:
        """Without rows that fill up."""
        if self.mask is None:
            return self
        return Examples(
            self.x[self.mask],
            self.y[self.mask],
            self.weights[self.mask] if self.weights is not None else None,
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """What training sees. A part without examples is None.

    target_scaler.invert undoes the scaling of regression targets; for classes it is the identity.
    data_hash is that of the table before splitting and scaling.
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
    encoder: Encoder | None = None  # from the columns of a file to features
    report: DataReport | None = None  # what was found in a file
    test_rows: Ints | None = None  # of a fold: the places of its test rows in the table

    @property
    def num_features(self) -> int:
        return len(self.feature_names)


def prepare(dataset: Dataset, seed: int, target_scaling_default: bool) -> Prepared:
    """Make, split and scale. The dataset's own seed counts before `seed`.

    target_scaling_default says what target_scaling=auto means: True standardizes regression
    targets.
    """
    # imports torch, which listing datasets does not need
    from mlplab.randomness import numpy_generator

    seed = seed if dataset.seed is None else dataset.seed
    table: Any = dataset.make(numpy_generator(seed, "data"))
    if not isinstance(table, Table):
        return _prepare_raw(table, dataset, numpy_generator(seed, "split"), target_scaling_default)
    return prepare_table(table, dataset, numpy_generator(seed, "split"), target_scaling_default)


def prepare_table(
    table: Table, dataset: Dataset, split_rng: np.random.Generator, target_scaling_default: bool
) -> Prepared:
    """Split and scale a table as the dataset's fields say. Nothing of val or test reaches the
    scalers.
    """
    rows = split_rows(table, {"val": dataset.val, "test": dataset.test}, split_rng)
    return _parted(table, rows, dataset, target_scaling_default, table.content_hash())


def prepare_folds(
    dataset: Dataset, seed: int, kfold: KFold, target_scaling_default: bool
) -> list[Prepared]:
    """The data of every fold, in equal shapes: its test part, and train and val drawn from the
    other rows. Each is scaled by its own train part.
    """
    from mlplab.data import folding
    from mlplab.randomness import numpy_generator

    seed = seed if dataset.seed is None else dataset.seed
    table: Any = dataset.make(numpy_generator(seed, "data"))
    rng = numpy_generator(seed, "folds")
    if isinstance(table, Table):
        data_hash, made = table.content_hash(), []
        for test in folding.held_out(table, None, kfold, rng):
            rows = split_rows(folding.of_fold(table, test), {"val": dataset.val, "test": 0.0}, rng)
            made.append(
                dataclasses.replace(
                    _parted(table, rows, dataset, target_scaling_default, data_hash), test_rows=test
                )
            )
    else:
        made = _raw_folds(table, dataset, kfold, rng, target_scaling_default)
    parts = {
        part: folding.pad_to_same_width([getattr(one, part) for one in made]) for part in SPLITS
    }
    return [
        dataclasses.replace(one, **{part: parts[part][i] for part in SPLITS})
        for i, one in enumerate(made)
    ]


def _raw_folds(
    table: RawTable,
    dataset: Any,
    kfold: KFold,
    rng: np.random.Generator,
    target_scaling_default: bool,
) -> list[Prepared]:
    from mlplab.data.tabular.table_builder import split_folds

    data_hash = table.content_hash()
    return [
        dataclasses.replace(
            _raw_parted(table, parted, dataset, target_scaling_default, data_hash),
            test_rows=parted.rows["test"],
        )
        for parted in split_folds(table, dataset, kfold, rng)
    ]


def _parted(
    table: Table,
    rows: Mapping[str, Ints],
    dataset: Dataset,
    target_scaling_default: bool,
    data_hash: str,
) -> Prepared:
    feature_scaler = fit_scaler(table.x[rows["train"]], dataset.scaling, "feature")
    target_scaler = _target_scaler(
        table, rows["train"], dataset.target_scaling, target_scaling_default
    )
    parts = {
        part: _examples(table, own, feature_scaler, target_scaler) for part, own in rows.items()
    }
    train = parts["train"]
    assert train is not None  # split_rows leaves something to train on
    return Prepared(
        task=table.task,
        train=train,
        val=parts["val"],
        test=parts["test"],
        feature_scaler=feature_scaler,
        target_scaler=target_scaler,
        feature_names=table.feature_names,
        target_names=table.target_names,
        class_names=table.class_names,
        data_hash=data_hash,
    )


def _prepare_raw(
    table: RawTable, dataset: Any, split_rng: np.random.Generator, target_scaling_default: bool
) -> Prepared:
    """The same for the columns of a file, which become numbers after they are split: the encoder
    too is measured on the train part alone.
    """
    from mlplab.data.tabular.table_builder import split

    data_hash = table.content_hash()
    return _raw_parted(
        table, split(table, dataset, split_rng), dataset, target_scaling_default, data_hash
    )


def _raw_parted(
    table: RawTable, parted: Split, dataset: Any, target_scaling_default: bool, data_hash: str
) -> Prepared:
    target_scaler = _target_scaler(
        table, parted.rows["train"], dataset.target_scaling, target_scaling_default
    )
    whole = Encoded(parted.encoded_NF, table.y, table.task, table.weights)
    parts = {
        part: _examples(whole, own, parted.scaler, target_scaler)
        for part, own in parted.rows.items()
    }
    train = parts["train"]
    assert train is not None
    return Prepared(
        table.task,
        train,
        parts["val"],
        parts["test"],
        parted.scaler,
        target_scaler,
        parted.encoder.feature_names,
        table.target_names,
        table.class_names,
        data_hash,
        parted.encoder,
        parted.report,
    )


@dataclass(frozen=True, eq=False)
class Encoded:
    """The rows of a file as numbers."""

    x: Floats
    y: Floats | Ints
    task: Task
    weights: Floats | None


def _target_scaler(table: Table | RawTable, train_rows: Ints, how: str, default: bool) -> Scaler:
    if table.task.classifies:
        return identity(1)
    if how == "auto":
        how = "standard" if default else "none"
    return fit_scaler(table.y[train_rows].astype(np.float64, copy=False), how, "target")


def _examples(
    table: Table | Encoded, rows: Ints, feature_scaler: Scaler, target_scaler: Scaler
) -> Examples | None:
    if len(rows) == 0:
        return None
    with np.errstate(over="ignore"):
        x_NF = table.x[rows]  # a copy, scaled in place
        x_NF -= feature_scaler.shift
        x_NF /= feature_scaler.scale
        y = (
            table.y[rows]
            if table.task.classifies
            else target_scaler.apply(table.y[rows].astype(np.float64, copy=False))
        )
    if not (np.isfinite(x_NF).all() and np.isfinite(y).all()):
        raise DataError(
            "Scaling made some numbers infinite: a column hardly varies in the train part and is"
            " huge elsewhere. Turn scaling off."
        )
    weights = getattr(table, "weights", None)
    return Examples(x_NF, y, weights[rows] if weights is not None else None)

"""From a dataset to arrays a network can learn from: made, split, scaled. Shapes: N examples, F features, T targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.data.scaling import Scaler, fit_scaler, identity
from mlplab.data.splitting import split_rows
from mlplab.data.table import DataError, Dataset, Floats, Ints, Table
from mlplab.task import Task


@dataclass(frozen=True, eq=False)
class Examples:
    """One part: x float64 [N, F], scaled; y int64 [N] (classes) or float64 [N, T] (values, scaled)."""

    x: Floats
    y: Floats | Ints

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What training sees. A part without examples is None.

    target_scaler.invert undoes the scaling of regression targets; for classes it is the identity. data_hash is that of the table before
    splitting and scaling.
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

    @property
    def num_features(self) -> int:
        return len(self.feature_names)


def prepare(dataset: Dataset, seed: int, target_scaling_default: bool) -> Prepared:
    """Make, split and scale. The dataset's own seed counts before `seed`.

    target_scaling_default says what target_scaling=auto means: True standardises regression targets.
    """
    from mlplab.randomness import numpy_generator  # imports torch, which listing datasets does not need

    seed = seed if dataset.seed is None else dataset.seed
    table = dataset.make(numpy_generator(seed, "data"))
    return prepare_table(table, dataset, numpy_generator(seed, "split"), target_scaling_default)


def prepare_table(table: Table, dataset: Dataset, split_rng: np.random.Generator, target_scaling_default: bool) -> Prepared:
    """Split and scale a table as the dataset's fields say. Nothing of val or test reaches the scalers."""
    rows = split_rows(table, {"val": dataset.val, "test": dataset.test}, split_rng)
    feature_scaler = fit_scaler(table.x[rows["train"]], dataset.scaling, "feature")
    target_scaler = _target_scaler(table, rows["train"], dataset.target_scaling, target_scaling_default)
    parts = {part: _examples(table, own, feature_scaler, target_scaler) for part, own in rows.items()}
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
        data_hash=table.content_hash(),
    )


def _target_scaler(table: Table, train_rows: Ints, how: str, default: bool) -> Scaler:
    if table.task.classifies:
        return identity(1)
    if how == "auto":
        how = "standard" if default else "none"
    return fit_scaler(table.y[train_rows].astype(np.float64, copy=False), how, "target")


def _examples(table: Table, rows: Ints, feature_scaler: Scaler, target_scaler: Scaler) -> Examples | None:
    if len(rows) == 0:
        return None
    with np.errstate(over="ignore"):
        x_NF = feature_scaler.apply(table.x[rows])
        y = table.y[rows] if table.task.classifies else target_scaler.apply(table.y[rows].astype(np.float64, copy=False))
    if not (np.isfinite(x_NF).all() and np.isfinite(y).all()):
        raise DataError(
            "Scaling made some numbers infinite: a column hardly varies in the train part and is huge elsewhere. Turn scaling off."
        )
    return Examples(x_NF, y)

"""Split the rows of a table into train, val and test.

Split sizes depend only on the number of rows, so that members of a population with different data
have equal shapes. The test split does not depend on the validation fraction, unless a class has
almost no rows left. Shapes: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import numpy as np

from mlplab.data.table import SPLITS, Ints
from mlplab.errors import DataError
from mlplab.task import Task

HELD_OUT = ("test", "val")


class Splittable(Protocol):
    """What is known of a table before it is split: a Table, or a RawTable of a file."""

    @property
    def y(self) -> np.ndarray: ...
    @property
    def task(self) -> Task: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def given_split(self) -> Mapping[str, Ints] | None: ...


def split_rows(
    table: Splittable, fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Ints]:
    """Return the row numbers of train, val and test, each in random order.

    A fraction above 0 gives at least one row. Classes are stratified by largest remainder: each
    split holds them in proportion, and a split with at least as many rows as there are classes
    holds every class; train always does. A predefined split of the table is kept; val or test, if
    missing from it, are drawn from its train rows.

    Args:
        table: the examples, with their task and predefined split.
        fractions: the fractions of val and test.
        rng: the source of the random order.

    Raises:
        DataError: if there are too few rows, in all or of a class.
    """
    predefined = dict(table.given_split or {"train": np.arange(len(table.y))})
    pool_N = predefined["train"]
    sizes = {
        name: 0 if name in predefined else _size(fractions[name], len(pool_N)) for name in HELD_OUT
    }
    needed = table.task.num_classes if table.task.classifies else 1
    if len(pool_N) - sum(sizes.values()) < needed:
        raise DataError(
            f"Of {len(pool_N)} example(s), {sizes['val']} go to val and {sizes['test']} to test,"
            f" and fewer than {needed} remain to train on{', one per class' if needed > 1 else ''}."
            " Provide more examples, or set val=0 or test=0."
        )
    order_N = rng.permutation(pool_N).astype(np.int64)
    split_N = (
        _stratified(table, order_N, sizes)
        if table.task.classifies
        else _consecutive(len(order_N), sizes)
    )
    return {
        name: predefined[name].astype(np.int64)
        if name in predefined and name != "train"
        else order_N[split_N == index]
        for index, name in enumerate(SPLITS)
    }


def with_val_in_train(rows: Mapping[str, Ints]) -> dict[str, Ints]:
    """Return the row numbers of a split whose val rows are rows of train."""
    train_N = np.concatenate([rows["train"], rows["val"]])
    return {**rows, "train": train_N, "val": rows["val"][:0]}


def _size(fraction: float, num_rows: int) -> int:
    return max(1, int(np.floor(fraction * num_rows + 0.5))) if fraction > 0 else 0


def _consecutive(num_rows: int, sizes: Mapping[str, int]) -> Ints:
    """Return the index in SPLITS of each position: first test, then val, then train."""
    codes = [SPLITS.index(name) for name in ("test", "val", "train")]
    num_train = num_rows - sizes["test"] - sizes["val"]
    return np.repeat(codes, [sizes["test"], sizes["val"], num_train])


def _stratified(table: Splittable, order_N: Ints, sizes: Mapping[str, int]) -> Ints:
    """Return the index in SPLITS of each row of `order_N`, assigned class by class."""
    y_N, num_classes = table.y.take(order_N), table.task.num_classes
    counts_C = np.bincount(y_N.astype(np.int64, copy=False), minlength=num_classes)
    minimum = {name: int(sizes[name] >= num_classes) for name in HELD_OUT}
    _check_counts(table, counts_C, minimum)
    held_out = _held_out(tuple(counts_C.tolist()), *(sizes[name] for name in HELD_OUT))
    split_N = np.empty(len(order_N), dtype=np.int64)
    for label, (test, val) in enumerate(held_out):
        split_N[y_N == label] = _consecutive(int(counts_C[label]), {"test": test, "val": val})
    return split_N


@lru_cache(maxsize=256)
def _held_out(counts: tuple[int, ...], test: int, val: int) -> tuple[tuple[int, int], ...]:
    """Return the rows of each class in test and in val, of so many in all; cached, since the data
    of all seeds of a sweep mostly have the same counts.
    """
    counts_C = np.array(counts)
    least_test, least_val = (int(size >= len(counts)) for size in (test, val))
    test_C = _apportion(counts_C, test, least_test, counts_C - 1 - least_val)
    val_C = _apportion(counts_C, val, least_val, counts_C - 1 - test_C)
    return tuple(zip(test_C.tolist(), val_C.tolist(), strict=True))


def _apportion(counts_C: Ints, total: int, minimum: int, maximum_C: Ints) -> Ints:
    """Divide `total` rows among the classes in proportion to their counts by largest remainder.

    Each class gets at least `minimum` and at most `maximum_C` rows.
    """
    quota_C = counts_C * total / counts_C.sum()
    rows_C: Ints = np.clip(np.floor(quota_C).astype(np.int64), minimum, maximum_C)
    while rows_C.sum() < total:
        rows_C[np.where(rows_C < maximum_C, quota_C - rows_C, -np.inf).argmax()] += 1
    while rows_C.sum() > total:
        rows_C[np.where(rows_C > minimum, rows_C - quota_C, -np.inf).argmax()] -= 1
    return rows_C


def _check_counts(table: Splittable, counts_C: Ints, minimum: Mapping[str, int]) -> None:
    needing = ["train", *(name for name in ("val", "test") if minimum[name])]
    scarce = int(counts_C.argmin())
    if counts_C[scarce] < len(needing):
        raise DataError(
            f"Class '{table.class_names[scarce]}' has {counts_C[scarce]} example(s), but"
            f" {', '.join(needing)} need(s) one each. Provide more examples of it, leave the class"
            " out, or set val=0 or test=0."
        )

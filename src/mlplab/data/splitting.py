"""Which rows train, which validate, which test.

Part sizes depend on the number of rows alone, so that members of a population with different data
have equal shapes. The test part does not depend on the fraction for validation, unless a class is
down to its last rows. Shapes: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlplab.data.table import SPLITS, Ints, Table
from mlplab.errors import DataError

HELD_OUT = ("test", "val")


def split_rows(
    table: Table, fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Ints]:
    """Row numbers of train, val and test, each in random order; `fractions` are those of val and
    test.

    A fraction above 0 gives at least one row. Classes are stratified: each part holds them in
    proportion, by largest remainder, and every part with a row for each class has them all; train
    always has. A split that the data brings is honored; parts missing from it are drawn from its
    train part. Raises DataError where there are too few rows.
    """
    given = dict(table.given_split or {"train": np.arange(len(table.x))})
    pool_N = given["train"]
    sizes = {part: 0 if part in given else _size(fractions[part], len(pool_N)) for part in HELD_OUT}
    needed = table.task.num_classes if table.task.classifies else 1
    if len(pool_N) - sum(sizes.values()) < needed:
        raise DataError(
            f"Of {len(pool_N)} example(s), {sizes['val']} go to val and {sizes['test']} to test,"
            f" and fewer than {needed} remain to train on{', one a class' if needed > 1 else ''}."
            " Give more examples, or set val=0 or test=0."
        )
    order_N = rng.permutation(pool_N).astype(np.int64)
    parts_N = (
        _stratified(table, order_N, sizes) if table.task.classifies else _plain(len(order_N), sizes)
    )
    drawn = {part: order_N[parts_N == number] for number, part in enumerate(SPLITS)}
    return {
        part: given[part].astype(np.int64) if part in given and part != "train" else drawn[part]
        for part in SPLITS
    }


def _size(fraction: float, num_rows: int) -> int:
    return max(1, int(np.floor(fraction * num_rows + 0.5))) if fraction > 0 else 0


def _plain(num_rows: int, sizes: Mapping[str, int]) -> Ints:
    """The part number of each position of the random order."""
    parts_N = np.full(num_rows, SPLITS.index("train"))
    parts_N[: sizes["test"]] = SPLITS.index("test")
    parts_N[sizes["test"] : sizes["test"] + sizes["val"]] = SPLITS.index("val")
    return parts_N


def _stratified(table: Table, order_N: Ints, sizes: Mapping[str, int]) -> Ints:
    """The same, class by class."""
    y_N, num_classes = table.y[order_N], table.task.num_classes
    counts_C = np.bincount(y_N.astype(np.int64), minlength=num_classes)
    least = {part: int(sizes[part] >= num_classes) for part in HELD_OUT}
    _check_counts(table, counts_C, least)
    test_C = _apportion(counts_C, sizes["test"], least["test"], counts_C - 1 - least["val"])
    val_C = _apportion(counts_C, sizes["val"], least["val"], counts_C - 1 - test_C)
    parts_N = np.empty(len(order_N), dtype=np.int64)
    for label in range(num_classes):
        own = {"test": int(test_C[label]), "val": int(val_C[label])}
        parts_N[y_N == label] = _plain(int(counts_C[label]), own)
    return parts_N


def _apportion(counts_C: Ints, total: int, least: int, most_C: Ints) -> Ints:
    """`total` seats shared in proportion to the counts by largest remainder, each class within its
    limits.
    """
    quota_C = counts_C * total / counts_C.sum()
    seats_C: Ints = np.clip(np.floor(quota_C).astype(np.int64), least, most_C)
    while seats_C.sum() < total:
        seats_C[np.where(seats_C < most_C, quota_C - seats_C, -np.inf).argmax()] += 1
    while seats_C.sum() > total:
        seats_C[np.where(seats_C > least, seats_C - quota_C, -np.inf).argmax()] -= 1
    return seats_C


def _check_counts(table: Table, counts_C: Ints, least: Mapping[str, int]) -> None:
    needing = ["train", *(part for part in ("val", "test") if least[part])]
    scarce = int(counts_C.argmin())
    if counts_C[scarce] < len(needing):
        raise DataError(
            f"Class '{table.class_names[scarce]}' has {counts_C[scarce]} example(s), but"
            f" {', '.join(needing)} need(s) one each. Give more examples of it, leave the class"
            " out, or set val=0 or test=0."
        )

"""Tables are validated when they are built, and their hashes identify their content."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlplab.data
from mlplab.data import Table, class_table, value_table
from mlplab.errors import DataError
from mlplab.task import Task

# lets a new process import the same mlplab from any working folder
SOURCE = Path(mlplab.data.__file__).parents[2]


def classes(**changes: Any) -> Table:
    table = class_table([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [0, 1, 0], ("no", "yes"))
    return dataclasses.replace(table, **changes)


def values(**changes: Any) -> Table:
    table = value_table([[0.0], [1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], ("a", "b"))
    return dataclasses.replace(table, **changes)


def test_helpers_make_the_documented_types() -> None:
    table = classes()
    assert table.x.dtype == np.float64
    assert table.y.dtype == np.int64
    assert table.task == Task("classification", 2)
    assert table.feature_names == ("x1", "x2")
    table = value_table([[1], [2]], [3, 4])
    assert table.y.dtype == np.float64
    assert table.y.shape == (2, 1)
    assert table.task == Task("regression", num_targets=1)
    assert values().task.num_targets == 2


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (classes, {"x": np.array([[0, 1], [np.nan, 3], [4, 5]])}, "Row 1 of feature 'x1' is nan"),
        (classes, {"x": np.array([[0, 1], [2, 3], [4, np.inf]])}, "Row 2 of feature 'x2' is inf"),
        (classes, {"x": np.zeros((3, 2), dtype=np.float32)}, "float64"),
        (classes, {"x": np.zeros(3)}, "float64"),
        (classes, {"x": np.zeros((0, 2)), "y": np.zeros(0, dtype=np.int64)}, "at least one"),
        (classes, {"feature_names": ("only",)}, "2 features but 1 feature names"),
        (classes, {"y": np.array([0, 1])}, "3 rows of features but 2"),
        (classes, {"y": np.array([0.0, 1.0, 0.0])}, "int64"),
        (classes, {"y": np.array([0, 2, 0])}, "Row 1 has class label 2; labels go from 0 to 1"),
        (classes, {"y": np.array([0, 1, -1])}, "Row 2 has class label -1"),
        (classes, {"class_names": ("no", "yes", "maybe")}, "a name for each"),
        (
            classes,
            {"task": Task("classification", 1), "class_names": ("no",)},
            "two classes or more",
        ),
        (classes, {"target_names": ("a", "b")}, "one target"),
        (
            values,
            {"y": np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])},
            "Row 1 of target 'b' is nan",
        ),
        (values, {"y": np.zeros((3, 1))}, r"\[examples, 2\]"),
        (values, {"y": np.zeros((3, 2), dtype=np.int64)}, "float64"),
        (values, {"target_names": ("a",)}, "as many target names"),
        (values, {"class_names": ("a", "b")}, "no class names"),
        (values, {"given_split": {"test": np.array([0])}}, "non-empty train"),
        (values, {"given_split": {"train": np.array([0]), "dev": np.array([1])}}, "got train, dev"),
        (values, {"given_split": {"train": np.array([0, 3])}}, "row numbers from 0 to 2"),
        (
            values,
            {"given_split": {"train": np.array([0, 1]), "test": np.array([1])}},
            "Row 1 is listed more than once",
        ),
    ],
)
def test_refuses_bad_tables(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_hash_is_of_the_content() -> None:
    assert classes().content_hash() == classes().content_hash()
    assert len(classes().content_hash()) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.array([[0.0, 1.0], [2.0, 3.0], [4.0, np.nextafter(5.0, 6.0)]])},
        {"y": np.array([0, 1, 1])},
        {"feature_names": ("x1", "z")},
        {"class_names": ("no", "si")},
    ],
)
def test_hash_changes_with_any_cell_or_name(change: dict[str, Any]) -> None:
    assert classes(**change).content_hash() != classes().content_hash()


def test_the_hash_depends_on_shapes() -> None:
    wide, tall = (
        value_table([[1.0, 2.0, 3.0, 4.0]], [0.0]),
        value_table([[1.0, 2.0], [3.0, 4.0]], [0.0, 0.0]),
    )
    assert wide.content_hash() != tall.content_hash()


def test_listing_datasets_imports_neither_torch_nor_sklearn() -> None:
    script = (
        "import sys, mlplab.data; sys.exit(len({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=SOURCE, check=False).returncode == 0

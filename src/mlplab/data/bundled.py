"""Real data sets that come with scikit-learn and need no download.

scikit-learn is imported only when a table is made.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from mlplab.data.table import Dataset, Table, class_table, value_table


@dataclass(frozen=True, kw_only=True)
class Bundled(Dataset):
    """A data set that comes with scikit-learn: its rows are fixed, and only the split is random."""

    task_kind: ClassVar[str] = "classification"
    loader: ClassVar[str]
    options: ClassVar[dict[str, bool]] = {}

    def make(self, rng: np.random.Generator) -> Table:
        return _load(self.loader, self.task_kind, tuple(self.options.items()))


@dataclass(frozen=True, kw_only=True)
class Iris(Bundled):
    """Iris: three species of 50 flowers each from 4 measurements in cm. Fisher 1936."""

    loader: ClassVar[str] = "load_iris"


@dataclass(frozen=True, kw_only=True)
class Wine(Bundled):
    """Wine: three growers of 178 Italian wines from 13 chemical measurements."""

    loader: ClassVar[str] = "load_wine"


@dataclass(frozen=True, kw_only=True)
class BreastCancer(Bundled):
    """Breast cancer (Wisconsin): malignant or benign, 569 tumors from 30 measurements of cell
    nuclei.
    """

    loader: ClassVar[str] = "load_breast_cancer"


@dataclass(frozen=True, kw_only=True)
class Digits(Bundled):
    """Digits: 1797 handwritten digits as 8 x 8 gray pixels, 0 to 16."""

    loader: ClassVar[str] = "load_digits"


@dataclass(frozen=True, kw_only=True)
class Diabetes(Bundled):
    """Diabetes: progression of the disease after a year in 442 patients from 10 measurements, in
    the original units.
    """

    task_kind: ClassVar[str] = "regression"
    loader: ClassVar[str] = "load_diabetes"
    # scikit-learn's default scales by all rows, including those of the test split
    options: ClassVar[dict[str, bool]] = {"scaled": False}


@dataclass(frozen=True, kw_only=True)
class Linnerud(Bundled):
    """Linnerud: weight, waist and pulse (three targets) of 20 men from their results in three
    exercises.
    """

    task_kind: ClassVar[str] = "regression"
    loader: ClassVar[str] = "load_linnerud"


@cache
def _load(loader: str, task_kind: str, options: tuple[tuple[str, bool], ...]) -> Table:
    bunch = getattr(importlib.import_module("sklearn.datasets"), loader)(**dict(options))
    features = [str(name) for name in bunch.feature_names]
    if task_kind == "classification":
        table = class_table(
            bunch.data, bunch.target, [str(name) for name in bunch.target_names], features
        )
    else:
        targets = [str(name) for name in getattr(bunch, "target_names", ["progression"])]
        table = value_table(bunch.data, bunch.target, targets, features)
    table.x.setflags(write=False)  # all runs of the process share this table
    table.y.setflags(write=False)
    return table

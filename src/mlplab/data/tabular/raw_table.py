"""A table as it was read, and what training needs of it.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.scaling import Scaler
from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.columns import Column
from mlplab.data.tabular.data_report import DataReport
from mlplab.data.tabular.encoder import Encoder
from mlplab.task import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RawTable:
    """Rows of a file. y is int64 [N] (classes) or float64 [N, T]; `parts` says which file or word a
    row's part comes from, where one does.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    y: Floats | Ints
    task: Task
    target_names: tuple[str, ...]
    class_names: tuple[str, ...]
    parts: Mapping[str, Ints] | None
    weights: Floats | None
    source: str
    told: tuple[str, ...] = ()
    dropped: int = 0
    x: Sequence[object] = field(default=(), repr=False)

    @property
    def given_split(self) -> Mapping[str, Ints] | None:
        """Row numbers by part, where the file brings them."""
        return self.parts

    def content_hash(self) -> str:
        """SHA-256 of cells, targets and names."""
        from pandas.util import hash_pandas_object

        digest = hashlib.sha256(
            repr(
                (
                    self.task,
                    self.class_names,
                    self.target_names,
                    [(c.name, c.kind) for c in self.columns],
                )
            ).encode()
        )
        for column in self.columns:
            digest.update(
                hash_pandas_object(self.frame[column.name], index=False).to_numpy().tobytes()
            )
        digest.update(np.ascontiguousarray(self.y).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """What `prepare` needs of a raw table: rows by part, the encoder and scaler measured on train,
    the encoded features [N, F].
    """

    rows: Mapping[str, Ints]
    encoder: Encoder
    scaler: Scaler
    encoded_NF: Floats
    report: DataReport

"""A table as read from a file, and its split and encoded form.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mlplab.data.input_features import Formula, InputFeatures
from mlplab.data.scaling import Scaler
from mlplab.data.table import DataFrame, Floats, Ints
from mlplab.data.tabular.columns import Column
from mlplab.data.tabular.data_report import DataReport
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.number_columns import plain_number_columns
from mlplab.data.tabular.number_formats import NumberFormat
from mlplab.task import Task


@dataclass(frozen=True, eq=False)
class RawTable:
    """The rows of a file with their column kinds, targets and roles.

    Attributes:
        frame: all columns of the file.
        columns: the feature columns.
        y: labels int64 [N] (classification) or values float64 [N, T] (regression).
        given_split: row numbers of each split, if files or a column define the split.
        weights: the weight of each row [N].
        source: the name of the file or data set, for messages.
        notes: how the file is written.
        dropped: the number of rows left out because of empty cells.
        target_formats: how the numbers of targets were written that were not plain.
        formulas: the features, if some are computed from columns.
    """

    frame: DataFrame
    columns: tuple[Column, ...]
    y: Floats | Ints
    task: Task
    target_names: tuple[str, ...]
    class_names: tuple[str, ...]
    given_split: Mapping[str, Ints] | None
    weights: Floats | None
    source: str
    notes: tuple[str, ...] = ()
    dropped: int = 0
    formulas: tuple[Formula, ...] = ()
    target_formats: Mapping[str, NumberFormat] = field(default_factory=dict)

    def content_hash(self) -> str:
        """Return the SHA-256 of cells, targets and names in hexadecimal."""
        from pandas.util import hash_array, hash_pandas_object

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
        plain = set(plain_number_columns(self.frame, [column.name for column in self.columns]))
        for column in self.columns:
            cells = self.frame[column.name]
            hashes = (
                hash_array(cells.to_numpy())
                if column.name in plain
                else hash_pandas_object(cells, index=False).to_numpy()
            )
            digest.update(hashes.tobytes())
        digest.update(np.ascontiguousarray(self.y).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """A raw table after splitting and encoding.

    Attributes:
        rows: the row numbers of train, val and test.
        encoder: from columns to features, measured on the train split.
        input_features: from the encoded columns to features, if some are computed.
        scaler: the scaling of the features, measured on the train split.
        x_NF: the unscaled features of all rows.
        encoded_NR: the encoded columns of all rows: x_NF itself unless features are computed.
        report: observations about the table.
    """

    rows: Mapping[str, Ints]
    encoder: Encoder
    input_features: InputFeatures | None
    scaler: Scaler
    x_NF: Floats
    encoded_NR: Floats
    report: DataReport

"""Data passed from Python: hashed, and stored in the folder of its run.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import SPLITS, Ints
from mlplab.data.tabular.stored_columns import StoredColumn
from mlplab.errors import DamagedFileError
from mlplab.extras import require
from mlplab.io.files import load_weights, parse_json, save_weights
from mlplab.io.reading import RESTORE, reading

if TYPE_CHECKING:
    import pandas as pd

FILE = "data.safetensors"
MAX_STORED_BYTES = 64 << 20
WEIGHT = "sample_weight"
_FORMAT = "mlplab-data-1"


@dataclass(frozen=True, eq=False)
class InMemoryData:
    """The rows to learn from.

    Attributes:
        x_NF: the features, if they were passed as an array; else they are columns.
        columns: the columns of a data frame, the targets and the weights by name.
        targets: the names of the target columns; empty if the options of the dataset decide.
        split_sizes: the numbers of rows of train, val and test, in this order, if the splits were
            passed separately; else empty.
        has_weights: whether the column WEIGHT has the weights of the rows.
    """

    x_NF: np.ndarray | None
    columns: Mapping[str, StoredColumn]
    targets: tuple[str, ...] = ()
    split_sizes: tuple[int, ...] = ()
    has_weights: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features of an array: x1, x2, ..."""
        return () if self.x_NF is None else numbered("x", self.x_NF.shape[1])

    @property
    def given_split(self) -> dict[str, Ints] | None:
        """The row numbers of each split, if they were passed separately."""
        if not self.split_sizes:
            return None
        ends = np.cumsum(self.split_sizes)[:-1]
        return dict(zip(SPLITS, np.split(np.arange(sum(self.split_sizes)), ends), strict=True))

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of cells, types and names in hexadecimal."""
        digest = hashlib.sha256(self._header().encode())
        for values in self._arrays().values():
            digest.update(f"{values.dtype.str}{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @property
    def fits_in_a_folder(self) -> bool:
        """Whether the data is small enough to be stored with a run."""
        size = sum(values.nbytes for values in self._arrays().values()) + len(self._header())
        return size <= MAX_STORED_BYTES

    def frame(self) -> pd.DataFrame:
        """Return all columns. Raises MissingExtraError without pandas."""
        require("A data frame", "files", "pandas")
        import pandas as pd

        features = (
            {}
            if self.x_NF is None
            else {name: self.x_NF[:, i] for i, name in enumerate(self.feature_names)}
        )
        return pd.DataFrame(features | {name: c.to_series() for name, c in self.columns.items()})

    def save(self, path: Path) -> None:
        """Write the data as a safetensors file."""
        import torch

        tensors = {name: torch.from_numpy(values) for name, values in self._arrays().items()}
        save_weights(path, tensors, {"format": _FORMAT, "header": self._header()})

    @classmethod
    def load(cls, path: Path, sha256: str) -> InMemoryData:
        """Read what `save` wrote. Raises DamagedFileError, also for data with another hash."""
        with reading(path, RESTORE):
            tensors, metadata = load_weights(path)
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            header = parse_json(metadata["header"])
            columns = {
                name: StoredColumn(kind, arrays[f"columns/{i}"], tuple(strings))
                for i, (name, kind, strings) in enumerate(header["columns"])
            }
            data = cls(
                arrays.get("x"),
                columns,
                tuple(header["targets"]),
                tuple(header["split_sizes"]),
                header["has_weights"],
            )
            sound = data.sha256 == sha256
        if not sound:
            raise DamagedFileError(path, "the run was trained on other data", RESTORE)
        return data

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"columns/{i}": column.values for i, column in enumerate(self.columns.values())}
        return arrays if self.x_NF is None else {"x": self.x_NF, **arrays}

    def _header(self) -> str:
        columns = [(name, column.kind, column.strings) for name, column in self.columns.items()]
        return json.dumps(
            {
                "columns": columns,
                "targets": self.targets,
                "split_sizes": self.split_sizes,
                "has_weights": self.has_weights,
            }
        )


def numbered(letter: str, count: int) -> tuple[str, ...]:
    """Return the names x1, x2, ... of unnamed columns."""
    return tuple(f"{letter}{i + 1}" for i in range(count))

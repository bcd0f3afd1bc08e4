"""dataset=arrays: data passed from Python to mlplab.fit.

Shapes: N rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mlplab.data.table import Dataset, Table
from mlplab.data.tabular.cell_errors import check_numbers, refuse_missing_cells
from mlplab.data.tabular.columns import CATEGORY
from mlplab.data.tabular.in_memory import FILE, MAX_STORED_BYTES, WEIGHT, InMemoryData
from mlplab.data.tabular.roles import check_weights
from mlplab.data.tabular.table_options import BY_RANK, TabularDataset
from mlplab.data.tabular.targets import encode_targets
from mlplab.errors import DataError
from mlplab.schema import rules, text

if TYPE_CHECKING:
    from mlplab.data.tabular.raw_table import RawTable

_ARRAY_KEYS = {*rules(Dataset), "task", "report"}


@dataclass(frozen=True, kw_only=True)
class Arrays(TabularDataset):
    """Arrays, tensors or data frames passed from Python: mlplab.fit(X, y). Columns are treated like
    those of dataset=file.
    """

    data_hash: str | None = text(None, "SHA-256 of the data, which mlplab.fit sets", optional=True)
    source: InMemoryData | Path | None = field(default=None, repr=False, compare=False)
    """The data, or the folder of the run that stores it; no key of the configuration."""

    def stored_in(self, folder: Path) -> Self:
        return replace(self, source=folder)

    def save(self, folder: Path) -> None:
        data = self.data()
        if data.fits_in_a_folder:
            data.save(folder / FILE)

    def data(self) -> InMemoryData:
        """Return the data. Raises DataError if there is none, and DamagedFileError."""
        if isinstance(self.source, InMemoryData):
            return self.source
        if self.source is None or self.data_hash is None:
            raise DataError(
                "dataset=arrays is for data passed from Python: mlplab.fit(X, y). On the command"
                " line, dataset=file dataset.path=... reads a table from a file."
            )
        path = self.source / FILE
        if not path.is_file():
            raise DataError(
                f"{path} does not exist; data of more than {MAX_STORED_BYTES >> 20} MiB is not"
                " stored with a run. Pass the same data again:"
                f" mlplab.fit(X, y, resume='{self.source}') resumes the run."
            )
        return InMemoryData.load(path, self.data_hash)

    def make(self, rng: np.random.Generator) -> Table | RawTable:  # type: ignore[override]
        """Return arrays as they are, and the columns of a data frame before they are encoded.

        Arrays, too, become columns if an option needs columns, such as `missing` or `categories`.
        """
        data = self.data()
        defaults = Arrays()
        is_complete = data.x_NF is not None and not np.isnan(data.x_NF).any()
        needs_columns = self.scaling in BY_RANK or any(
            getattr(self, key) != getattr(defaults, key)
            for key in rules(TabularDataset)
            if key not in _ARRAY_KEYS and not (key == "missing" and is_complete)
        )
        if data.x_NF is not None and not needs_columns:
            return self._table(data, data.x_NF.astype(np.float64))
        from mlplab.data.tabular.table_builder import build_table

        if data.targets and self.target is not None:
            raise DataError("y is passed, so dataset.target must not name a target: leave out one.")
        categories = [name for name, column in data.columns.items() if column.kind == CATEGORY]
        dataset = replace(
            self,
            target=data.targets or self.target,
            categories=[*self.categories, *categories],
            weight_column=WEIGHT if data.has_weights else self.weight_column,
        )
        return build_table(dataset, data.frame(), "X", data.given_split)

    def _table(self, data: InMemoryData, x_NF: np.ndarray) -> Table:
        for values_N, name in zip(x_NF.T, data.feature_names, strict=True):
            refuse_missing_cells(np.isnan(values_N), name, "X")
            check_numbers(values_N, name, "X")
        columns = {name: data.columns[name] for name in data.targets}
        y, task, class_names = encode_targets(columns, self.task, "X")
        weights = None
        if data.has_weights:
            weights = data.columns[WEIGHT].as_numbers(WEIGHT)
            check_weights(weights, weights, WEIGHT)
        return Table(
            x_NF, y, task, data.feature_names, data.targets, class_names, data.given_split, weights
        )


def with_data(dataset: Dataset, data: InMemoryData) -> Arrays:
    """Return the dataset of a run that learns from the data. Raises DataError if it is for other
    data.
    """
    if not isinstance(dataset, Arrays):
        raise DataError(
            "mlplab.fit trains on X and y, but the dataset of the overrides or of the folder is"
            f" {type(dataset).__name__}: leave dataset=... out, or use mlplab.run."
        )
    if dataset.data_hash != data.sha256:
        raise DataError(
            "This is not the data that the run was trained on: its SHA-256 begins with"
            f" {data.sha256[:12]}, and that of the run with {(dataset.data_hash or 'none')[:12]}."
        )
    return replace(dataset, source=data)

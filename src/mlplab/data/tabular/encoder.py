"""Encode the columns of a table as numbers: impute, expand categories, split dates into fields.

Statistics are measured on the train split only. Only plain numbers
and strings are kept, so that an encoder can be stored as JSON and applied without scikit-learn.
Shapes: N rows, F encoded features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlplab.data.table import DataFrame, Floats, Series
from mlplab.data.tabular.columns import (
    CATEGORY,
    DATE,
    NUMBER,
    Column,
    check_numbers,
    refuse_cells,
    refuse_empty_cells,
)
from mlplab.data.tabular.csv import release_unused_memory
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError

MISSING_CATEGORY = "(missing)"
OTHER = "(other)"
DATE_FIELDS = ("year", "month", "day", "day_of_week", "hour")
MAX_QUANTILES = 1000

_STORED_KEYS = {"words": "categories", "parts": "date_fields"}
"""Stored key -> attribute, where the names differ."""


@dataclass(frozen=True)
class ColumnEncoder:
    """The features that one column becomes, and the statistics measured for them.

    Attributes:
        name: the name of the column.
        kind: number, boolean, category or date.
        fill: the replacement for a missing number; None if missing cells are refused.
        indicator: whether a further feature is 1 if the cell was missing.
        categories: the categories seen in training.
        ordinal: whether a category becomes one number instead of one feature per category.
        date_fields: the fields of a date that become features, of DATE_FIELDS.
        quantiles: for numbers scaled by rank, the values at evenly spaced ranks [Q].
        date_medians: for dates with imputation, the median of each field in `date_fields`; stored
            under the key `quantiles`.
        spare: the number of trailing features that are always 0, so that the folds of a
            cross-validation, which see different categories, have equal shapes.
    """

    name: str
    kind: str
    fill: float | None = None
    indicator: bool = False
    categories: tuple[str, ...] = ()
    ordinal: bool = False
    date_fields: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    date_medians: tuple[float, ...] = ()
    spare: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the encoded features."""
        names = [self.name]
        if self.kind == CATEGORY and not self.ordinal:
            names = [f"{self.name}={category}" for category in (*self.categories, OTHER)]
        elif self.kind == DATE:
            names = [f"{self.name}.{date_field}" for date_field in self.date_fields]
        names += [f"{self.name} missing"] * self.indicator
        return (*names, *(f"{self.name} (unused {i + 1})" for i in range(self.spare)))

    @property
    def scaled(self) -> list[bool]:
        """Whether each feature is a quantity to be scaled; zeros and ones stay."""
        is_quantity = {NUMBER: not self.quantiles, DATE: True, CATEGORY: self.ordinal}
        num_other = self.indicator + self.spare
        num_values = len(self.features) - num_other
        return [is_quantity.get(self.kind, False)] * num_values + [False] * num_other

    def apply(self, values: Series, source: str) -> Floats:
        """Return the features [N, F] of a column.

        Raises DataError for cells that are not numbers and for missing cells that training refused.
        """
        encoders = {CATEGORY: self._encode_categories, DATE: self._encode_dates}
        features_NF, missing_N = encoders.get(self.kind, self._encode_numbers)(values, source)
        if self.fill is None:
            refuse_missing_cells(missing_N, self.name, source)
        if self.indicator:
            features_NF = np.column_stack([features_NF, missing_N])
        return np.pad(features_NF, ((0, 0), (0, self.spare))) if self.spare else features_NF

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file, without loss of precision."""
        return {
            "name": self.name,
            "kind": self.kind,
            "fill": self.fill,
            "indicator": self.indicator,
            "words": list(self.categories),
            "ordinal": self.ordinal,
            "parts": list(self.date_fields),
            "quantiles": list(self.date_medians if self.kind == DATE else self.quantiles),
            **({"spare": self.spare} if self.spare else {}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> ColumnEncoder:
        """Return the encoder that `to_dict` described."""
        fields: dict[str, Any] = {
            _STORED_KEYS.get(key, key): tuple(value) if isinstance(value, list) else value
            for key, value in stored.items()
        }
        if fields.get("kind") == DATE:
            fields["date_medians"] = fields.pop("quantiles", ())
        return cls(**fields)

    def _encode_numbers(self, values: Series, source: str) -> tuple[Floats, np.ndarray]:
        numbers = parse_numbers(values, source)
        check_numbers(numbers, self.name, source)
        missing_N = np.isnan(numbers)
        filled = np.where(missing_N, self.fill if self.fill is not None else 0.0, numbers)
        if self.quantiles:
            filled = _ranks(filled, np.array(self.quantiles))
        return filled[:, None], missing_N

    def _encode_categories(self, values: Series, source: str) -> tuple[Floats, np.ndarray]:
        missing_N = values.isna().to_numpy() & (MISSING_CATEGORY not in self.categories)
        code_N = (
            values.map(category_text, na_action="ignore")
            .astype(object)  # a categorical column does not take further categories
            .fillna(MISSING_CATEGORY)
            .map({category: i for i, category in enumerate(self.categories)})
            .fillna(len(self.categories))
            .to_numpy(np.int64)
        )
        encoded = code_N[:, None] if self.ordinal else np.eye(len(self.categories) + 1)[code_N]
        return np.asarray(encoded, np.float64), missing_N

    def _encode_dates(self, values: Series, source: str) -> tuple[Floats, np.ndarray]:
        import pandas as pd

        moments = pd.to_datetime(values, errors="coerce")
        missing_N = moments.isna().to_numpy()
        date_NF = np.stack(
            [
                getattr(moments.dt, date_field).to_numpy(np.float64, na_value=np.nan)
                for date_field in self.date_fields
            ],
            1,
        )
        return np.where(missing_N[:, None], self.date_medians or 0.0, date_NF), missing_N


def refuse_missing_cells(missing_N: np.ndarray, name: str, source: str) -> None:
    """Raise DataError if a cell of a feature column is empty."""
    refuse_empty_cells(
        missing_N,
        f"{source}, column '{name}'",
        "dataset.missing=impute fills them in, dataset.missing=drop leaves the rows out, and"
        f" dataset.ignore=[{name}] leaves the column out.",
    )


def category_text(value: object) -> str:
    """Return a category as a string; 3.0 and 3 are the same category."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def parse_numbers(values: Series, source: str) -> Floats:
    """Return cells as float64 [N], NaN if empty. Raises DataError if one is not a number."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
    numbers = pd.to_numeric(
        values.map(lambda v: float(v) if isinstance(v, bool) else v), errors="coerce"
    ).to_numpy(np.float64, na_value=np.nan)
    where = f"{source}, column '{values.name}'"
    refuse_cells(np.isnan(numbers) & values.notna().to_numpy(), values, where, "a number")
    return np.asarray(numbers, np.float64)


def _ranks(values_N: Floats, quantiles_Q: Floats) -> Floats:
    """Return the rank of each value among the quantiles, from 0 to 1.

    Equal quantiles give the middle of their ranks, as in scikit-learn's QuantileTransformer.
    """
    ranks_Q = np.linspace(0, 1, len(quantiles_Q))
    upper_N = np.interp(values_N, quantiles_Q, ranks_Q)
    lower_N = np.interp(-values_N, -quantiles_Q[::-1], -ranks_Q[::-1])
    return np.asarray(0.5 * (upper_N - lower_N))


@dataclass(frozen=True)
class Encoder:
    """The encoders of all columns of a table, in order."""

    columns: tuple[ColumnEncoder, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.features)

    def apply(self, frame: DataFrame, source: str = "the data", consume: bool = False) -> Floats:
        """Return the unscaled features of a frame, float64 [N, F].

        Args:
            frame: the rows, with at least the columns of the encoder.
            source: the name of the file, for messages.
            consume: whether to remove each column from the frame once it is encoded, so that a
                large table is not held in memory twice.

        Raises:
            DataError: if a column is missing, or a cell that training would have refused occurs.
        """
        absent = [column.name for column in self.columns if column.name not in frame.columns]
        if absent:
            raise DataError(
                f"{source} lacks the column(s) {', '.join(absent)}; it has"
                f" {', '.join(map(str, frame.columns[:30]))}."
            )
        encoded_NF = np.empty((len(frame), len(self.feature_names)))
        start = 0
        for column in self.columns:
            values = column.apply(frame.pop(column.name) if consume else frame[column.name], source)
            encoded_NF[:, start : start + values.shape[1]] = values
            start += values.shape[1]
            if consume:
                release_unused_memory()
        return encoded_NF

    def numeric(self) -> np.ndarray:
        """Return which features are quantities to be scaled, bool [F]; zeros and ones stay."""
        return np.array([scaled for column in self.columns for scaled in column.scaled], bool)

    def to_dict(self) -> list[dict[str, object]]:
        """Return plain values for a JSON file, without loss of precision."""
        return [column.to_dict() for column in self.columns]

    @classmethod
    def from_dict(cls, stored: Sequence[Mapping[str, object]]) -> Encoder:
        """Return the encoder that `to_dict` described."""
        return cls(tuple(ColumnEncoder.from_dict(column) for column in stored))


def pad_to_same_width(encoders: Sequence[Encoder]) -> list[Encoder]:
    """Pad encoders of the same columns, fitted on different rows, to equal numbers of features."""
    widths = [
        max(len(column.features) for column in columns)
        for columns in zip(*(encoder.columns for encoder in encoders), strict=True)
    ]
    return [
        Encoder(
            tuple(
                replace(column, spare=width - len(column.features))
                for column, width in zip(encoder.columns, widths, strict=True)
            )
        )
        for encoder in encoders
    ]


def fit_encoder(
    frame: DataFrame,
    train: np.ndarray,
    columns: Sequence[Column],
    dataset: TabularDataset,
    seed: int,
) -> Encoder:
    """Fit the encoder of each column on the train rows.

    Args:
        frame: all rows.
        train: the row numbers of the train split.
        columns: the feature columns and their kinds.
        dataset: how missing cells, categories and quantiles are encoded.
        seed: the seed of the subsample that quantiles are estimated on.

    Raises:
        DataError: if a column has no value in the train split, or a cell is not a number.
    """
    return Encoder(
        tuple(
            _fit_column(frame[column.name].iloc[train], column, dataset, seed) for column in columns
        )
    )


def _fit_column(
    values: Series, column: Column, dataset: TabularDataset, seed: int
) -> ColumnEncoder:
    impute = dataset.missing == "impute"
    has_missing = impute and bool(values.isna().any())
    if column.kind == CATEGORY:
        categories = sorted({category_text(value) for value in values.dropna().unique()})
        return ColumnEncoder(
            column.name,
            CATEGORY,
            0.0 if impute else None,
            False,
            (*categories, MISSING_CATEGORY) if has_missing else tuple(categories),
            dataset.encode == "ordinal",
        )
    if column.kind == DATE:
        return _fit_dates(values, column.name, impute, has_missing)
    numbers = parse_numbers(values, "the train split")
    if np.isnan(numbers).all():
        raise DataError(
            f"The column '{column.name}' has no value at all in the train split: leave it out"
            f" (dataset.ignore=[{column.name}])."
        )
    fill = float(np.nanmedian(numbers)) if impute else None
    by_rank = dataset.scaling == "quantile" and column.kind == NUMBER
    return ColumnEncoder(
        column.name,
        column.kind,
        fill,
        has_missing,
        quantiles=_fit_quantiles(numbers, fill, seed) if by_rank else (),
    )


def _fit_quantiles(numbers: Floats, fill: float | None, seed: int) -> tuple[float, ...]:
    from sklearn.preprocessing import QuantileTransformer

    filled = np.where(np.isnan(numbers), fill if fill is not None else 0.0, numbers)
    fitted = QuantileTransformer(
        n_quantiles=min(MAX_QUANTILES, len(numbers)), random_state=seed % 2**32
    ).fit(filled[:, None])
    return tuple(map(float, fitted.quantiles_[:, 0]))


def _fit_dates(values: Series, name: str, impute: bool, has_missing: bool) -> ColumnEncoder:
    """Take the date fields that vary in the train rows, with their medians for missing dates."""
    import pandas as pd

    moments = pd.to_datetime(values, errors="coerce")
    date_fields = [key for key in DATE_FIELDS if getattr(moments.dt, key).nunique() > 1] or ["year"]
    medians = tuple(float(getattr(moments.dt, date_field).median()) for date_field in date_fields)
    return ColumnEncoder(
        name,
        DATE,
        0.0 if impute else None,
        has_missing,
        date_fields=tuple(date_fields),
        date_medians=medians if impute else (),
    )

"""Encode the columns of a table as numbers: impute, expand categories, split dates into fields.

Statistics are measured on the train split only, by scikit-learn's transformers. Only plain numbers
and strings are kept, so that an encoder can be stored as JSON and applied without scikit-learn.
Shapes: N rows, F encoded features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.table import Floats
from mlplab.data.tabular.columns import (
    BOOLEAN,
    CATEGORY,
    DATE,
    NUMBER,
    Column,
    check_numbers,
    refuse_cells,
)
from mlplab.data.tabular.csv import release_unused_memory
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

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
        if self.kind == CATEGORY:
            names = (
                (self.name,)
                if self.ordinal
                else tuple(f"{self.name}={category}" for category in (*self.categories, OTHER))
            )
        elif self.kind == DATE:
            names = tuple(f"{self.name}.{date_field}" for date_field in self.date_fields)
        else:
            names = (self.name,)
        names = (*names, f"{self.name} missing") if self.indicator else names
        return (*names, *(f"{self.name} (unused {i + 1})" for i in range(self.spare)))

    def apply(self, values: pd.Series, source: str) -> Floats:
        """Return the features [N, F] of a column.

        Raises DataError for cells that are not numbers and for missing cells that training refused.
        """
        features_NF = self._encode(values, source)
        return np.pad(features_NF, ((0, 0), (0, self.spare))) if self.spare else features_NF

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file, without loss of precision."""
        stored: dict[str, object] = {
            "name": self.name,
            "kind": self.kind,
            "fill": self.fill,
            "indicator": self.indicator,
            "words": list(self.categories),
            "ordinal": self.ordinal,
            "parts": list(self.date_fields),
            "quantiles": list(self.date_medians if self.kind == DATE else self.quantiles),
        }
        return {**stored, "spare": self.spare} if self.spare else stored

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

    def _encode(self, values: pd.Series, source: str) -> Floats:
        if self.kind == CATEGORY:
            return self._encode_categories(values, source)
        if self.kind == DATE:
            return self._encode_dates(values, source)
        numbers = parse_numbers(values, source)
        check_numbers(numbers, self.name, source)
        missing = np.isnan(numbers)
        if missing.any() and self.fill is None:
            raise DataError(missing_cells_message(self.name, missing, source))
        filled = np.where(missing, self.fill if self.fill is not None else 0.0, numbers)
        if self.quantiles:
            filled = _ranks(filled, np.array(self.quantiles))
        return np.asarray(
            (
                np.stack([filled, missing.astype(np.float64)], 1)
                if self.indicator
                else filled[:, None]
            ),
            np.float64,
        )

    def _encode_categories(self, values: pd.Series, source: str) -> Floats:
        missing = values.isna().to_numpy()
        if missing.any() and MISSING_CATEGORY not in self.categories and self.fill is None:
            raise DataError(missing_cells_message(self.name, missing, source))
        strings = values.map(category_text, na_action="ignore").astype(object)
        code_N = (
            strings.fillna(MISSING_CATEGORY)
            .map({category: i for i, category in enumerate(self.categories)})
            .fillna(len(self.categories))
            .to_numpy(np.int64)
        )
        if self.ordinal:
            return np.asarray(code_N[:, None], np.float64)
        return np.asarray(np.eye(len(self.categories) + 1)[code_N], np.float64)

    def _encode_dates(self, values: pd.Series, source: str) -> Floats:
        import pandas as pd

        moments = pd.to_datetime(values, errors="coerce")
        missing = moments.isna().to_numpy()
        if missing.any() and self.fill is None:
            raise DataError(missing_cells_message(self.name, missing, source))
        medians = self.date_medians or (0.0,) * len(self.date_fields)
        columns = [
            np.where(
                missing,
                median,
                getattr(moments.dt, date_field).to_numpy(np.float64, na_value=np.nan),
            )
            for date_field, median in zip(self.date_fields, medians, strict=True)
        ]
        if self.indicator:
            columns.append(missing.astype(np.float64))
        stacked: Floats = np.stack(columns, 1)
        return stacked


def missing_cells_message(name: str, missing: np.ndarray, source: str) -> str:
    """Return the error message for a column with missing cells."""
    return (
        f"{source}, column '{name}', row {int(missing.argmax()) + 1}: the cell is empty"
        f" ({int(missing.sum())} of {len(missing)} cells are). dataset.missing=impute fills them"
        " in, dataset.missing=drop leaves the rows out, and"
        f" dataset.ignore=[{name}] leaves the column out."
    )


def category_text(value: object) -> str:
    """Return a category as a string; 3.0 and 3 are the same category."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def parse_numbers(values: pd.Series, source: str) -> Floats:
    """Return cells as float64 [N], NaN if empty. Raises DataError if one is not a number."""
    import pandas as pd
    from pandas.api import types

    if types.is_numeric_dtype(values) or types.is_bool_dtype(values):
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
    numbers = pd.to_numeric(
        values.map(lambda v: float(v) if isinstance(v, bool) else v), errors="coerce"
    ).to_numpy(np.float64, na_value=np.nan)
    wrong_N = np.isnan(numbers) & values.notna().to_numpy()
    refuse_cells(wrong_N, values, f"{source}, column '{values.name}'", "a number")
    return np.asarray(numbers, np.float64)


def _ranks(values_N: Floats, quantiles_Q: Floats) -> Floats:
    """Return the rank of each value among the quantiles, from 0 to 1.

    Equal quantiles give the middle of their ranks, as in scikit-learn's QuantileTransformer.
    """
    ranks_Q = np.linspace(0, 1, len(quantiles_Q))
    upper_N = np.interp(values_N, quantiles_Q, ranks_Q)
    lower_N = np.interp(-values_N, -quantiles_Q[::-1], -ranks_Q[::-1])
    ranks_N: Floats = 0.5 * (upper_N - lower_N)
    return ranks_N


@dataclass(frozen=True)
class Encoder:
    """The encoders of all columns of a table, in order."""

    columns: tuple[ColumnEncoder, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.features)

    def apply(self, frame: pd.DataFrame, source: str = "the data", consume: bool = False) -> Floats:
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
        is_numeric = []
        for column in self.columns:
            num_values = len(column.features) - column.indicator - column.spare
            scaled = (
                (column.kind == NUMBER and not column.quantiles)
                or column.kind == DATE
                or (column.kind == CATEGORY and column.ordinal)
            )
            is_numeric += [scaled] * num_values + [False] * (column.indicator + column.spare)
        return np.array(is_numeric, dtype=bool)

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
    frame: pd.DataFrame,
    train: np.ndarray,
    columns: Sequence[Column],
    missing: str,
    encode: str,
    scaling: str,
    seed: int,
) -> Encoder:
    """Fit the encoder of each column on the train rows.

    Args:
        frame: all rows.
        train: the row numbers of the train split.
        columns: the feature columns and their kinds.
        missing: how missing cells are treated: refuse, drop (they are gone already) or impute.
        encode: how categories are encoded: onehot or ordinal.
        scaling: the configured scaling; quantile fits the quantiles of numbers here.
        seed: the seed of the subsample that quantiles are estimated on.

    Raises:
        DataError: if a column has no value in the train split, or a cell is not a number.
    """
    return Encoder(
        tuple(
            _fit_column(frame[column.name].iloc[train], column, missing, encode, scaling, seed)
            for column in columns
        )
    )


def _fit_column(
    values: pd.Series, column: Column, missing: str, encode: str, scaling: str, seed: int
) -> ColumnEncoder:
    impute = missing == "impute"
    has_missing = impute and bool(values.isna().any())
    if column.kind == CATEGORY:
        categories = sorted({category_text(value) for value in values.dropna().unique()})
        return ColumnEncoder(
            column.name,
            CATEGORY,
            0.0 if impute else None,
            False,
            (*categories, MISSING_CATEGORY) if has_missing else tuple(categories),
            encode == "ordinal",
        )
    if column.kind == DATE:
        return _fit_dates(values, column.name, impute, has_missing)
    numbers = parse_numbers(values, "the train split")
    if np.isnan(numbers).all():
        raise DataError(
            f"The column '{column.name}' has no value at all in the train split: leave it out"
            f" (dataset.ignore=[{column.name}])."
        )
    fill = _median(numbers) if impute else None
    quantiles: tuple[float, ...] = ()
    if scaling == "quantile" and column.kind == NUMBER:
        filled = np.where(np.isnan(numbers), fill if fill is not None else 0.0, numbers)
        quantiles = _fit_quantiles(filled, seed)
    kind = BOOLEAN if column.kind == BOOLEAN else NUMBER
    return ColumnEncoder(column.name, kind, fill, has_missing, quantiles=quantiles)


def _median(numbers: Floats) -> float:
    from sklearn.impute import SimpleImputer

    return float(SimpleImputer(strategy="median").fit(numbers[:, None]).statistics_[0])


def _fit_quantiles(numbers: Floats, seed: int) -> tuple[float, ...]:
    from sklearn.preprocessing import QuantileTransformer

    fitted = QuantileTransformer(
        n_quantiles=min(MAX_QUANTILES, len(numbers)), random_state=seed % 2**32
    ).fit(numbers[:, None])
    return tuple(map(float, fitted.quantiles_[:, 0]))


def _fit_dates(values: pd.Series, name: str, impute: bool, has_missing: bool) -> ColumnEncoder:
    """Take the date fields that vary in the train rows, with their medians for missing dates."""
    import pandas as pd

    moments = pd.to_datetime(values, errors="coerce")
    varying = [key for key in DATE_FIELDS if getattr(moments.dt, key).nunique() > 1]
    date_fields = varying or ["year"]
    medians = tuple(float(getattr(moments.dt, date_field).median()) for date_field in date_fields)
    return ColumnEncoder(
        name,
        DATE,
        0.0 if impute else None,
        has_missing,
        date_fields=tuple(date_fields),
        date_medians=medians if impute else (),
    )

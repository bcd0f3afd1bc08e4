"""From the columns of a table to numbers, as measured on the train part alone: imputed, categories
spelled out, dates in parts.

What is measured comes from scikit-learn's transformers; what is kept is plain numbers and words, so
that it can be stored as JSON and applied without scikit-learn. Shapes: N rows, F encoded features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.table import Floats
from mlplab.data.tabular.columns import CATEGORY, DATE, FLAG, NUMBER, Column, check_numbers
from mlplab.data.tabular.csv import release
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING_CATEGORY = "(missing)"
OTHER = "(other)"
DATE_FIELDS = ("year", "month", "day", "day_of_week", "hour")
QUANTILES = 1000


@dataclass(frozen=True)
class ColumnEncoder:
    """One column's part: which features it becomes and what was measured for that.

    fill: what a missing number is replaced by; None where none are allowed. indicator: whether a
    feature says that it was missing. words: the categories met in training. quantiles: the values
    at evenly spaced ranks, where the scaling is by rank. spare: features that are always 0, so that
    the folds of a cross-validation, which meet different words, have equal shapes.
    """

    name: str
    kind: str
    fill: float | None = None
    indicator: bool = False
    words: tuple[str, ...] = ()
    ordinal: bool = False
    parts: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    spare: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the encoded features."""
        if self.kind == CATEGORY:
            own = (
                (self.name,)
                if self.ordinal
                else tuple(f"{self.name}={word}" for word in (*self.words, OTHER))
            )
        elif self.kind == DATE:
            own = tuple(f"{self.name}.{part}" for part in self.parts)
        else:
            own = (self.name,)
        own = (*own, f"{self.name} missing") if self.indicator else own
        return (*own, *(f"{self.name} (unused {i + 1})" for i in range(self.spare)))

    def apply(self, values: pd.Series, source: str) -> Floats:
        """The features [N, F] of a column. Raises DataError for what was not seen to be possible in
        training.
        """
        found = self._own(values, source)
        return np.pad(found, ((0, 0), (0, self.spare))) if self.spare else found

    def _own(self, values: pd.Series, source: str) -> Floats:
        if self.kind == CATEGORY:
            return self._categories(values, source)
        if self.kind == DATE:
            return self._dates(values, source)
        numbers = parse_numbers(values, source)
        check_numbers(numbers, self.name, source)
        missing = np.isnan(numbers)
        if missing.any() and self.fill is None:
            raise DataError(missing_text(self.name, missing, source))
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

    def _categories(self, values: pd.Series, source: str) -> Floats:
        missing = values.isna().to_numpy()
        if missing.any() and MISSING_CATEGORY not in self.words and self.fill is None:
            raise DataError(missing_text(self.name, missing, source))
        texts = values.map(category_text, na_action="ignore").fillna(MISSING_CATEGORY)
        place = (
            texts.map({word: i for i, word in enumerate(self.words)})
            .fillna(len(self.words))
            .to_numpy(np.int64)
        )
        if self.ordinal:
            return np.asarray(place[:, None], np.float64)
        return np.asarray(np.eye(len(self.words) + 1)[place], np.float64)

    def _dates(self, values: pd.Series, source: str) -> Floats:
        import pandas as pd

        moments = pd.to_datetime(values, errors="coerce")
        missing = moments.isna().to_numpy()
        if missing.any() and self.fill is None:
            raise DataError(missing_text(self.name, missing, source))
        columns = []
        for i, part in enumerate(self.parts):
            numbers = getattr(moments.dt, part).to_numpy(np.float64, na_value=np.nan)
            columns.append(np.where(missing, self.quantiles[i] if self.quantiles else 0.0, numbers))
        if self.indicator:
            columns.append(missing.astype(np.float64))
        stacked: Floats = np.stack(columns, 1)
        return stacked


def missing_text(name: str, missing: np.ndarray, source: str) -> str:
    """The refusal of missing cells."""
    return (
        f"{source}, column '{name}', row {int(missing.argmax()) + 1}: the cell is empty;"
        f" {int(missing.sum())} of {len(missing)} are. dataset.missing=impute fills them in,"
        f" dataset.missing=drop leaves the rows out, dataset.ignore=[{name}] the column."
    )


def category_text(value: Any) -> str:
    """A category as text: 3.0 and 3 are one."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def parse_numbers(values: pd.Series, source: str) -> Floats:
    """Cells as float64 [N], empty ones as NaN. Raises DataError at a cell that is not a number."""
    import pandas as pd
    from pandas.api import types

    if types.is_numeric_dtype(values) or types.is_bool_dtype(values):
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
    found = pd.to_numeric(
        values.map(lambda v: float(v) if isinstance(v, bool) else v), errors="coerce"
    ).to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(found) & values.notna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{source}, column '{values.name}', row {row + 1}: '{values.iloc[row]}' is no number;"
            f" {int(wrong.sum())} such cell(s)."
        )
    return np.asarray(found, np.float64)


def _ranks(values: Floats, quantiles: Floats) -> Floats:
    """Where values lie among the quantiles, from 0 to 1; of equal quantiles the middle one, as
    scikit-learn has it.
    """
    ranks = np.linspace(0, 1, len(quantiles))
    found: Floats = 0.5 * (
        np.interp(values, quantiles, ranks) - np.interp(-values, -quantiles[::-1], -ranks[::-1])
    )
    return found


@dataclass(frozen=True)
class Encoder:
    """All columns of a table, in their order."""

    columns: tuple[ColumnEncoder, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.features)

    def apply(self, frame: pd.DataFrame, source: str = "the data", consume: bool = False) -> Floats:
        """float64 [N, F], unscaled. Raises DataError for missing columns, and for cells that
        training would have refused.

        `consume` takes each column out of the frame once it is encoded: a large table is then there
        once, not twice.
        """
        absent = [column.name for column in self.columns if column.name not in frame.columns]
        if absent:
            raise DataError(
                f"{source} lacks the column(s) {', '.join(absent)}; it has"
                f" {', '.join(map(str, frame.columns[:30]))}."
            )
        out = np.empty((len(frame), len(self.feature_names)))
        at = 0
        for column in self.columns:
            values = column.apply(frame.pop(column.name) if consume else frame[column.name], source)
            out[:, at : at + values.shape[1]] = values
            at += values.shape[1]
            if consume:
                release()
        return out

    def numeric(self) -> np.ndarray:
        """Which features are measured quantities, to be scaled: bool [F]. Ones and zeros stay as
        they are.
        """
        kinds = []
        for column in self.columns:
            own = len(column.features) - column.indicator - column.spare
            scaled = (
                (column.kind == NUMBER and not column.quantiles)
                or column.kind == DATE
                or (column.kind == CATEGORY and column.ordinal)
            )
            kinds += [scaled] * own + [False] * (column.indicator + column.spare)
        return np.array(kinds, dtype=bool)

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values, exact."""
        return [
            {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in vars(column).items()
                if key != "spare" or value
            }
            for column in self.columns
        ]

    @classmethod
    def from_dict(cls, stored: Sequence[Mapping[str, Any]]) -> Encoder:
        """The inverse of `to_dict`."""
        columns = []
        for column in stored:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in column.items()
            }
            columns.append(ColumnEncoder(**fields))
        return cls(tuple(columns))


def pad_to_same_width(encoders: Sequence[Encoder]) -> list[Encoder]:
    """Encoders of the same columns, measured on different rows, with as many features each, column
    by column.
    """
    widest = [
        max(len(column.features) for column in columns)
        for columns in zip(*(e.columns for e in encoders), strict=True)
    ]
    return [
        Encoder(
            tuple(
                replace(c, spare=width - len(c.features))
                for c, width in zip(encoder.columns, widest, strict=True)
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
    """Measure each column on the rows with the numbers `train`. `missing` is refuse, drop (then
    there are none left) or impute; `encode` is onehot or ordinal.
    """
    return Encoder(
        tuple(
            _fitted(frame[column.name].iloc[train], column, missing, encode, scaling, seed)
            for column in columns
        )
    )


def _fitted(
    values: pd.Series, column: Column, missing: str, encode: str, scaling: str, seed: int
) -> ColumnEncoder:
    impute = missing == "impute"
    has_missing = impute and bool(values.isna().any())
    if column.kind == CATEGORY:
        words = sorted({category_text(value) for value in values.dropna().unique()})
        return ColumnEncoder(
            column.name,
            CATEGORY,
            0.0 if impute else None,
            False,
            (*words, MISSING_CATEGORY) if has_missing else tuple(words),
            encode == "ordinal",
        )
    if column.kind == DATE:
        return _fitted_dates(values, column.name, impute, has_missing)
    numbers = parse_numbers(values, "the train part")
    known = numbers[~np.isnan(numbers)]
    if len(known) == 0:
        raise DataError(
            f"The column '{column.name}' has no value at all in the train part: leave it out"
            f" (dataset.ignore=[{column.name}])."
        )
    fill = float(_imputer_statistic(numbers)) if impute else None
    quantiles: tuple[float, ...] = ()
    if scaling == "quantile" and column.kind == NUMBER:
        filled = np.where(np.isnan(numbers), fill if fill is not None else 0.0, numbers)
        quantiles = _quantiles(filled, seed)
    return ColumnEncoder(
        column.name, FLAG if column.kind == FLAG else NUMBER, fill, has_missing, quantiles=quantiles
    )


def _imputer_statistic(numbers: Floats) -> float:
    from sklearn.impute import SimpleImputer

    return float(SimpleImputer(strategy="median").fit(numbers[:, None]).statistics_[0])


def _quantiles(numbers: Floats, seed: int) -> tuple[float, ...]:
    from sklearn.preprocessing import QuantileTransformer

    fitted = QuantileTransformer(
        n_quantiles=min(QUANTILES, len(numbers)), random_state=seed % 2**32
    ).fit(numbers[:, None])
    return tuple(map(float, fitted.quantiles_[:, 0]))


def _fitted_dates(values: pd.Series, name: str, impute: bool, has_missing: bool) -> ColumnEncoder:
    """The parts that vary in the train rows, each with its median for missing dates."""
    import pandas as pd

    moments = pd.to_datetime(values, errors="coerce")
    parts = [part for part in DATE_FIELDS if getattr(moments.dt, part).nunique() > 1] or ["year"]
    medians = tuple(float(getattr(moments.dt, part).median()) for part in parts)
    return ColumnEncoder(
        name,
        DATE,
        0.0 if impute else None,
        has_missing,
        parts=tuple(parts),
        quantiles=medians if impute else (),
    )

"""Encode one column of a table as numbers: impute, expand categories, split dates into fields.

Only plain numbers and strings are kept, so that an encoder can be stored as JSON and applied
without scikit-learn. Shapes: N rows, F encoded features, V features without the indicator, C
categories, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlplab.data import feature_groups
from mlplab.data.feature_groups import FeatureGroup
from mlplab.data.table import Cells, Floats, Series
from mlplab.data.tabular.cell_errors import check_numbers, first_row, refuse_missing_cells
from mlplab.data.tabular.cells import (
    category_codes,
    category_text,
    is_missing,
    map_cells,
    parse_date_fields,
    parse_dates,
)
from mlplab.data.tabular.columns import BOOLEAN, CATEGORY, DATE, NUMBER, parse_quantities
from mlplab.data.tabular.number_formats import NumberFormat
from mlplab.data.tabular.ranks import by_rank, rank_values

MISSING_CATEGORY = "(missing)"
OTHER_CATEGORY = "(other)"
"""Stands for rare categories (dataset.min_frequency), and for those that training did not see."""

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
        neutral: the features of a category that training did not see: their means over the train
            rows, so that it moves the prediction neither way, or those of the category "(other)"
            if there is one.
        outputs: the length of the vector that the network learns for each category; 0 if it takes
            the features themselves.
        date_format: how dates are written; None is ISO 8601.
        date_fields: the fields of a date that become features, of DATE_FIELDS.
        quantiles: for numbers scaled by rank, the values at evenly spaced ranks [Q].
        normal: whether ranks become quantiles of the normal distribution.
        date_medians: for dates with imputation, the median of each field in `date_fields`; stored
            under the key `quantiles`.
        number_format: how the numbers are written; None if plainly.
        low, high: the range of the numbers, or of the years of the dates, in the train rows.
        spare: the number of trailing features that are always 0, so that the folds of a
            cross-validation, which see different categories, have equal shapes.
    """

    name: str
    kind: str
    fill: float | None = None
    indicator: bool = False
    categories: tuple[str, ...] = ()
    ordinal: bool = False
    neutral: tuple[float, ...] = ()
    outputs: int = 0
    date_format: str | None = None
    date_fields: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    normal: bool = False
    date_medians: tuple[float, ...] = ()
    spare: int = 0
    low: float | None = None
    high: float | None = None
    number_format: NumberFormat | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the encoded features."""
        names = [self.name]
        if self.kind == CATEGORY and not self.ordinal:
            names = [f"{self.name}={category}" for category in self.categories]
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

    @property
    def groups(self) -> list[FeatureGroup]:
        """The groups of the features; numbers and fields of dates are numbers, and the features of
        a category that the network embeds are one group.
        """
        if self.outputs:
            size = len(self.features)
            return [FeatureGroup(feature_groups.CATEGORY, size, self.outputs)]
        num_other = self.indicator + self.spare
        num_values = len(self.features) - num_other
        is_number = self.kind in (NUMBER, DATE)
        kind = feature_groups.NUMBER if is_number else feature_groups.OTHER
        return [FeatureGroup(kind)] * num_values + [FeatureGroup(feature_groups.OTHER)] * num_other

    @cached_property
    def num_features(self) -> int:
        """The number of encoded features."""
        return len(self.features)

    @cached_property
    def _codes(self) -> dict[str, int]:
        """The index of each category, by all ways to write it."""
        return category_codes(self.categories)

    def apply(self, values: Cells, source: str) -> Floats:
        """Return the features [N, F] of a column.

        Raises DataError for cells that are not numbers and for missing cells that training refused.
        """
        features_NV, missing_N = self._encode(values, f"{source}, column '{self.name}'", source)
        if self.fill is None:
            refuse_missing_cells(missing_N, self.name, source, first_row(values))
        if not self.indicator and not self.spare:
            return features_NV
        num_values = features_NV.shape[1]
        features_NF = np.zeros((len(features_NV), num_values + self.indicator + self.spare))
        features_NF[:, :num_values] = features_NV
        if self.indicator:
            features_NF[:, num_values] = missing_N
        return features_NF

    def unfamiliar(self, values: Series) -> dict[str, Series]:
        """Return the cells of a column that training has not seen the like of, by description.

        These are unknown categories, empty cells, and values outside the range of the train rows.
        `values` must be cells that `apply` accepts.
        """
        present = values.dropna()
        cells = {"filled in because they are empty": values[values.isna()]}
        if self.kind == CATEGORY:
            known_N = present.map(category_text).isin(self._codes)
            rare = ", or saw too rarely" if OTHER_CATEGORY in self.categories else ""
            unknown = f"of a category that training did not see{rare}"
            cells[unknown] = present[~known_N.to_numpy(bool)]
            if MISSING_CATEGORY in self.categories:
                del cells["filled in because they are empty"]
        elif (
            self.kind != BOOLEAN and self.low is not None and self.high is not None and len(present)
        ):
            if self.kind == DATE:
                numbers_N = parse_dates(present, self.name, self.date_format).dt.year.to_numpy()
            else:
                numbers_N = parse_quantities(present, NUMBER, self.name, self.number_format)
            outside_N = (numbers_N < self.low) | (numbers_N > self.high)
            low, high = (f"{limit:.6g}" for limit in (self.low, self.high))
            unit = "years " if self.kind == DATE else ""
            cells[f"outside the range of the training, {unit}{low} to {high}"] = present[outside_N]
        return {description: series for description, series in cells.items() if len(series)}

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
            "neutral": list(self.neutral),
            "date_format": self.date_format,
            "range": None if self.low is None else [self.low, self.high],
            **({"outputs": self.outputs} if self.outputs else {}),
            **({"spare": self.spare} if self.spare else {}),
            **({"normal": True} if self.normal else {}),
            **({"number_format": self.number_format.to_dict()} if self.number_format else {}),
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
        if fields.get("number_format"):
            fields["number_format"] = NumberFormat.from_dict(fields["number_format"])
        fields["low"], fields["high"] = fields.pop("range") or (None, None)
        return cls(**fields)

    def _encode(self, values: Cells, where: str, source: str) -> tuple[Floats, np.ndarray]:
        """Return the features [N, V] without the indicator, and which cells are missing [N]."""
        if self.kind == CATEGORY:
            return self._encode_categories(values)
        if self.kind == DATE:
            fields_NV, missing_N = parse_date_fields(
                values, self.date_fields, where, self.date_format
            )
            if np.count_nonzero(missing_N):
                fields_NV[missing_N] = self.date_medians or 0.0
            return fields_NV, missing_N
        numbers_N = parse_quantities(values, self.kind, where, self.number_format)
        check_numbers(numbers_N, self.name, source, first_row(values))
        missing_N = np.isnan(numbers_N)
        if np.count_nonzero(missing_N):
            numbers_N = np.where(missing_N, self.fill if self.fill is not None else 0.0, numbers_N)
        if self.quantiles:
            numbers_N = by_rank(numbers_N, *self._ranking)
        return numbers_N[:, None], missing_N

    @cached_property
    def _ranking(self) -> tuple[Floats, Floats]:
        """The quantiles and what they become, [Q]."""
        return np.array(self.quantiles), rank_values(len(self.quantiles), self.normal)

    def _encode_categories(self, values: Cells) -> tuple[Floats, np.ndarray]:
        code_N = np.array(map_cells(values, self._code), np.int64)
        # the last column is 1 for an unknown or missing category
        one_hot_NC = np.zeros((len(code_N), len(self.categories) + 1))
        one_hot_NC[np.arange(len(code_N)), code_N] = 1.0
        is_other_N, features_NV = one_hot_NC[:, -1] == 1.0, one_hot_NC[:, :-1]
        if self.ordinal:
            features_NV = code_N[:, None].astype(np.float64)
        if np.count_nonzero(is_other_N):
            features_NV[is_other_N] = self.neutral
        return features_NV, code_N < 0

    def _code(self, cell: object) -> int:
        """The index of a category; one behind them if it is unknown, -1 if it is missing and no
        category stands for that.
        """
        if type(cell) is str and cell in self._codes:  # written as one of the usual spellings
            return self._codes[cell]
        if is_missing(cell):
            return self._codes.get(MISSING_CATEGORY, -1)
        return self._codes.get(category_text(cell), len(self.categories))

"""Measure the encoders of the columns of a table on its train split.

Shapes: N rows, C categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from mlplab.data.table import DataFrame, Floats, Series
from mlplab.data.tabular.cells import DATE_FIELDS, category_text, parse_dates
from mlplab.data.tabular.column_encoder import MISSING_CATEGORY, OTHER_CATEGORY, ColumnEncoder
from mlplab.data.tabular.columns import CATEGORY, DATE, NUMBER, Column, parse_quantities
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.number_columns import batches, plain_number_columns, statistics
from mlplab.data.tabular.number_formats import NumberFormat
from mlplab.data.tabular.table_options import BY_RANK, TabularDataset
from mlplab.errors import DataError

MAX_QUANTILES = 1000
MIN_QUANTILES, ROWS_A_QUANTILE = 10, 30
"""Of scaling=normal."""


def fit_encoder(
    frame: DataFrame,
    train: np.ndarray,
    columns: Sequence[Column],
    dataset: TabularDataset,
    seed: int,
    target_formats: Mapping[str, NumberFormat] = MappingProxyType({}),
) -> Encoder:
    """Fit the encoder of each column on the train rows.

    Args:
        frame: all rows.
        train: the row numbers of the train split.
        columns: the feature columns and their kinds.
        dataset: how missing cells, categories and quantiles are encoded.
        seed: the seed of the subsample that quantiles are estimated on.
        target_formats: how the numbers of targets were written that were not plain.

    Raises:
        DataError: if a column has no value in the train split, or a cell is not a number.
    """
    fitted = {} if dataset.scaling in BY_RANK else _fit_numbers(frame, train, columns, dataset)
    return Encoder(
        tuple(
            fitted[column.name]
            if column.name in fitted
            else _fit_column(frame[column.name].iloc[train], column, dataset, seed)
            for column in columns
        ),
        tuple(dataset.markers),
        dict(target_formats),
        dict(dataset.column_markers),
    )


def _fit_numbers(
    frame: DataFrame, train: np.ndarray, columns: Sequence[Column], dataset: TabularDataset
) -> dict[str, ColumnEncoder]:
    """Fit the encoders of the columns of plain numbers that have a value in the train split, as
    `_fit_column` does, many at once.
    """
    impute = dataset.missing == "impute"
    numbers = {column.name: column for column in columns if column.kind == NUMBER}
    return {
        name: ColumnEncoder(
            name,
            NUMBER,
            stats.median if impute else None,
            impute and stats.missing > 0,
            low=stats.low,
            high=stats.high,
            number_format=numbers[name].number_format,
        )
        for batch, x_NF in batches(frame, plain_number_columns(frame, list(numbers)))
        for name, stats in zip(batch, statistics(x_NF[train]), strict=True)
        if stats.distinct
    }


def _fit_column(
    values: Series, column: Column, dataset: TabularDataset, seed: int
) -> ColumnEncoder:
    impute = dataset.missing == "impute"
    has_missing = impute and bool(values.isna().any())
    if column.kind == CATEGORY:
        return _fit_categories(values, column.name, dataset)
    if column.kind == DATE:
        return _fit_dates(values, column.name, dataset.date_format, impute, has_missing)
    where = f"the train split, column '{column.name}'"
    numbers = parse_quantities(values, column.kind, where)
    if np.isnan(numbers).all():
        raise DataError(
            f"The column '{column.name}' has no value at all in the train split: leave it out"
            f" (dataset.ignore=[{column.name}])."
        )
    fill = float(np.nanmedian(numbers)) if impute else None
    by_rank = dataset.scaling in BY_RANK and column.kind == NUMBER
    normal = dataset.scaling == "normal"
    return ColumnEncoder(
        column.name,
        column.kind,
        fill,
        has_missing,
        quantiles=_fit_quantiles(numbers, fill, seed, normal) if by_rank else (),
        normal=by_rank and normal,
        low=float(np.nanmin(numbers)),
        high=float(np.nanmax(numbers)),
        number_format=column.number_format,
    )


def _fit_categories(values: Series, name: str, dataset: TabularDataset) -> ColumnEncoder:
    impute = dataset.missing == "impute"
    texts = values.map(category_text, na_action="ignore").astype(object)
    seen = sorted(set(texts.dropna()))
    if impute and values.isna().any():
        seen.append(MISSING_CATEGORY)
        texts = texts.fillna(MISSING_CATEGORY)
    rows_of = texts.value_counts()
    categories = [c for c in seen if rows_of[c] >= (dataset.min_frequency or 1)]
    shares_C = np.array([rows_of[c] for c in categories], np.float64) / rows_of.sum()
    if len(categories) < len(seen):
        categories.append(OTHER_CATEGORY)
        shares_C = np.eye(len(categories))[-1]
    ordinal = dataset.encode == "ordinal"
    neutral = (
        (float(shares_C @ np.arange(len(categories))),) if ordinal else tuple(shares_C.tolist())
    )
    embeds = dataset.encode == "embed" or (
        dataset.encode == "auto" and len(categories) > dataset.max_onehot
    )
    return ColumnEncoder(
        name,
        CATEGORY,
        0.0 if impute else None,
        categories=tuple(categories),
        ordinal=ordinal,
        neutral=neutral,
        outputs=dataset.embedding_size if embeds else 0,
    )


def _fit_quantiles(
    numbers: Floats, fill: float | None, seed: int, normal: bool
) -> tuple[float, ...]:
    """Measure the quantiles; for normal ones about 30 rows apart, as Gorishniy et al. 2021
    ("Revisiting Deep Learning Models for Tabular Data") have them.
    """
    from sklearn.preprocessing import QuantileTransformer

    filled = np.where(np.isnan(numbers), fill if fill is not None else 0.0, numbers)
    num_wanted = max(len(numbers) // ROWS_A_QUANTILE, MIN_QUANTILES) if normal else MAX_QUANTILES
    fitted = QuantileTransformer(
        n_quantiles=min(MAX_QUANTILES, len(numbers), num_wanted), random_state=seed % 2**32
    ).fit(filled[:, None])
    return tuple(map(float, fitted.quantiles_[:, 0]))


def _fit_dates(
    values: Series, name: str, date_format: str | None, impute: bool, has_missing: bool
) -> ColumnEncoder:
    """Take the date fields that vary in the train rows, with their medians for missing dates."""
    moments = parse_dates(values, f"the train split, column '{name}'", date_format)
    date_fields = [key for key in DATE_FIELDS if getattr(moments.dt, key).nunique() > 1] or ["year"]
    medians = tuple(float(getattr(moments.dt, date_field).median()) for date_field in date_fields)
    return ColumnEncoder(
        name,
        DATE,
        0.0 if impute else None,
        has_missing,
        date_format=date_format,
        date_fields=tuple(date_fields),
        date_medians=medians if impute else (),
        low=float(moments.dt.year.min()),
        high=float(moments.dt.year.max()),
    )


def pad_to_same_width(encoders: Sequence[Encoder]) -> list[Encoder]:
    """Pad encoders of the same columns, fitted on different rows, to equal numbers of features. A
    category that the network embeds in one of them is embedded in all.
    """
    folds_of = list(zip(*(encoder.columns for encoder in encoders), strict=True))
    widths = [max(len(column.features) for column in columns) for columns in folds_of]
    outputs = [max(column.outputs for column in columns) for columns in folds_of]
    return [
        replace(
            encoder,
            columns=tuple(
                replace(column, spare=width - len(column.features), outputs=size)
                for column, width, size in zip(encoder.columns, widths, outputs, strict=True)
            ),
        )
        for encoder in encoders
    ]

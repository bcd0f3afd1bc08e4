"""The features that are computed from the columns of a table with mixed kinds of columns.

Shapes: N rows, R encoded columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.data.input_features import COLUMN, Formula, InputFeatures, resolve
from mlplab.data.table import DataFrame, Floats
from mlplab.data.tabular.columns import NUMBER, Column
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.table_options import BY_RANK, TabularDataset
from mlplab.errors import DataError


def requested_formulas(
    dataset: TabularDataset, frame: DataFrame, reserved: Sequence[str], source: str
) -> list[Formula] | None:
    """Return the features of dataset.features; None if it is not set.

    Raises DataError for a name that is neither a column nor computed from columns that are
    features.
    """
    if not dataset.features:
        return None
    columns = [name for name in frame if name not in (*reserved, *dataset.ignore)]
    numbers = list(frame[columns].select_dtypes("number"))
    return [
        Formula(name, COLUMN, (name,))
        if name in frame.columns
        else resolve(name, columns, source, numbers)
        for name in dataset.features
    ]


def operand_columns(formulas: Sequence[Formula] | None) -> list[str] | None:
    """Return the columns that the features need, each once; None for all."""
    if formulas is None:
        return None
    return list(dict.fromkeys(name for formula in formulas for name in formula.operands))


def check_operands(
    formulas: Sequence[Formula] | None,
    columns: Sequence[Column],
    dataset: TabularDataset,
    source: str,
) -> None:
    """Raise DataError if a feature is computed from a column that is not of numbers, or by rank."""
    kinds = {column.name: column.kind for column in columns}
    for formula in formulas or ():
        if formula.function == COLUMN:
            continue
        for name in formula.operands:
            if kinds[name] != NUMBER:
                raise DataError(
                    f"{source}: the feature '{formula.name}' is computed from the column '{name}',"
                    f" which is a {kinds[name]}; only columns of numbers have computed features."
                    f" Leave '{formula.name}' out of dataset.features."
                )
        if dataset.scaling in BY_RANK:
            raise DataError(
                f"{source}: the feature '{formula.name}' is computed from numbers, but"
                f" dataset.scaling={dataset.scaling} turns columns into ranks first. Set"
                " dataset.scaling=standard."
            )


def features_of_encoded(
    formulas: Sequence[Formula], encoder: Encoder, train_NR: Floats
) -> InputFeatures:
    """Return the map from encoded columns to features, in the order of the formulas.

    A column that is a feature itself becomes all features of its encoder, one for each category,
    for example; a computed feature uses the number, filled in where its cell is missing.
    """
    encoded = {column.name: column.features for column in encoder.columns}
    expanded = []
    for formula in formulas:
        if formula.function == COLUMN:
            names = encoded.get(formula.operands[0], ())  # none if ignored or reserved
            expanded += [Formula(name, COLUMN, (name,)) for name in names]
        else:
            operands = tuple(encoded[name][0] for name in formula.operands)
            expanded.append(Formula(formula.name, formula.function, operands))
    return InputFeatures.of(expanded, encoder.feature_names, train_NR)

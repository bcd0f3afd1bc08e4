"""The features of a network, computed from the columns of a table: powers, functions, products.

A feature is a column, or is named after what it is computed from, in letters that need no quotes on
the command line: x1_squared, x1_cubed, sin_x1, x1_x2. The functions are fixed; nothing is
evaluated. Features are computed before scaling, so that the scaler is fitted on them.

Shapes: N rows, R columns, F features.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlplab.errors import DataError

Floats = NDArray[np.float64]

COLUMN, PRODUCT = "column", "product"
SUFFIXES: Mapping[str, Callable[[Floats], Floats]] = {
    "squared": np.square,
    "cubed": lambda values: values * values * values,
}
PREFIXES: Mapping[str, Callable[[Floats], Floats]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
}
FUNCTIONS = {**SUFFIXES, **PREFIXES}
DOMAINS = {"log": "numbers above 0", "sqrt": "numbers from 0 up", "exp": "numbers below 709"}
"""What the functions take that are not defined, or not finite, everywhere."""

SEPARATORS = ("_", "__")
"""Between a function and a column, or two columns; the second one if the first is ambiguous."""

EXAMPLES = ", ".join(
    [
        *(f"x1_{name}" for name in SUFFIXES),
        *(f"{name}_x1" for name in PREFIXES),
        "x1_x2 (the product)",
    ]
)
_MAX_SUGGESTED_PRODUCTS = 40  # columns up to which products are among the near misses


@dataclass(frozen=True)
class Formula:
    """One feature: its name, a function of SUFFIXES or PREFIXES, `column` or `product`, and the
    names of its columns.
    """

    name: str
    function: str
    operands: tuple[str, ...]


def resolve(
    name: str, columns: Sequence[str], source: str, numbers: Sequence[str] | None = None
) -> Formula:
    """Return what a name of dataset.features stands for.

    A column of that name comes first. Columns whose names need quotes may be written with `_` in
    place of what is neither a letter nor a digit.

    Args:
        name: the name of the feature.
        columns: the columns that it may be computed from.
        source: where the columns come from, for messages.
        numbers: the columns of numbers, from which a near miss is proposed; None for all.

    Raises:
        DataError: if it stands for nothing, with the nearest name, or for more than one thing.
    """
    if name in columns:
        return Formula(name, COLUMN, (name,))
    spelled = _spellings(columns)
    if name in spelled:
        return Formula(spelled[name], COLUMN, (spelled[name],))
    readings = list(_readings(name, spelled))
    explicit = [r for r in readings if f"{r.function}__" in name or f"__{r.function}" in name]
    if len(explicit) == 1:  # a product with a column named like the function can be written x1_sin
        return explicit[0]
    if len(readings) > 1:
        shown = " or ".join(f"{r.function} of {' and '.join(r.operands)}" for r in readings)
        raise DataError(
            f"dataset.features: '{name}' may be {shown}. Write __ between a function and a column,"
            " or between two columns, to say which."
        )
    if not readings:
        raise DataError(_unknown(name, columns if numbers is None else numbers, source))
    return readings[0]


def _spellings(columns: Sequence[str]) -> dict[str, str]:
    """Return the column that each spelling stands for; a spelling of two columns is left out."""
    short = [re.sub(r"\W+", "_", column).strip("_") for column in columns]
    unique = {s: c for s, c in zip(short, columns, strict=True) if s and short.count(s) == 1}
    return unique | {column: column for column in columns}


def _readings(name: str, spelled: Mapping[str, str]) -> Iterable[Formula]:
    for separator in SEPARATORS:
        for function in SUFFIXES:
            column = name.removesuffix(separator + function)
            if column != name and column in spelled:
                yield Formula(name, function, (spelled[column],))
        for function in PREFIXES:
            column = name.removeprefix(function + separator)
            if column != name and column in spelled:
                yield Formula(name, function, (spelled[column],))
        for match in re.finditer(f"(?={separator})", name):
            left, right = name[: match.start()], name[match.start() + len(separator) :]
            if left in spelled and right in spelled:
                yield Formula(name, PRODUCT, (spelled[left], spelled[right]))


def _is_clear(name: str, spelled: Mapping[str, str]) -> bool:
    return name in spelled or len(list(_readings(name, spelled))) == 1


def _unknown(name: str, columns: Sequence[str], source: str) -> str:
    spelled = _spellings(columns)
    candidates = [
        *columns,
        *(f"{column}_{function}" for column in spelled for function in SUFFIXES),
        *(f"{function}_{column}" for column in spelled for function in PREFIXES),
    ]
    if len(columns) <= _MAX_SUGGESTED_PRODUCTS:
        candidates += [f"{a}_{b}" for a in spelled for b in spelled]
    lowered = {candidate.lower(): candidate for candidate in reversed(candidates)}
    similar = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    near = [n for n in map(lowered.__getitem__, similar) if _is_clear(n, spelled)]
    hint = f" Did you mean '{near[0]}'?" if near else ""
    more = f" and {len(columns) - 30} more" if len(columns) > 30 else ""
    return (
        f"dataset.features: {source} has no column '{name}', and it is not computed from one."
        f"{hint} Columns of numbers: {', '.join(columns[:30])}{more}. Computed from columns x1 and"
        f" x2: {EXAMPLES}."
    )


@dataclass(frozen=True)
class InputFeatures:
    """The map from columns [N, R] to features [N, F].

    Attributes:
        columns: the names of the columns [R].
        feature_names: the names of the features [F].
        formulas: the function and the indices of the columns of each feature [F].
        ranges: the lowest and the highest value of each column in the train split [R, 2].
    """

    columns: tuple[str, ...]
    feature_names: tuple[str, ...]
    formulas: tuple[tuple[str, tuple[int, ...]], ...]
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def of(
        cls, formulas: Sequence[Formula], columns: Sequence[str], train_NR: Floats
    ) -> InputFeatures:
        """Return the map of these formulas, and measure the ranges on the train rows [N, R]."""
        index_of = {column: i for i, column in enumerate(columns)}
        return cls(
            tuple(columns),
            tuple(formula.name for formula in formulas),
            tuple((f.function, tuple(index_of[name] for name in f.operands)) for f in formulas),
            tuple(zip(train_NR.min(0).tolist(), train_NR.max(0).tolist(), strict=True)),
        )

    def restricted(self) -> list[bool]:
        """Return for each column whether a function is not defined for all its values, [R]."""
        operands = {
            i for function, operands in self.formulas if function in DOMAINS for i in operands
        }
        return [i in operands for i in range(len(self.columns))]

    def values(self, columns_NR: Floats) -> Floats:
        """Return the features, float64 [N, F]; NaN or infinite where a function is not defined."""
        features_NF = np.empty((len(columns_NR), len(self.feature_names)))
        with np.errstate(all="ignore"):
            for i, (function, operands) in enumerate(self.formulas):
                first = columns_NR[:, operands[0]]
                if function == PRODUCT:
                    features_NF[:, i] = first * columns_NR[:, operands[1]]
                elif function == COLUMN:
                    features_NF[:, i] = first
                else:
                    features_NF[:, i] = FUNCTIONS[function](first)
        return features_NF

    def apply(self, columns_NR: Floats, source: str, first_row: int = 0) -> Floats:
        """Return the features, float64 [N, F].

        Raises DataError, with the row counted from `first_row`, if one is not a finite number.
        """
        features_NF = self.values(columns_NR)
        if not np.isfinite(features_NF).all():
            row, feature = np.argwhere(~np.isfinite(features_NF))[0]
            function, operands = self.formulas[feature]
            taken = DOMAINS.get(function, "numbers whose result a float64 can represent")
            values = " and ".join(
                f"{self.columns[i]} = {columns_NR[row, i]:.6g}" for i in dict.fromkeys(operands)
            )
            raise DataError(
                f"{source}, row {first_row + row}: the feature '{self.feature_names[feature]}' of"
                f" {values} is not a finite number; {function} takes {taken}. Leave it out of"
                " dataset.features."
            )
        return features_NF

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file; the names of the features are stored elsewhere."""
        return {"columns": self.columns, "formulas": self.formulas, "ranges": self.ranges}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], names: Sequence[str]) -> InputFeatures:
        """Return the map that `to_dict` described. Raises ValueError if it contradicts itself."""
        formulas = tuple((str(f), tuple(map(int, operands))) for f, operands in stored["formulas"])
        parsed = cls(
            tuple(map(str, stored["columns"])),
            tuple(names),
            formulas,
            tuple((float(low), float(high)) for low, high in stored["ranges"]),
        )
        sizes = {COLUMN: 1, PRODUCT: 2} | dict.fromkeys(FUNCTIONS, 1)
        num_columns = len(parsed.columns)
        if (
            len(formulas) != len(names)
            or len(parsed.ranges) != num_columns
            or any(
                len(operands) != sizes.get(function)
                or not all(0 <= operand < num_columns for operand in operands)
                for function, operands in formulas
            )
        ):
            raise ValueError("its input features are not computed from its columns")
        return parsed

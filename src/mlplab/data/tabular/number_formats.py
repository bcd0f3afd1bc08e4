"""Recognize columns whose numbers are written for people: 1,234.50, 1.234,50, $5, 12 % and (3).

A column has a format if all of its cells fit it. The format is stored with the encoder, so that a
cell means the same number in training, evaluation, prediction and export.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from mlplab.data.table import Cells, Series
from mlplab.data.tabular.cells import map_numbers, plain_number

CURRENCIES = ("$", "€", "£", "¥", "₩", "₹", "₽", "₺", "₪", "₫", "₴", "฿", "R$", "CHF", "kr", "zł")
_CODES = ("USD", "EUR", "GBP", "JPY", "KRW", "CNY", "INR", "CAD", "AUD", "BRL", "SEK", "PLN")
_SPACES = " \u00a0\u202f\u2009"
"""The space and the no-break, narrow no-break and thin spaces, which all separate thousands."""
_MINUS = "\u2212\u2013-"
SEPARATORS = {",": "comma", ".": "point", " ": "space", "'": "apostrophe"}
"""Separator of thousands -> its name."""
_PAIRS = (
    *((",", "."), (" ", "."), ("'", "."), ("", ".")),
    *((".", ","), (" ", ","), ("'", ","), ("", ",")),
)
"""Separator of thousands and decimal sign, in the order in which they are tried."""
_UNIT = "|".join(map(re.escape, sorted((*CURRENCIES, *_CODES), key=len, reverse=True)))
_EITHER_NOTATION = re.compile(r"[+-]?(\d{1,3}([.,]\d{3})+|\d+)([.,]\d+)?")
_MAX_TRIED = 20
"""As many cells are tried before all are."""


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written.

    Attributes:
        thousands: the separator of thousands, or an empty string.
        decimal: the decimal sign.
        currency: the sign or the code of the currency, or an empty string.
        percent: whether a percent sign follows; 5 % is the number 5.
    """

    thousands: str = ""
    decimal: str = "."
    currency: str = ""
    percent: bool = False

    @property
    def has_unit(self) -> bool:
        """Whether the numbers are amounts or percentages, and so not the codes of classes."""
        return bool(self.currency) or self.percent

    def __str__(self) -> str:
        cell = f"1{self.thousands}234{self.decimal}5"
        return f"{self.currency}{cell}{'%' if self.percent else ''}"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        separator = {" ": f"[{_SPACES}]", "'": "['\u2019]"}.get(
            self.thousands, re.escape(self.thousands)
        )
        groups = rf"[1-9]\d{{0,2}}(?:{separator}\d{{3}})+|" if self.thousands else ""
        space, exponent = f"[{_SPACES}]*", "" if self.thousands else r"(?:[eE][+-]?\d+)?"
        decimal = re.escape(self.decimal)
        number = rf"(?:(?:{groups}0|[1-9]\d*)(?:{decimal}\d*)?|{decimal}\d+){exponent}"
        unit = f"(?:{re.escape(self.currency)})?" if self.currency else ""
        percent = "%?" if self.percent else ""
        sign = f"(?P<sign>[+{_MINUS}]?)"
        after = f"(?P<after>[{_MINUS}]?)"
        body = f"{space}(?P<number>{number}){space}"
        return re.compile(
            f"{space}(?P<open>[(]?){space}{sign}{space}{unit}{space}(?P<inner>[{_MINUS}]?)"
            f"{body}{unit}{percent}{space}{after}{space}(?P<close>[)]?){space}"
        )

    def value(self, cell: str) -> float | None:
        """Return the number that a cell stands for; None if it does not fit the format."""
        match = self._pattern.fullmatch(cell)
        if match is None:
            return None
        signs = [match[name] for name in ("sign", "inner", "after")]
        negative = [sign for sign in signs if sign and sign in _MINUS]
        if bool(match["open"]) != bool(match["close"]) or len(negative) + bool(match["open"]) > 1:
            return None
        digits = re.sub(f"[{_SPACES}'\u2019]", "", match["number"])
        if self.thousands in (",", "."):
            digits = digits.replace(self.thousands, "")
        number = float(digits.replace(self.decimal, "."))
        return -number if negative or match["open"] else number

    def description(self, cells: Sequence[str]) -> str:
        """Return a description for notes and reports: what these cells have."""
        phrases = []
        spaces = {" ": _SPACES, "'": "'\u2019"}.get(self.thousands, self.thousands)
        if any(re.search(rf"\d[{spaces}]\d", cell) for cell in cells if self.thousands):
            phrases.append(f"{SEPARATORS[self.thousands]}s between thousands")
        if self.decimal == ",":
            phrases.append("a decimal comma")
        if self.currency:
            phrases.append(f"the currency {self.currency}")
        if self.percent:
            phrases.append("a percent sign (5% is the number 5)")
        return " and ".join(phrases) or "signs such as \u2212 or parentheses"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> NumberFormat:
        """Return the format that `to_dict` described."""
        return cls(**stored)


@dataclass(frozen=True)
class Recognized:
    """A column of numbers that are not plain.

    Attributes:
        form: how they are written.
        description: what distinguishes them from plain numbers.
        example: a cell.
        other: the number that the cell would be with the other decimal sign, if all cells allow it.
    """

    form: NumberFormat
    description: str
    example: str
    other: float | None = None

    def note(self, column: str) -> str:
        """Return the sentence for the data report."""
        value = self.form.value(self.example)
        text = (
            f"column '{column}': numbers with {self.description}; '{self.example}' is {value:.15g}"
        )
        if self.other is not None:
            option = "none" if self.form.decimal == "." else "','"
            text += f" (dataset.thousands={option} reads it as {self.other:.15g})"
        return text


def recognize(
    values: Series, decimal: str = ".", thousands: str | None = None
) -> Recognized | None:
    """Return how the numbers of a column of strings are written; None if they are plain, or not all
    cells are numbers in one format.

    Args:
        values: the cells.
        decimal: the decimal sign of the file, which decides where both are possible.
        thousands: the only separator of thousands to consider; "none" considers none, and None all.
    """
    if values.dtype.kind in "biufcmM":
        return None
    present = values.dropna()
    if not len(present) or not all(isinstance(cell, str) for cell in present[:_MAX_TRIED]):
        return None
    # what else there is may have no hash
    present = present[present.map(lambda cell: isinstance(cell, str))]
    cells = present.unique()
    units = _units(cells[:_MAX_TRIED])
    if units is None or (all(map(_is_plain, cells)) and thousands is None):
        return None
    if len(present) < values.count() or (units := _units(cells)) is None:
        return None
    pairs = sorted(_PAIRS, key=lambda pair: pair[1] != decimal)
    if thousands is not None:
        wanted = "" if thousands == "none" else thousands
        pairs = [pair for pair in pairs if pair[0] == wanted]
    fitting = [form for pair in pairs if _fits(form := NumberFormat(*pair, *units), cells)]
    if not fitting or all(map(_is_plain, cells)):
        return None
    form = fitting[0]
    separated = [cell for cell in cells if re.search(r"\d[.,]\d", cell)]
    example = separated[0] if separated else next(c for c in cells if not _is_plain(c))
    others = [other for other in fitting if other.decimal != form.decimal]
    other = others[0].value(example) if others and thousands is None else None
    other = None if other == form.value(example) else other
    return Recognized(form, form.description(cells), example, other)


def _units(cells: Sequence[str]) -> tuple[str, bool] | None:
    """Return the currency of the cells and whether they are percentages; None if they cannot be
    numbers: a letter that is no unit, several currencies, or percentages among other numbers.
    """
    currencies: set[str] = set()
    percents = 0
    for cell in cells:
        currencies.update(re.findall(_UNIT, cell))
        percents += "%" in cell
        rest = re.sub(f"{_UNIT}|%", "", cell)
        if not re.search(r"\d", rest) or re.search(r"[^\d\s.,'\u2019()+eE" + _MINUS + "]", rest):
            return None
        if re.search(r"(^|\D)0\d", re.sub(r"(?<=\d)[.,]\d+", "", rest)):
            return None  # a code with a leading zero
    if len(currencies) > 1 or percents not in (0, len(cells)):
        return None
    return next(iter(currencies), ""), percents > 0


def _is_plain(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _fits(form: NumberFormat, cells: Iterable[str]) -> bool:
    return all(form.value(cell) is not None for cell in cells)


def mixed_notations(values: Series) -> tuple[str, str] | None:
    """Return two cells of a column of numbers of which some have a decimal comma and others a
    decimal point; None if there are none, or not all cells are such numbers.
    """
    if values.dtype.kind in "biufcmM":
        return None
    examples: dict[str, str] = {}
    for cell in values.dropna().unique():
        if not isinstance(cell, str) or not _EITHER_NOTATION.fullmatch(cell.strip()):
            return None
        if sign := re.sub(r"[^.,]", "", cell)[-1:]:
            examples.setdefault(sign, cell)
    return (examples[","], examples["."]) if len(examples) == 2 else None


def formatted_number(cell: object, form: NumberFormat) -> float | None:
    """Return the number that a cell stands for, a string in the format or a number; None if it is
    neither.
    """
    number = form.value(cell) if isinstance(cell, str) else None
    if number is None and (form.decimal == "." or not isinstance(cell, str)):
        return plain_number(cell)
    return number


def parse_formatted(values: Cells, form: NumberFormat) -> tuple[np.ndarray, list[int]]:
    """Return the numbers of cells, which are strings in the format or numbers, float64 [N], NaN if
    missing, and the rows of the cells that are neither.
    """
    return map_numbers(values, lambda cell: formatted_number(cell, form))

"""The base of every configurable component: a frozen dataclass whose fields are its schema.

A field declares its default, meaning and range. These are written to the component's YAML file,
checked when the component is built (from YAML or from Python), and printed by `mlplab list`. This
module imports only the standard library.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypedDict, Unpack

from mlplab.errors import FieldError

if TYPE_CHECKING:
    from torch import Tensor

Number: TypeAlias = "float | Tensor"
"""A hyperparameter: a float, or a float64 tensor [K, 1] if the members of a population differ."""

MAX_INTEGER = 1 << 53
"""The largest integer of a field: up to here, doubles and JSON readers have all integers."""


class Limits(TypedDict, total=False):
    """The limits that a helper below passes on to the Rule of its field."""

    above: float
    at_least: float
    below: float
    at_most: float
    literals: tuple[str, ...]
    optional: bool


@dataclass(frozen=True)
class Rule:
    """The kind, meaning and range of one field."""

    kind: str  # number, integer, flag, choice, text, numbers, any
    meaning: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    options: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()
    optional: bool = False
    varies: bool = False
    preset: bool = False  # the choice sets other fields, and acts through them only

    def range(self) -> str:
        """Return the range as text, such as "> 0", "in [0, 1)" or "one of: a, b".

        Empty if every value is allowed.
        """
        if self.options:
            return "one of: " + ", ".join(self.options)
        signs = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}
        limits = {
            sign: str(limit) if isinstance(limit, int) else f"{limit:g}"
            for name, sign in signs.items()
            if (limit := getattr(self, name)) is not None
        }
        text = " ".join(f"{sign} {limit}" for sign, limit in limits.items())
        if len(limits) == 2:
            left, right = "(" if ">" in limits else "[", ")" if "<" in limits else "]"
            text = f"in {left}{', '.join(limits.values())}{right}"
        allowed = [text, *self.literals, "null" if self.optional else ""]
        return ", or ".join(filter(None, allowed))


def _field(default: object, rule: Rule) -> Any:
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata={"rule": rule})
    return dataclasses.field(default=default, metadata={"rule": rule})


def number(
    default: float | None, meaning: str, *, varies: bool = True, **limits: Unpack[Limits]
) -> Any:
    """Declare a finite real number.

    Members of a population may have different values unless `varies=False`.
    """
    return _field(default, Rule("number", meaning, varies=varies, **limits))


def integer(
    default: int | None, meaning: str, *, varies: bool = False, **limits: Unpack[Limits]
) -> Any:
    """Declare an integer.

    Members of a population may have different values only if `varies=True`.
    """
    return _field(default, Rule("integer", meaning, varies=varies, **limits))


def flag(default: bool, meaning: str) -> Any:
    """Declare a boolean."""
    return _field(default, Rule("flag", meaning))


def choice(
    default: str | None, options: Sequence[str], meaning: str, **limits: Unpack[Limits]
) -> Any:
    """Declare a string that must be one of the options."""
    return _field(default, Rule("choice", meaning, options=tuple(options), **limits))


def preset(default: str, options: Sequence[str], meaning: str) -> Any:
    """Declare a choice that sets other fields of the component, and acts through them only."""
    return _field(default, Rule("choice", meaning, options=tuple(options), preset=True))


def text(default: str | None, meaning: str, *, optional: bool = False) -> Any:
    """Declare a string without restrictions."""
    return _field(default, Rule("text", meaning, optional=optional))


def numbers(default: list[float] | None, meaning: str, **limits: Unpack[Limits]) -> Any:
    """Declare a list of finite numbers, each within the limits.

    With `literals=`, one of these strings is accepted instead of a list.
    """
    return _field(default, Rule("numbers", meaning, **limits))


def anything(default: object, meaning: str) -> Any:
    """Declare a value that the component validates itself in `check`."""
    return _field(default, Rule("any", meaning))


def rules(component: type | Component) -> Mapping[str, Rule]:
    """Return the rule of each field by name, in the order of the class."""
    return _rules_of(component if isinstance(component, type) else type(component))


@functools.cache
def _rules_of(cls: type) -> Mapping[str, Rule]:
    return MappingProxyType(
        {
            field.name: field.metadata["rule"]
            for field in dataclasses.fields(cls)
            if "rule" in field.metadata
        }
    )


def meaning(documented: object) -> str:
    """Return the first paragraph of the docstring on one line, for `mlplab list` and YAML files."""
    paragraph = (documented.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split())


def further_paragraphs(documented: object) -> list[str]:
    """Return the paragraphs of the docstring after the first; formulas are indented."""
    return inspect.cleandoc(documented.__doc__ or "").split("\n\n")[1:]


def formula_lines(documented: object) -> list[str]:
    """Return the lines of the formula in a docstring, its second paragraph, if that is indented."""
    return [
        "   ".join(re.split(r"\s{3,}", line.strip()))
        for paragraph in further_paragraphs(documented)[:1]
        for line in paragraph.splitlines()
        if line.startswith("    ")
    ]


@dataclass(frozen=True)
class Component:
    """Base class of the components. The constructor validates every field."""

    eager_only: ClassVar[str] = ""
    """Why only the eager engine trains with the component, as a clause; empty if both engines do.
    """

    @classmethod
    def facts(cls) -> dict[str, str]:
        """What there is to know of the function of a component: heading -> value, which may be
        empty.
        """
        return {}

    def __post_init__(self) -> None:
        for key, rule in rules(self).items():
            check_value(key, getattr(self, key), rule)
        self.check()

    def check(self) -> None:
        """Raise FieldError if values contradict each other. Subclasses override this as needed."""


def check_value(key: str, value: object, rule: Rule) -> None:
    """Raise FieldError if the value violates the rule.

    Tensors are accepted: they are the stacked numbers of a population, which were checked before.
    """
    if value is None:
        if not rule.optional and rule.kind != "any":
            raise FieldError(key, value, "is missing")
    elif rule.kind in ("number", "integer"):
        if not _is_tensor(value) and not (isinstance(value, str) and value in rule.literals):
            _check_number(key, value, rule)
    elif rule.kind == "flag" and not isinstance(value, bool):
        raise FieldError(key, value, "is not true or false")
    elif rule.kind == "choice" and value not in rule.options:
        raise FieldError(key, value, "is not " + rule.range())
    elif rule.kind == "text" and not isinstance(value, str):
        raise FieldError(key, value, "is not a string")
    elif rule.kind == "numbers":
        _check_numbers(key, value, rule)


def _check_number(key: str, value: object, rule: Rule) -> None:
    is_integer = rule.kind == "integer"
    noun = "an integer" if is_integer else "a number"
    if isinstance(value, bool) or not isinstance(value, (int,) if is_integer else (int, float)):
        raise FieldError(
            key, value, f"is not {noun}" + (f" ({rule.range()})" if rule.range() else "")
        )
    if not math.isfinite(value):
        raise FieldError(key, value, "is not finite")
    if is_integer and abs(value) > MAX_INTEGER:
        raise FieldError(
            key, value, f"is out of range: an integer from {-MAX_INTEGER} to {MAX_INTEGER}"
        )
    if not (
        (rule.above is None or value > rule.above)
        and (rule.at_least is None or value >= rule.at_least)
        and (rule.below is None or value < rule.below)
        and (rule.at_most is None or value <= rule.at_most)
    ):
        raise FieldError(key, value, f"is out of range: {noun} {rule.range()}")


def _check_numbers(key: str, value: object, rule: Rule) -> None:
    if isinstance(value, str) and value in rule.literals:
        return
    if not isinstance(value, (list, tuple)):
        raise FieldError(
            key,
            value,
            "is not a list of numbers"
            + (f", or {', '.join(rule.literals)}" if rule.literals else ""),
        )
    for item in value:
        _check_number(
            key, item, dataclasses.replace(rule, kind="number", optional=False, literals=())
        )


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"

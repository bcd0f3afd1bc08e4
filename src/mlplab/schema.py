"""What every configurable part is: a frozen dataclass whose fields are its schema.

A field says its default, its meaning and its range; the same words stand in the YAML file of the
part, are checked when the part is built (from YAML or from Python), and are printed by `mlplab
list`. This module knows the standard library only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mlplab.errors import FieldError

if TYPE_CHECKING:
    from torch import Tensor

Number: TypeAlias = "float | Tensor"
"""A hyperparameter: a float, or a float64 tensor [K, 1] where the members of a population
differ.
"""


@dataclass(frozen=True)
class Rule:
    """The kind, meaning and range of one field."""

    kind: str  # number, integer, flag, choice, text, sequence, layers, part, any
    meaning: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    options: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    optional: bool = False
    varies: bool = False

    def range(self) -> str:
        """The range in words: "> 0", "in [0, 1)", "one of: a, b"; empty where anything goes."""
        if self.options:
            return "one of: " + ", ".join(self.options)
        low = self.above if self.above is not None else self.at_least
        high = self.below if self.below is not None else self.at_most
        if low is not None and high is not None:
            left, right = (
                "(" if self.above is not None else "[",
                ")" if self.below is not None else "]",
            )
            text = f"in {left}{_shown(low)}, {_shown(high)}{right}"
        elif low is not None:
            text = f"{'>' if self.above is not None else '>='} {_shown(low)}"
        elif high is not None:
            text = f"{'<' if self.below is not None else '<='} {_shown(high)}"
        else:
            text = ""
        allowed = [*self.words, *(["null"] if self.optional else [])]
        return ", or ".join([text, *allowed] if text else allowed)


def _shown(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _field(default: Any, rule: Rule) -> Any:
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata={"rule": rule})
    return dataclasses.field(default=default, metadata={"rule": rule})


def number(default: float | None, meaning: str, *, varies: bool = True, **limits: Any) -> Any:
    """A finite real number. Members of a population may differ in it unless `varies=False`."""
    return _field(default, Rule("number", meaning, varies=varies, **limits))


def integer(default: int | None, meaning: str, *, varies: bool = False, **limits: Any) -> Any:
    """A whole number. `varies=True` where members of a population may differ in it."""
    return _field(default, Rule("integer", meaning, varies=varies, **limits))


def flag(default: bool, meaning: str) -> Any:
    """True or false."""
    return _field(default, Rule("flag", meaning))


def choice(default: str | None, options: Sequence[str], meaning: str, **limits: Any) -> Any:
    """One word of a list."""
    return _field(default, Rule("choice", meaning, options=tuple(options), **limits))


def text(default: str | None, meaning: str, *, optional: bool = False) -> Any:
    """Any text."""
    return _field(default, Rule("text", meaning, optional=optional))


def numbers(default: list[float] | None, meaning: str, **limits: Any) -> Any:
    """A list of finite numbers, each within the limits; with `words=`, one of these words instead
    of the list.
    """
    return _field(default, Rule("numbers", meaning, **limits))


def anything(default: Any, meaning: str) -> Any:
    """A value that the part checks by itself in `check`."""
    return _field(default, Rule("any", meaning))


def rules(part: type | Component) -> dict[str, Rule]:
    """The rule of each field, in the order of the class."""
    return {f.name: f.metadata["rule"] for f in dataclasses.fields(part) if "rule" in f.metadata}


def meaning(documented: object) -> str:
    """The first paragraph of the docstring, on one line: what `mlplab list` and YAML files show."""
    paragraph = (documented.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split())


@dataclass(frozen=True)
class Component:
    """A configured part. Building one checks every field, so a part that exists is valid."""

    def __post_init__(self) -> None:
        for key, rule in rules(self).items():
            check_value(key, getattr(self, key), rule)
        self.check()

    def check(self) -> None:
        """Raise FieldError where values do not fit each other. A part overrides this where it needs
        to.
        """


def check_value(key: str, value: Any, rule: Rule) -> None:
    """Raise FieldError unless the value obeys the rule. Tensors, the stacked numbers of a
    population, were checked before.
    """
    if value is None:
        if not rule.optional and rule.kind != "any":
            raise FieldError(key, value, "is missing")
    elif rule.kind in ("number", "integer"):
        if not _is_tensor(value) and not (isinstance(value, str) and value in rule.words):
            _check_number(key, value, rule)
    elif rule.kind == "flag" and not isinstance(value, bool):
        raise FieldError(key, value, "is not true or false")
    elif rule.kind == "choice" and value not in rule.options:
        raise FieldError(key, value, "is not " + rule.range())
    elif rule.kind == "text" and not isinstance(value, str):
        raise FieldError(key, value, "is not a text")
    elif rule.kind == "numbers":
        _check_numbers(key, value, rule)


def _check_number(key: str, value: Any, rule: Rule) -> None:
    whole = rule.kind == "integer"
    noun = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, (int,) if whole else (int, float)):
        raise FieldError(
            key, value, f"is not {noun}" + (f" ({rule.range()})" if rule.range() else "")
        )
    if not math.isfinite(value):
        raise FieldError(key, value, "is not finite")
    inside = (
        (rule.above is None or value > rule.above)
        and (rule.at_least is None or value >= rule.at_least)
        and (rule.below is None or value < rule.below)
        and (rule.at_most is None or value <= rule.at_most)
    )
    if not inside:
        raise FieldError(key, value, f"is out of range: {noun} {rule.range()}")


def _check_numbers(key: str, value: Any, rule: Rule) -> None:
    if isinstance(value, str) and value in rule.words:
        return
    if not isinstance(value, (list, tuple)):
        raise FieldError(
            key,
            value,
            "is not a list of numbers" + (f", or {', '.join(rule.words)}" if rule.words else ""),
        )
    for item in value:
        _check_number(key, item, dataclasses.replace(rule, kind="number", optional=False, words=()))


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"

"""What a search may choose: dimensions in Hydra's own syntax, and the conditions under which they
exist.

`choice(a,b)`, `range(2,17)`, `interval(1e-4,1)`, `tag(log, interval(...))`, `tag(int,
interval(...))`. A dimension whose name starts with $ is no key of the configuration: values of
others may contain it in braces, as in `model.hidden: ["{w1}", "{w1}-{w2}"]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlplab.config.expand import override_value
from mlplab.config.overrides import parse_overrides
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_INSIDE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Dimension:
    """One thing to choose: a text of several, or a number between two. `when`: key -> the values of
    it under which this one is chosen at all.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    when: Mapping[str, tuple[str, ...]] | None = None

    @property
    def needs(self) -> set[str]:
        """The dimensions that must be chosen before: those of its conditions."""
        return set(self.when or ())

    @property
    def is_continuous(self) -> bool:
        """An interval, of which not every value can be tried."""
        return not self.choices and not self.whole and self.step is None

    def values(self) -> list[Any]:
        """All of them, of a dimension that is not endless."""
        if self.choices:
            return list(self.choices)
        step = self.step or 1
        numbers = [
            self.low + i * step for i in range(int((self.high - self.low) / step + 1e-9) + 1)
        ]
        return [int(number) for number in numbers] if self.whole else numbers

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the conditions hold. A dimension whose condition is not chosen itself does not
        exist.
        """
        return all(
            key in chosen and text(chosen[key]) in allowed
            for key, allowed in (self.when or {}).items()
        )


def text(value: Any) -> str:
    """A chosen value as it is typed."""
    return value if isinstance(value, str) else override_value(value)


def dimensions(typed: Sequence[Override], written: Mapping[str, Any]) -> list[Dimension]:
    """Those of the command line, and those of `sweep.space` that are not typed; each after the ones
    that it depends on. Raises ConfigError.
    """
    found = {
        word.key_or_group: _parsed(word.key_or_group, word)
        for word in typed
        if word.is_sweep_override()
    }
    for name, node in written.items():
        if name not in found and name not in {word.key_or_group for word in typed}:
            found[name] = _written(str(name), node)
    if not found:
        raise ConfigError(
            "This search has nothing to choose. Give a key several values, as in"
            " 'optimizer.lr=tag(log,interval(1e-4,1))' or optimizer=sgd,adam, or write sweep.space"
            " in an experiment's file."
        )
    return _ordered(found)


def _written(name: str, node: Any) -> Dimension:
    """From YAML: a list, a text in Hydra's syntax, or {values: ..., when: {key: value or
    [values]}}.
    """
    when = None
    if isinstance(node, Mapping):
        unknown = set(node) - {"values", "when"}
        if unknown or "values" not in node:
            raise ConfigError(
                f"`sweep.space.{name}` is a mapping without values: write {{values: ..., when:"
                " {KEY: VALUE}}."
            )
        conditions = node.get("when") or {}
        if not isinstance(conditions, Mapping):
            raise ConfigError(f"`sweep.space.{name}.when` is not a mapping of keys to values.")
        when = {
            str(key): tuple(
                text(v) for v in (value if isinstance(value, (list, tuple)) else [value])
            )
            for key, value in conditions.items()
        }
        node = node["values"]
    if isinstance(node, (list, tuple)) and node:
        return Dimension(name, tuple(text(value) for value in node), when=when)
    if not isinstance(node, str):
        raise ConfigError(
            f"`sweep.space.{name}` is neither a list of values nor a text such as interval(0.1,1)."
        )
    word = parse_overrides([f"{name.lstrip('$')}={node}"])[0]
    if not word.is_sweep_override():
        return Dimension(name, (node,), when=when)
    return _parsed(name, word, when)


def _parsed(
    name: str, word: Override, when: Mapping[str, tuple[str, ...]] | None = None
) -> Dimension:
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    value: Any = word.value()
    if isinstance(value, RangeSweep):
        start, stop, step = float(value.start or 0), float(value.stop or 0), float(value.step)
        whole = all(
            isinstance(number, int) for number in (value.start or 0, value.stop, value.step)
        )
        # the end is no value of Hydra's range
        high = start + math.ceil((stop - start) / step - 1 - 1e-9) * step
        return _between(Dimension(name, (), start, high, step, whole=whole, when=when), word)
    if isinstance(value, IntervalSweep):
        whole, log = "int" in value.tags, "log" in value.tags
        return _between(
            Dimension(
                name,
                (),
                float(value.start or 0),
                float(value.end or 0),
                log=log,
                whole=whole,
                when=when,
            ),
            word,
        )
    assert isinstance(value, ChoiceSweep)
    return Dimension(name, tuple(word.sweep_string_iterator()), when=when)


def _between(dimension: Dimension, word: Override) -> Dimension:
    if dimension.low > dimension.high or (dimension.log and dimension.low <= 0):
        fault = (
            "a logarithmic range begins above 0" if dimension.log else "it ends before it begins"
        )
        raise ConfigError(f"`{word.input_line}` has no values: {fault}.")
    return dimension


def _ordered(found: Mapping[str, Dimension]) -> list[Dimension]:
    """Conditions first."""
    order: list[Dimension] = []
    placed: set[str] = set()
    left = dict(found)
    while left:
        ready = [name for name, dimension in left.items() if dimension.needs <= placed]
        for name, dimension in left.items():
            for key in dimension.needs - set(found):
                raise ConfigError(
                    f"`sweep.space.{name}.when`: `{key}` is not chosen by this search."
                    f" {did_you_mean(key, found)}"
                )
        if not ready:
            raise ConfigError(
                f"`sweep.space`: the conditions of {', '.join(left)} go round in a circle."
            )
        for name in ready:
            order.append(left.pop(name))
            placed.add(name)
    return order


def choose(space: Iterable[Dimension], suggest: Callable[[Dimension], Any]) -> dict[str, Any]:
    """What a trial chooses: name -> text or number; a dimension that does not exist here is left
    out.
    """
    chosen: dict[str, Any] = {}
    for dimension in space:
        if dimension.exists(chosen):
            chosen[dimension.name] = suggest(dimension)
    return chosen


def combinations(
    space: Sequence[Dimension], chosen: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Everything that there is to choose, the last dimension fastest."""
    chosen = dict(chosen or {})
    if not space:
        yield chosen
    elif not space[0].exists(chosen):
        yield from combinations(space[1:], chosen)
    else:
        for value in space[0].values():
            yield from combinations(space[1:], {**chosen, space[0].name: value})


def overrides(chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of the job."""
    helpers = {name[1:]: text(value) for name, value in chosen.items() if name.startswith("$")}

    def filled(value: str, name: str) -> str:
        missing = [inner for inner in _INSIDE.findall(value) if inner not in helpers]
        if missing:
            raise ConfigError(
                f"`sweep.space.{name}`: {value!r} contains {{{missing[0]}}}, and this trial has no"
                f" dimension ${missing[0]}."
            )
        return _INSIDE.sub(lambda match: helpers[match[1]], value)

    return tuple(
        f"{name}={filled(text(value), name)}"
        for name, value in chosen.items()
        if not name.startswith("$")
    )

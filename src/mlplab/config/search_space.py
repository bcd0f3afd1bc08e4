"""Search spaces: dimensions in Hydra's syntax, and the conditions under which they exist.

A search suggests values from `sweep.space`, a packed ensemble samples them from `ensemble_ranges`.

The syntax is `choice(a,b)`, `range(2,17)`, `interval(1e-4,1)`, `tag(log, interval(...))` and
`tag(int, interval(...))`. A dimension whose name starts with $ is not a configuration key: other
dimensions use its value in braces, as in `model.hidden: ["{w1}", "{w1}-{w2}"]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplab.config.expand import override_value
from mlplab.config.overrides import parse_overrides
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SEARCH = "sweep.space"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Dimension:
    """One dimension: a choice among strings, or a number from `low` to `high`, both included.

    `when` maps the names of other dimensions to their values for which this one exists.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    is_integer: bool = False
    when: Mapping[str, tuple[str, ...]] | None = None

    @property
    def dependencies(self) -> set[str]:
        """The names of the dimensions in its conditions, which must get values first."""
        return set(self.when or ())

    @property
    def is_continuous(self) -> bool:
        """Whether it is an interval, whose values cannot be enumerated."""
        return not self.choices and not self.is_integer and self.step is None

    @property
    def ends(self) -> Sequence[object]:
        """Its choices, or its lowest and its highest value."""
        return self.choices or (self.low, self.high)

    def values(self) -> Sequence[object]:
        """Return all values of a dimension that is not continuous."""
        if self.choices:
            return list(self.choices)
        step = self.step or 1
        numbers: list[float] = [
            self.low + i * step for i in range(int((self.high - self.low) / step + 1e-9) + 1)
        ]
        return [int(number) for number in numbers] if self.is_integer else numbers

    def at(self, share: float) -> object:
        """Return the value at this share of the range, in [0, 1): all values are equally likely if
        it is uniform, their logarithms if the dimension is logarithmic.
        """
        if not self.is_continuous and not self.log:
            values = self.values()
            return values[int(share * len(values))]
        if not self.log:
            return self.low + share * (self.high - self.low)
        value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return min(round(value), int(self.high)) if self.is_integer else value

    def exists(self, params: Mapping[str, object]) -> bool:
        """Return whether the conditions hold.

        They do not hold if a dimension that they name does not exist itself.
        """
        return all(
            key in params and text(params[key]) in allowed
            for key, allowed in (self.when or {}).items()
        )


def text(value: object) -> str:
    """Return a parameter's value as it is written in an override."""
    return value if isinstance(value, str) else override_value(value)


def dimensions(overrides: Sequence[Override], space: Mapping[str, object]) -> list[Dimension]:
    """Return the dimensions of the overrides and of `sweep.space`, each after its dependencies.

    An override takes precedence over the entry of `sweep.space` with the same key. Raises
    ConfigError for an invalid or empty space.
    """
    by_name = {
        override.key_or_group: _from_override(override.key_or_group, override)
        for override in overrides
        if override.is_sweep_override()
    }
    typed = {override.key_or_group for override in overrides}
    others = {name: node for name, node in space.items() if name not in typed}
    by_name |= {str(name): _from_yaml(str(name), node, SEARCH) for name, node in others.items()}
    if not by_name:
        raise ConfigError(
            "This search has no dimensions. Give a key several values, as in"
            " 'optimizer.lr=tag(log,interval(1e-4,1))' or optimizer=sgd,adam, or write sweep.space"
            " in an experiment's file."
        )
    return _sort_by_dependency(by_name, SEARCH)


def dimensions_of(space: Mapping[str, object], source: str) -> list[Dimension]:
    """Return the dimensions of a mapping of names to YAML nodes, each after its dependencies;
    messages call the mapping `source`. Raises ConfigError.
    """
    by_name = {str(name): _from_yaml(str(name), node, source) for name, node in space.items()}
    return _sort_by_dependency(by_name, source)


def _from_yaml(name: str, node: object, source: str) -> Dimension:
    """Return the dimension of a YAML node.

    A node is a list, a string in Hydra's syntax, or {values: ..., when: {key: value or [values]}}.
    """
    when = None
    if isinstance(node, Mapping):
        if not {"values"} <= set(node) <= {"values", "when"}:
            raise ConfigError(
                f"`{source}.{name}` is a mapping without values: write {{values: ..., when:"
                " {KEY: VALUE}}."
            )
        conditions = node.get("when") or {}
        if not isinstance(conditions, Mapping):
            raise ConfigError(f"`{source}.{name}.when` is not a mapping of keys to values.")
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
            f"`{source}.{name}` is neither a list of values nor a string such as interval(0.1,1)."
        )
    override = parse_overrides([f"{name.lstrip('$')}={node}"])[0]
    if not override.is_sweep_override():
        return Dimension(name, (node,), when=when)
    return _from_override(name, override, when)


def _from_override(
    name: str, override: Override, when: Mapping[str, tuple[str, ...]] | None = None
) -> Dimension:
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    value: object = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = float(value.start or 0), float(value.stop or 0), float(value.step)
        is_integer = all(
            isinstance(number, int) for number in (value.start or 0, value.stop, value.step)
        )
        # Hydra's range excludes its end
        high = start + math.ceil((stop - start) / step - 1 - 1e-9) * step
        return _check_range(
            Dimension(name, (), start, high, step, is_integer=is_integer, when=when), override
        )
    if isinstance(value, IntervalSweep):
        return _check_range(
            Dimension(
                name,
                low=float(value.start or 0),
                high=float(value.end or 0),
                log="log" in value.tags,
                is_integer="int" in value.tags,
                when=when,
            ),
            override,
        )
    assert isinstance(value, ChoiceSweep)
    return Dimension(name, tuple(override.sweep_string_iterator()), when=when)


def _check_range(dimension: Dimension, override: Override) -> Dimension:
    if dimension.low > dimension.high or (dimension.log and dimension.low <= 0):
        reason = (
            "a logarithmic range must begin above 0"
            if dimension.log
            else "it ends before it begins"
        )
        raise ConfigError(f"`{override.input_line}` has no values: {reason}.")
    return dimension


def _sort_by_dependency(dimensions: Mapping[str, Dimension], source: str) -> list[Dimension]:
    """Sort the dimensions so that each follows those in its conditions."""
    for name, dimension in dimensions.items():
        for key in dimension.dependencies - set(dimensions):
            raise ConfigError(
                f"`{source}.{name}.when`: `{key}` is not a dimension of it."
                f" {did_you_mean(key, dimensions)}"
            )
    ordered: dict[str, Dimension] = {}
    while remaining := [name for name in dimensions if name not in ordered]:
        ready = [name for name in remaining if dimensions[name].dependencies <= ordered.keys()]
        if not ready:
            raise ConfigError(
                f"`{source}`: the conditions of {', '.join(remaining)} form a circle."
            )
        ordered |= {name: dimensions[name] for name in ready}
    return list(ordered.values())


def choose(space: Iterable[Dimension], suggest: Callable[[Dimension], object]) -> dict[str, object]:
    """Return the parameters of a trial: name -> string or number.

    Dimensions whose conditions do not hold are left out.
    """
    params: dict[str, object] = {}
    for dimension in space:
        if dimension.exists(params):
            params[dimension.name] = suggest(dimension)
    return params


def combinations(
    space: Sequence[Dimension], params: Mapping[str, object] | None = None
) -> Iterator[dict[str, object]]:
    """Yield all parameters of a finite space; the last dimension varies fastest."""
    params = dict(params or {})
    if not space:
        yield params
    elif not space[0].exists(params):
        yield from combinations(space[1:], params)
    else:
        for value in space[0].values():
            yield from combinations(space[1:], {**params, space[0].name: value})


def trial_overrides(params: Mapping[str, object], source: str = SEARCH) -> tuple[str, ...]:
    """Return the overrides of a trial's job. Raises ConfigError for an undefined name in braces;
    messages call the space `source`.
    """
    helpers = {name[1:]: text(value) for name, value in params.items() if name.startswith("$")}

    def filled(value: str, name: str) -> str:
        missing = [inner for inner in _PLACEHOLDER.findall(value) if inner not in helpers]
        if missing:
            raise ConfigError(
                f"`{source}.{name}`: {value!r} contains {{{missing[0]}}}, and this trial has no"
                f" dimension ${missing[0]}."
            )
        return _PLACEHOLDER.sub(lambda match: helpers[match[1]], value)

    return tuple(
        f"{name}={filled(text(value), name)}"
        for name, value in params.items()
        if not name.startswith("$")
    )

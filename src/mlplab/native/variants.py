"""Which function of the engine computes a component, and which of its numbers that function takes.

The formula of a component depends on its flags and choices, and on which terms are switched off: a
number whose default is 0 switches its term off when it is 0. Each combination is a function of its
own; the values of all other numbers are arguments.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import TypeVar

from mlplab.errors import FieldError
from mlplab.losses import LOSSES, Auto
from mlplab.network.activations import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import Plateau
from mlplab.schema import Component, Rule, rules
from mlplab.stacking import active

C = TypeVar("C", bound=Component)

_TABLES: dict[str, Mapping[str, type[Component]]] = {
    "activation": ACTIVATIONS,
    "loss": {name: cls for name, cls in LOSSES.items() if cls is not Auto},  # stands for others
    "optimizer": OPTIMIZERS,
}
COMPONENTS: dict[str, dict[str, type[Component]]] = {
    group: {name: cls for name, cls in table.items() if not cls.eager_only}
    for group, table in _TABLES.items()
}
"""The components of the package that have functions, by group and name."""


def is_supported(group: str, cls: type[Component]) -> bool:
    """Whether the native engine may train with a component of this class of a group: all do that
    can be traced, unless they declare a reason. Of the stateful schedules, the kernel has Plateau.
    """
    is_stateful = group == "schedule" and cls is not Plateau and getattr(cls, "stateful", False)
    return not cls.eager_only and not is_stateful


def name_of(group: str, component: Component) -> str | None:
    """Return the name of a component's class among COMPONENTS, None if it is not there."""
    classes = COMPONENTS[group].items()
    return next((name for name, cls in classes if cls is type(component)), None)


def function_name(group: str, component: Component) -> str:
    """Return the name of the function of a component, such as "adam__amsgrad__weight_decay"."""
    name = name_of(group, component)
    assert name is not None
    terms = [f"{group}_{name}"]
    for key, rule in rules(component).items():
        value, default = getattr(component, key), _default(component, key)
        if rule.kind == "flag" and value != default:
            terms.append(key if value else f"no_{key}")
        elif rule.kind == "choice" and not rule.preset and value != default:
            terms.append(f"{key}_{value}")
        elif _is_switch(component, key, rule) and active(value):
            terms.append(key)
    return "__".join(terms)


def arguments(component: Component) -> list[str]:
    """Return the names of the numbers that the function of a component takes.

    The learning rate is not one of them: it is passed for each step.
    """
    return [
        key
        for key, rule in rules(component).items()
        if rule.varies
        and key != "lr"
        and not (_is_switch(component, key, rule) and not active(getattr(component, key)))
    ]


def variants(cls: type[C]) -> Iterator[C]:
    """Yield one component of each combination of flags, choices and switched terms."""
    options: dict[str, tuple[object, ...]] = {}
    for key, rule in rules(cls).items():
        if rule.kind == "flag":
            options[key] = (False, True)
        elif rule.kind == "choice" and not rule.preset:
            options[key] = rule.options
        elif _is_switch(cls, key, rule):
            options[key] = (0.0, 0.25)
    for values in itertools.product(*options.values()):
        try:
            yield cls(**dict(zip(options, values, strict=True)))
        except FieldError:  # a combination that the component refuses
            continue


def _is_switch(component: Component | type[Component], key: str, rule: Rule) -> bool:
    return rule.varies and _default(component, key) == 0


def _default(component: Component | type[Component], key: str) -> object:
    cls: type = component if isinstance(component, type) else type(component)
    return _defaults(cls)[key]


@functools.cache
def _defaults(cls: type) -> dict[str, object]:
    return {field.name: field.default for field in dataclasses.fields(cls)}

"""Which function of the engine computes a component, and which of its numbers that function takes.

The formula of a component depends on its flags and choices, and on which terms are switched off: a
number whose default is 0 switches its term off when it is 0. Each combination is a function of its
own; the values of all other numbers are arguments.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import TypeVar

from mlplab.errors import FieldError
from mlplab.losses import LOSSES, Auto
from mlplab.network.activations import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import Plateau
from mlplab.schema import Component, Rule, rules
from mlplab.stacking import active

C = TypeVar("C", bound=Component)

COMPONENTS: dict[str, dict[str, type[Component]]] = {
    "activation": {
        name: ACTIVATIONS[name]
        for name in ("sigmoid", "tanh", "relu", "leaky_relu", "identity", "silu", "gelu")
    },
    "loss": {name: LOSSES[name] for name in ("cross_entropy", "mse", "half_mse", "bce")},
    "optimizer": {
        name: OPTIMIZERS[name]
        for name in ("sgd", "momentum", "nag", "adagrad", "rmsprop", "adam", "adamw")
    },
}
"""The components that have functions, by group and name."""


def is_supported(group: str, cls: type[Component]) -> bool:
    """Whether the native engine can train with a component of this class of a group."""
    if group == "schedule":
        return cls is Plateau or not getattr(cls, "stateful", False)
    return group not in COMPONENTS or cls is Auto or cls in COMPONENTS[group].values()


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
        elif rule.kind == "choice" and value != default:
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
        elif rule.kind == "choice":
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

"""Stacking of K components of one class into one component whose numbers are [K, 1] tensors.

`fit` lets the same line of code handle floats and stacked numbers. Shapes: K members.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mlplab.schema import Component, Number, rules

P = TypeVar("P", bound=Component)


def stack(components: Sequence[P], device: torch.device | str = "cpu") -> P:
    """Return one component for K members, in which each number that differs is a tensor [K, 1].

    The tensors are float64 so that derived values (1 - beta, powers) are as exact as those of a
    single member; `fit` casts them where they are used. Raises ValueError if the components differ
    in more than numbers.
    """
    first = components[0]
    if len(components) == 1:
        return first
    changes: dict[str, object] = {}
    for key, rule in rules(first).items():
        values = [getattr(component, key) for component in components]
        if all(value == values[0] and type(value) is type(values[0]) for value in values):
            continue
        numeric = all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
        )
        if not (rule.varies and numeric):
            raise ValueError(
                f"members of one population cannot differ in {type(first).__name__}.{key}"
            )
        changes[key] = torch.tensor(values, dtype=torch.float64, device=device).unsqueeze(1)
    if any(type(component) is not type(first) for component in components):
        raise ValueError(
            "members of one population cannot mix"
            f" {sorted({type(component).__name__ for component in components})}"
        )
    return dataclasses.replace(first, **changes) if changes else first


def stack_numbers(values: Sequence[float], device: torch.device | str = "cpu") -> Number:
    """Return the float that all K members share, or a float64 tensor [K, 1] if they differ."""
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=torch.float64, device=device).unsqueeze(1)


def is_stacked(component: Component) -> bool:
    """Return whether the members of a population differ in a number of the component."""
    return any(isinstance(getattr(component, key), Tensor) for key in rules(component))


def select(component: P, members: Tensor) -> P:
    """Return the component for some of its members. `members` is an index tensor [K']."""
    changes = {
        key: value.index_select(0, members.to(value.device))
        for key in rules(component)
        if isinstance(value := getattr(component, key), Tensor)
    }
    return dataclasses.replace(component, **changes) if changes else component


def select_number(value: Number, members: Tensor) -> Number:
    """Return a number, or that of some members if they differ in it. `members` is an index tensor
    [K'].
    """
    if not isinstance(value, Tensor):
        return value
    return value.index_select(0, members.to(value.device))


def double(value: Number) -> Number:
    """Return a tensor in float64, and an int or a float unchanged.

    Between a float and a tensor of ints, torch computes in float32.
    """
    return value.double() if isinstance(value, Tensor) else value


def root_of(value: Number) -> Number:
    """Return the square root, correctly rounded for a float and for a tensor alike."""
    return value.double().sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def active(value: Number) -> bool:
    """Return whether a term is computed: not if the value is the float 0; always if members differ
    in it.
    """
    return isinstance(value, Tensor) or value != 0


def fit(value: Number, like: Tensor) -> Number:
    """Return the value in a form that broadcasts with `like`, a tensor [K, ...].

    A float is returned unchanged, a [K, 1] tensor as [K, 1, ..., 1] in the dtype of `like`, and a
    tensor with a number for each parameter, [K or 1, P], in that dtype.
    """
    if not isinstance(value, Tensor):
        return value
    if value.numel() != len(value):
        return value.to(like.dtype)
    return value.view(-1, *[1] * (like.ndim - 1)).to(like.dtype)

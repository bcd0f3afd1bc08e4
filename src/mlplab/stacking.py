"""K configured parts of one kind become one part whose numbers are [K, 1] tensors; `fit` makes both
forms one line of code.

Shapes: K members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mlplab.schema import Component, Number, rules

P = TypeVar("P", bound=Component)


def stack(parts: Sequence[P], device: torch.device | str = "cpu") -> P:
    """One part for K members: a number that differs becomes a float64 tensor [K, 1], all else must
    agree.

    Numbers stay float64, so that what is derived from them (1 - beta, powers) is as exact as it is
    for a lone member; `fit` casts at the place of use. Raises ValueError where parts differ in more
    than numbers.
    """
    first = parts[0]
    changes: dict[str, object] = {}
    for key, rule in rules(first).items():
        values = [getattr(part, key) for part in parts]
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
    if any(type(part) is not type(first) for part in parts):
        raise ValueError(
            "members of one population cannot mix"
            f" {sorted({type(part).__name__ for part in parts})}"
        )
    return dataclasses.replace(first, **changes) if changes else first


def stack_numbers(values: Sequence[float], device: torch.device | str = "cpu") -> Number:
    """One number for K members: the float that all share, or a float64 tensor [K, 1]."""
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=torch.float64, device=device).unsqueeze(1)


def select(part: P, rows: Tensor) -> P:
    """The part for some of its members: rows is a [K'] index tensor."""
    changes = {
        key: value.index_select(0, rows.to(value.device))
        for key in rules(part)
        if isinstance(value := getattr(part, key), Tensor)
    }
    return dataclasses.replace(part, **changes) if changes else part


def fit(value: Number, like: Tensor) -> Number:
    """A number ready to meet a tensor [K, ...]: a float as it is; a [K, 1] tensor as [K, 1, ..., 1]
    in the tensor's dtype.
    """
    if not isinstance(value, Tensor):
        return value
    return value.view(-1, *[1] * (like.ndim - 1)).to(like.dtype)

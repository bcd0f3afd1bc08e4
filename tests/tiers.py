"""Tables of cases of which the default tier runs a few and the campaign the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def in_campaign(part: str, *values: Any) -> Any:
    """A case of a parametrized test that only this part of the campaign runs."""
    return pytest.param(*values, marks=pytest.mark.campaign(part))


def few_by_default(part: str, cases: Iterable[Any], by_default: Callable[..., bool]) -> list[Any]:
    """Parameters of a test: those that `by_default` names have no mark, the others are of `part`.

    A case of several arguments is a tuple, and `by_default` takes as many.
    """
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        runs_always = by_default(*values)
        params.append(pytest.param(*values) if runs_always else in_campaign(part, *values))
    return params

"""Tables of cases of which the default tier runs a few and the campaign the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def few_by_default(part: str, cases: Iterable[Any], by_default: Callable[..., bool]) -> list[Any]:
    """Parameters of a test: those that `by_default` names have no mark, the others are of `part`.

    A case of several arguments is a tuple, and `by_default` takes as many.
    """
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = () if by_default(*values) else (pytest.mark.campaign(part),)
        params.append(pytest.param(*values, marks=marks))
    return params

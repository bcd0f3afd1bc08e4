"""Tables of cases: the default tier runs some of them, and the campaign the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def in_campaign(section: str, *values: Any) -> Any:
    """A case of a parametrized test that only this section of the campaign runs."""
    return pytest.param(*values, marks=pytest.mark.campaign(section))


def subset_by_default(
    section: str, cases: Iterable[Any], by_default: Callable[..., bool]
) -> list[Any]:
    """Parameters of a test: those that `by_default` selects always run, the others in `section`.

    A case with several arguments is a tuple, and `by_default` takes the same arguments.
    """
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        runs_always = by_default(*values)
        params.append(pytest.param(*values) if runs_always else in_campaign(section, *values))
    return params

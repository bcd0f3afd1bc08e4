"""Tables of cases: the default tier runs some of them, and the campaign the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

SUITES = {
    "kills": "processes killed and interrupted at every moment",
    "lecture": "the claims of the lecture, over all seeds",
    "fuzz": "full products of choices, and fuzzed input",
    "timing": "assertions on seconds, memory and file counts; needs an idle machine",
    "cluster": "torchrun, Slurm, Ray and MLflow, started by the tests; skipped if not installed",
}
"""The suites of the campaign, and what they test."""


def in_campaign(suite: str, *values: Any) -> Any:
    """A case of a parametrized test that only this suite of the campaign runs."""
    return pytest.param(*values, marks=pytest.mark.campaign(suite))


def subset_by_default(
    suite: str, cases: Iterable[Any], by_default: Callable[..., bool]
) -> list[Any]:
    """Parameters of a test: those that `by_default` selects always run, the others in `suite`.

    A case with several arguments is a tuple, and `by_default` takes the same arguments.
    """
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        runs_always = by_default(*values)
        params.append(pytest.param(*values) if runs_always else in_campaign(suite, *values))
    return params

"""Start Python without the working folder on its module path.

`python -m` puts the working folder first on the module path, so a `yaml.py` in a sweep folder from
an untrusted source would run in every worker. PYTHONPATH still applies.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Equivalent to the option -P, but inherited by the Python processes that a child starts."""


def python_command(*arguments: str) -> list[str]:
    """Return the command line that runs this interpreter with these arguments."""
    return [sys.executable, "-P", *arguments]


def safe_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a copy of the environment with the variables `more` and PYTHONSAFEPATH set."""
    return {**os.environ, **(more or {}), **SAFE_PATH}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables, which processes started meanwhile inherit."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)

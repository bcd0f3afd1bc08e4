"""How this package starts Python: so that no module of the working folder is imported.

`python -m` puts the working folder first on the path of modules. A sweep's folder may be somebody
else's, and a `yaml.py` in it would run in every worker. PYTHONPATH holds as ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""The same as -P for every Python that a process starts, whoever writes its command line."""


def python_command(*words: str) -> list[str]:
    """The command line of this Python with these words."""
    return [sys.executable, "-P", *words]


def safe_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process: ours, these variables, and a safe path for any Python."""
    return {**os.environ, **(more or {}), **SAFE_PATH}


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """While a library starts processes by itself, which inherit our environment."""
    before = {name: os.environ.get(name) for name in SAFE_PATH}
    os.environ.update(SAFE_PATH)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

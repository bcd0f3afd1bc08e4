"""The C sources of the package: the kernel, written by hand, and the functions of components."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

KERNEL = Path(__file__).parent / "csrc"
GENERATED = Path(__file__).parent / "generated"
SUFFIXES = ("_value", "_slope", "_prediction", "_lookahead")
"""Of the further functions of a component."""

_FUNCTION = re.compile(r"^void (\w+)\(.*?^}\n", re.MULTILINE | re.DOTALL)
_added: dict[str, str] = {}


@cache
def functions() -> dict[str, str]:
    """Return the text of each generated function by its name."""
    paths = sorted(GENERATED.glob("*.c"))
    return functions_in("\n".join(path.read_text(encoding="utf-8") for path in paths))


def functions_in(text: str) -> dict[str, str]:
    """Return the text of each function of a printed file by its name."""
    return {match[1]: match[0] for match in _FUNCTION.finditer(text)}


def dtype_line(dtype: str) -> str:
    """Return the line in front of a source that decides its type of numbers."""
    return "#define DOUBLE\n" if dtype == "float64" else ""


def kernel_source() -> str:
    """Return the source of the kernel, as one text."""
    return _expanded("kernel.c")


def functions_header() -> str:
    """Return the elementary functions, which the functions of components call."""
    return _expanded("functions.h")


def add_functions(texts: Mapping[str, str]) -> None:
    """Add the functions of a component of a plug-in to those of the package, in this process."""
    _added.update(texts)


def has_function(name: str) -> bool:
    """Whether there is a function of this name, of the package or added."""
    return name in functions() or name in _added


def component_source(name: str) -> str:
    """Return the source of a component's functions: `name`, and those named after it.

    Raises KeyError if the component has no function.
    """
    available = functions() | _added
    others = (available.get(name + suffix, "") for suffix in SUFFIXES)
    return "\n".join([functions_header(), available[name], *others])


@cache
def _expanded(name: str) -> str:
    """A file of the kernel, with the files that it includes in their places."""
    text = (KERNEL / name).read_text(encoding="utf-8")
    return re.sub(r'^#include "(\S+)"\n', lambda match: _expanded(match[1]), text, flags=re.M)

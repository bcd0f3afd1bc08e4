"""The compiled kernel and the functions of components, as ctypes sees them."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

from mlplab.native import library_cache, prebuilt, sources
from mlplab.native.compiler import NativeError

_FIELD = re.compile(r"^  (?:const )?([\w ]+?) ?(\**)(\w+);", re.MULTILINE)
_TYPES = {"int": ctypes.c_int, "int64_t": ctypes.c_int64}
_POINTERS = {"Loss", "LossValue", "Prediction", "Optimizer", "Lookahead", "Metric"}

METRICS = ("", "balanced_accuracy", "f1", "mcc", "mape")
"""The metrics that the kernel can measure in addition to those of every evaluation, by number.

The next number is for a metric that an OutsideMetric measures: see monitored.h.
"""
OutsideMetric = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
"""(member, whether the split is val, address of the outputs [N, C]) -> metric."""


def _fields() -> list[tuple[str, Any]]:
    """The fields of the C structure, so that it is written once."""
    text = (sources.KERNEL / "population.h").read_text(encoding="utf-8")
    return [
        (name, ctypes.c_void_p if stars or ctype in _POINTERS else _TYPES[ctype])
        for ctype, stars, name in _FIELD.findall(text)
    ]


class Population(ctypes.Structure):
    """The structure in population.h. Its pointers are addresses: the caller keeps the memory."""

    _fields_ = _fields()


@cache
def kernel(dtype: str) -> ctypes.CDLL:
    """Return the kernel for float32 or float64. Raises NativeError."""
    library = _load(
        sources.kernel_source(),
        dtype,
        f"compiling the native engine for {dtype}, which takes some seconds, once on this machine",
    )
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.population_size.restype = ctypes.c_size_t
    if library.population_size() != ctypes.sizeof(Population):
        raise NativeError("the compiler lays out the kernel's structure in another way")
    return library


@cache
def function(name: str, dtype: str, suffix: str = "") -> int:
    """Return the address of the function of a component, or of the one that is named after it with
    a suffix; 0 if it has none of that kind. Raises NativeError.

    Raises KeyError if the component has no function.
    """
    if suffix and not sources.has_function(name + suffix):
        return 0
    return ctypes.cast(getattr(_component(name, dtype), name + suffix), ctypes.c_void_p).value or 0


@cache
def _component(name: str, dtype: str) -> ctypes.CDLL:
    is_of_package = name in sources.functions()
    return _load(sources.component_source(name), dtype, is_of_package=is_of_package)


def _load(
    source: str, dtype: str, announcement: str = "", is_of_package: bool = True
) -> ctypes.CDLL:
    """The compiled library of a source or, if it cannot be compiled, the one of the package."""
    try:
        return library_cache.load(sources.dtype_line(dtype) + source, announcement)
    except NativeError:
        if not is_of_package or (library := prebuilt.load(dtype)) is None:
            raise
        return library

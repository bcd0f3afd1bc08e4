"""The native engine: C code of the components and of the training loop around them."""

from mlplab.native.compiler import NativeError
from mlplab.native.library import (
    LANES,
    MAX_NUMBERS,
    METRICS,
    OutsideMetric,
    Population,
    function,
    kernel,
)
from mlplab.native.support import obstacle, unavailable, unsupported
from mlplab.native.variants import arguments, function_name, is_supported

__all__ = [
    "LANES",
    "MAX_NUMBERS",
    "METRICS",
    "NativeError",
    "OutsideMetric",
    "Population",
    "arguments",
    "function",
    "function_name",
    "is_supported",
    "kernel",
    "obstacle",
    "unavailable",
    "unsupported",
]

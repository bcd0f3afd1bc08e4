"""The native engine: C code of the components and of the training loop around them."""

from mlplab.native.compiler import NativeError
from mlplab.native.library import METRICS, OutsideMetric, Population, function, kernel
from mlplab.native.limits import LANES, MAX_NUMBERS
from mlplab.native.plugin_functions import function_name
from mlplab.native.support import obstacle, reason_for_eager, unavailable, unsupported
from mlplab.native.variants import arguments, is_supported

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
    "reason_for_eager",
    "unavailable",
    "unsupported",
]

"""torch's elementary operations as expressions of C, by their names in a traced graph."""

from __future__ import annotations

FORMS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "reciprocal": "1 / {}",
    "abs": "v_abs({})",
    "sign": "v_sign({})",
    "sqrt": "v_sqrt({})",
    "rsqrt": "1 / v_sqrt({})",
    "exp": "v_exp({})",
    "expm1": "v_expm1({})",
    "log": "v_log({})",
    "log1p": "v_log1p({})",
    "sin": "v_sin({})",
    "cos": "v_cos({})",
    "atan": "v_atan({})",
    "sinh": "v_sinh({})",
    "cosh": "v_cosh({})",
    "tanh": "v_tanh({})",
    "asinh": "v_asinh({})",
    "sigmoid": "v_sigmoid({})",
    "erf": "v_erf({})",
    **{
        name: f"LIBM({name})({{}})"
        for name in ("tan", "asin", "acos", "acosh", "atanh", "exp2", "log2", "log10", "erfc")
    },
    **{name: f"LIBM({name})({{}})" for name in ("lgamma", "floor", "ceil", "trunc")},
    "relu": "v_relu({})",
    "minimum": "v_min({}, {})",
    "maximum": "v_max({}, {})",
    "hardtanh": "v_min(v_max({}, {}), {})",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "isnan": "is_nan({})",
    "bitwise_or": "{} | {}",
    "bitwise_and": "{} & {}",
    "bitwise_not": "!{}",
    "logical_or": "{} | {}",
    "logical_and": "{} & {}",
    "logical_not": "!{}",
}
"""An operation with as many operands as the form has places. v_... are those of functions.h."""
COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "isnan"}
"""Operations whose operands have the type of the first one, and whose result is a truth value."""
LOGIC = {"bitwise_or", "bitwise_and", "bitwise_not", "logical_or", "logical_and", "logical_not"}
"""Operations on truth values."""
SCALAR = {
    name: FORMS[name].replace("v_", "")
    for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "atan", "sinh", "cosh", "tanh")
}
"""The same of one number in double: the functions of the C library."""
ANY_TYPE = {"add", "sub", "mul", "div", "neg", "reciprocal", "abs", "sign", "sqrt", "rsqrt"}
"""Operations whose forms are right for numbers of every type."""
VIEWS = {"alias", "view", "squeeze", "unsqueeze", "expand", "clone", "detach", "lift_fresh"}
FILLS = {"full": 1, "full_like": 1, "scalar_tensor": 0}
"""The argument that has the value."""
REDUCTIONS = {"sum", "mean", "amax"}
KEYWORDS = {"alpha", "dtype", "layout", "device", "pin_memory", "memory_format"}
"""Keyword arguments that are understood, or that change no number."""

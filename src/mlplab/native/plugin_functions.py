"""The C functions of components of plug-ins: traced at first use, and compared with their code.

Tracing takes seconds, so the printed C is kept beside the compiled libraries, under a digest of the
plug-in's file and of all that prints it. A formula may also depend on what no digest knows; in each
process, the compiled functions are therefore compared with the component before they are used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mlplab.losses import Loss
from mlplab.native import compiler, library_cache, sources
from mlplab.native.comparing import difference
from mlplab.native.compiler import NativeError
from mlplab.native.limits import LEARNED, MAX_NUMBERS, MAX_STATES
from mlplab.native.variants import arguments, name_of
from mlplab.native.variants import function_name as name_in_package
from mlplab.network.activations import Activation
from mlplab.optimizers import Optimizer
from mlplab.schema import Component, rules

_PRINTED = "component"  # the name of the function in a stored text
_REFUSAL = "// "  # the start of a stored text that says why there is no function
_EXAMPLE_FIELDS = {"class_weights"}  # they weight examples, outside the formula


@dataclass(frozen=True)
class _Function:
    """The name of a component's function; `reason` if it has none."""

    name: str = ""
    reason: str = ""


_functions: dict[object, _Function] = {}


def function_name(group: str, component: Component, dtype: str) -> str:
    """Return the name of the function of a component of the package or of a plug-in.

    Raises NativeError if a plug-in's component has no function.
    """
    if name_of(group, component) is not None:
        return name_in_package(group, component)
    if reason := obstacle(group, component, dtype):
        raise NativeError(reason)
    return _functions[_key(group, component, dtype)].name


def obstacle(group: str, component: Component, dtype: str) -> str | None:
    """Return why a component of a plug-in has no C function, as a clause; None if it has one.

    The first call compiles the function, and traces it, which takes seconds, if it is not stored.
    """
    key = _key(group, component, dtype)
    if key not in _functions:
        _functions[key] = _limited(component) or _function(group, _first(component), dtype)
    return _functions[key].reason or None


def _key(group: str, component: Component, dtype: str) -> object:
    """What a function depends on: all of the component but the numbers that it takes."""
    return group, type(component), _fixed(component), tuple(arguments(component)), dtype


def _fixed(component: Component) -> tuple[str, ...]:
    return tuple(
        f"{key}={getattr(component, key)!r}"
        for key, rule in rules(component).items()
        if not rule.varies and key not in _EXAMPLE_FIELDS
    )


def _first(component: Component) -> Component:
    """The component of the first member of a population, without weights of classes."""
    changes: dict[str, object] = {
        key: float(value.reshape(-1)[0])
        for key in rules(component)
        if isinstance(value := getattr(component, key), Tensor)
    }
    changes |= dict.fromkeys(_EXAMPLE_FIELDS & rules(component).keys())
    return dataclasses.replace(component, **changes)


def _limited(component: Component) -> _Function | None:
    """The refusal of a component that exceeds a limit of the kernel."""
    learned = component.num_parameters() if isinstance(component, Activation) else 0
    most = LEARNED if learned else MAX_NUMBERS
    if learned > 1:
        return _Function(reason="it learns several parameters a layer")
    if len(arguments(component)) > most:
        return _Function(reason=f"it has more than {most} numbers")
    if isinstance(component, Optimizer):
        if component.single_network or type(component).step is not Optimizer.step:
            return _Function(reason="it overrides step")
        if len(component.init(torch.zeros(1, 1))) > MAX_STATES:
            return _Function(reason=f"it has more than {MAX_STATES} state tensors")
    if isinstance(component, Loss) and type(component).decide is not Loss.decide:
        return _Function(reason="it overrides decide")
    return None


def _function(group: str, component: Component, dtype: str) -> _Function:
    try:
        compiler.find()  # no wheel brings functions of a plug-in along
    except NativeError as error:
        return _Function(reason=str(error))
    key = _digest(group, component)
    stored = library_cache.load_text(key) if key else None
    if stored and stored.startswith(_REFUSAL):
        return _Function(reason=stored.removeprefix(_REFUSAL))
    if stored and not _difference(name := _add(group, stored), component, dtype):
        return _Function(name)
    text = _trace(component)
    if key:
        library_cache.store_text(key, text)
    if text.startswith(_REFUSAL):
        return _Function(reason=text.removeprefix(_REFUSAL))
    name = _add(group, text)
    return _Function(name, reason=_difference(name, component, dtype))


def _trace(component: Component) -> str:
    """The printed functions, or the reason why there are none."""
    from mlplab.native.generating import functions_of  # imports the tracer of torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the trace, such as numbers read from tensors
            return "\n".join(dict(functions_of(component, _PRINTED)).values())
    except Exception as error:  # of the plug-in, or of torch, which may raise anything
        return f"{_REFUSAL}it cannot be traced: {_summary(error)}"


def _summary(error: Exception) -> str:
    """The first line of an error, as a clause."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "tracing tensor" in first:
        return "it depends on the values of a tensor in Python"
    return first


def _add(group: str, text: str) -> str:
    """Add the functions of a printed text under a name of their own, which is returned."""
    name = f"{group}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    renamed = text.replace(f"void {_PRINTED}", f"void {name}")
    sources.add_functions(sources.functions_in(renamed))
    return name


def _difference(name: str, component: Component, dtype: str) -> str:
    """Why a function cannot be used; empty if it can."""
    try:
        return difference(name, component, dtype)
    except NativeError as error:
        return f"its C code cannot be used: {error}"
    except Exception as error:  # of the plug-in, which may raise anything
        return f"its code failed on a test: {_summary(error)}"


def _digest(group: str, component: Component) -> str | None:
    """The name under which the printed text is stored; None if the source is not known.

    Modules beside that of the component may contribute to its formula.
    """
    try:
        path = Path(inspect.getfile(type(component)))
        source = path.read_text(encoding="utf-8")
        beside = sorted(
            (other.name, other.stat().st_size, other.stat().st_mtime_ns)
            for other in path.parent.glob("*.py")
        )
    except (OSError, TypeError):
        return None
    identity = (
        *(group, type(component).__qualname__, _fixed(component), arguments(component)),
        *(str(path), source, beside, torch.__version__, _printer()),
    )
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:40]


@cache
def _printer() -> str:
    """A digest of this package, which traces and prints."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

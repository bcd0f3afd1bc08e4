"""What trains a member: torch's operations (eager), or compiled C (native)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mlplab.errors import IncompatibleSettingsError
from mlplab.settings import Settings
from mlplab.training.distributed import ProcessGroup, read_rank
from mlplab.training.eager import EagerStepper
from mlplab.training.steppers import Group, Stepper

MAX_NATIVE_WEIGHTS = 100_000
"""Weights above which engine=auto takes torch, whose products of large matrices are faster."""


def choose_engine(settings: Settings, num_weights: int) -> str:
    """Return "eager" or "native": what trains a member with these settings, in any population.

    It depends on nothing but the settings, the size of the network and the machine.
    """
    if settings.engine != "auto":
        return settings.engine
    return "native" if eager_reason(settings, num_weights) is None else "eager"


def eager_reason(settings: Settings, num_weights: int) -> str | None:
    """Return why torch trains a member whose engine is or was `auto`, None if native does.

    The first call on a machine compiles the native engine.
    """
    if read_rank() is not None:
        return "several processes train one network"
    if num_weights > MAX_NATIVE_WEIGHTS:
        return f"torch is faster above {MAX_NATIVE_WEIGHTS:,} weights"
    from mlplab.native import unavailable, unsupported

    if (what := unsupported(settings)) is not None:
        return f"native does not support {what}"
    return unavailable(settings.dtype)


def check_engine(settings: Settings, distributed: bool) -> None:
    """Raise IncompatibleSettingsError if the engine cannot train these settings on this machine.

    `distributed` says that several processes train one network.
    """
    if settings.engine != "native":
        return
    if distributed:
        raise IncompatibleSettingsError(
            "engine=native trains in one process; under torchrun, choose engine=eager."
        )
    from mlplab.native import obstacle

    if (reason := obstacle(settings)) is not None:
        raise IncompatibleSettingsError(reason)


def stepper_of(engine: str, process_group: ProcessGroup | None) -> Callable[[Group], Stepper]:
    """Return what makes the stepper of a group that an engine trains."""
    if engine == "native":
        from mlplab.training.native_stepper import NativeStepper

        return NativeStepper
    return functools.partial(EagerStepper, process_group=process_group)

"""What trains a member: torch's operations (eager), or compiled C (native)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mlplab.errors import IncompatibleSettingsError
from mlplab.settings import Settings
from mlplab.training.distributed import ProcessGroup
from mlplab.training.eager import EagerStepper
from mlplab.training.steppers import Group, Stepper


def engine_of(settings: Settings) -> str:
    """Return "eager" or "native": what trains a member with these settings, in any population."""
    return "native" if settings.engine == "native" else "eager"


def check_engine(settings: Settings, distributed: bool) -> None:
    """Raise IncompatibleSettingsError if the engine cannot train these settings on this machine.

    `distributed` says that several processes train one network.
    """
    if engine_of(settings) == "eager":
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

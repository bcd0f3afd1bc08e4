"""What trains a member: torch's operations (eager), or compiled C (native)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import IncompatibleSettingsError
from mlplab.settings import Settings
from mlplab.training.cost_model import Workload
from mlplab.training.distributed import ProcessGroup, read_rank
from mlplab.training.eager import EagerStepper
from mlplab.training.steppers import Group, Stepper


def choose_engine(settings: Settings, prepared: Prepared) -> str:
    """Return "eager" or "native": what trains a member with these settings, in any population.

    It depends on nothing but the settings, the size of the data and the machine.
    """
    if settings.engine != "auto":
        return settings.engine
    return "native" if eager_reason(settings, prepared) is None else "eager"


def eager_reason(settings: Settings, prepared: Prepared) -> str | None:
    """Return why torch trains a member whose engine is or was `auto`, None if native does.

    The first call on a machine compiles the native engine.
    """
    if read_rank() is not None:
        return "several processes train one network"
    workload = Workload.of(settings, prepared)
    if workload.native_nanoseconds() > workload.eager_nanoseconds():
        return (
            f"torch is faster for {workload.num_weights:,} weights and batches of"
            f" {workload.batch_size:,}"
        )
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

"""A run over several processes: rank 0 owns the folder, the other ranks train and write nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mlplab.errors import CheckpointError, IncompatibleSettingsError
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.resume_checks import find_checkpoint, is_finished
from mlplab.runs.signals import Interrupted, Signals
from mlplab.settings import Settings
from mlplab.training import Loop, build_population, prepare_members
from mlplab.training.checkpoint import restore, unpack_rows
from mlplab.training.distributed import ProcessGroup


class RankFinished(SystemExit):
    """The end of a process other than rank 0, without output: rank 0 reports the result."""


def check_distributed_support(settings: Settings) -> None:
    """Raise IncompatibleSettingsError for settings that need the whole batch in one process."""
    if any(layer.normalization == "batch" for layer in settings.layers):
        raise IncompatibleSettingsError(
            "model.normalization=batch needs statistics of the whole batch, and each process has"
            " only a share of it: under torchrun, choose model.normalization=layer or none."
        )


def sync_signals(
    process_group: ProcessGroup, signals: Signals, checkpointer: CheckpointCallback
) -> Callable[[Loop], None]:
    """Return a callback that passes a signal to the checkpointer only when all processes have
    received it, so that all stop after the same step.
    """

    def callback(loop: Loop) -> None:
        local_signal = signals.received
        process_group.received_signal, signals.received = (
            local_signal or process_group.received_signal,
            process_group.agreed_signal or None,
        )
        checkpointer(loop)
        signals.received = local_signal or signals.received  # a signal may have arrived meanwhile

    return callback


def run_rank(loop: Loop, process_group: ProcessGroup, signals: Signals) -> NoReturn:
    """Train as a rank other than 0, to the end or to the step after which all stop.

    Raises RankFinished at the end.
    """

    def callback(loop: Loop) -> None:
        process_group.received_signal = signals.received or process_group.received_signal
        if process_group.agreed_signal:
            raise Interrupted(process_group.agreed_signal)

    loop.after_step = callback
    signals.raise_immediately = False
    try:
        loop.run()
    except KeyboardInterrupt:
        raise RankFinished(128 + (process_group.agreed_signal or 2)) from None
    raise RankFinished(0)


def resume_rank(
    folder: Path,
    settings: Settings,
    signals: Signals,
    process_group: ProcessGroup,
    step: int | None,
    allowed: Sequence[str],
) -> NoReturn:
    """Like `run_rank`, from a checkpoint that all processes can read."""

    if step is None and is_finished(folder, allowed):
        raise RankFinished(0)
    check_distributed_support(settings)
    saved, _ = find_checkpoint(folder, step)
    loop = Loop(build_population([prepare_members([settings])[0]])[0])
    loop.process_group = process_group
    if saved is not None:
        try:
            restore(loop, saved.tree["loop"], unpack_rows(saved.history))
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint of step {saved.step} cannot be read: {error}"
            ) from error
    run_rank(loop, process_group, signals)

"""A run over several processes: the first owns the folder, the others train along and write
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mlplab.errors import CheckpointError, IncompatibleSettingsError
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.resume_checks import find, is_finished
from mlplab.runs.signals import Interrupted, Signals
from mlplab.settings import Settings
from mlplab.training import Loop, build_population, prepare_members
from mlplab.training.checkpoint import restore, unpack_rows
from mlplab.training.distributed import ProcessGroup


class RankFinished(SystemExit):
    """The end of a process that is not the first: what there is to tell, the first tells."""


def check_distributed_support(settings: Settings) -> None:
    """Raise IncompatibleSettingsError for what needs the whole batch in one place."""
    if any(layer.normalization == "batch" for layer in settings.layers):
        raise IncompatibleSettingsError(
            "model.normalization=batch measures the batch, of which each process has a part only:"
            " under torchrun choose model.normalization=layer, or none."
        )


def sync_signals(
    across: ProcessGroup, signals: Signals, keeper: CheckpointCallback
) -> Callable[[Loop], None]:
    """The keeper, told of a signal only once all processes know of it, so that all stop after the
    same step.
    """

    def look_in(loop: Loop) -> None:
        own = signals.received
        across.received_signal, signals.received = (
            own or across.received_signal,
            across.agreed_signal or None,
        )
        keeper(loop)
        signals.received = own or signals.received  # a signal may have come meanwhile

    return look_in


def run_rank(loop: Loop, across: ProcessGroup, signals: Signals) -> NoReturn:
    """Train as one that is not the first, to the end or to the step after which all stop. Raises
    Helped.
    """

    def look_in(loop: Loop) -> None:
        across.received_signal = signals.received or across.received_signal
        if across.agreed_signal:
            raise Interrupted(across.agreed_signal)

    loop.after_step = look_in
    signals.at_once = False
    try:
        loop.run()
    except KeyboardInterrupt:
        raise RankFinished(128 + (across.agreed_signal or 2)) from None
    raise RankFinished(0)


def resume_rank(
    folder: Path,
    settings: Settings,
    signals: Signals,
    across: ProcessGroup,
    step: int | None,
    allowed: Sequence[str],
) -> NoReturn:
    """The same from a checkpoint that lies where all processes can read it."""

    if step is None and is_finished(folder, allowed):
        raise RankFinished(0)
    check_distributed_support(settings)
    saved, _ = find(folder, step)
    loop = Loop(build_population([prepare_members([settings])[0]])[0])
    loop.process_group = across
    if saved is not None:
        try:
            restore(loop, saved.tree["loop"], unpack_rows(saved.history))
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint of step {saved.step} cannot be read: {error}"
            ) from error
    run_rank(loop, across, signals)

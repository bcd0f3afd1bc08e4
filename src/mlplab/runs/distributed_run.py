"""A run over several processes: rank 0 owns the folder, the other ranks train and write nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mlplab.errors import CheckpointError, IncompatibleSettingsError
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.resume_checks import find_checkpoint, is_finished, with_saved_engine
from mlplab.runs.signals import Signals
from mlplab.settings import Settings, Tracking
from mlplab.training import Callback, Session, prepare_members
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
    if settings.training.time_limit is not None:
        raise IncompatibleSettingsError(
            "training.time_limit ends a run of one process; under torchrun, set training.epochs."
        )


class AgreedSignal:
    """A signal once all processes have received it, so that all stop after the same step."""

    def __init__(self, process_group: ProcessGroup, signals: Signals) -> None:
        self.process_group, self.signals = process_group, signals

    @property
    def received(self) -> int | None:
        """The signal, or None; passes on one that this process has received."""
        group = self.process_group
        group.received_signal = self.signals.received or group.received_signal
        return group.agreed_signal or None


def run_rank(
    settings: Settings,
    signals: Signals,
    process_group: ProcessGroup | None,
    callbacks: Sequence[Callback],
    folder: Path | None = None,
    step: int | None = None,
    allowed: Sequence[str] = (),
) -> NoReturn:
    """Train as a rank other than 0, to the end or to the step after which all stop.

    With a `folder`, continue from its checkpoint, which all processes can read. Raises
    RankFinished at the end.
    """
    assert process_group is not None
    if folder is not None and step is None and is_finished(folder, allowed):
        raise RankFinished(0)
    check_distributed_support(settings)
    saved = find_checkpoint(folder, step)[0] if folder is not None else None
    stop = CheckpointCallback(None, Tracking(), AgreedSignal(process_group, signals))
    members = prepare_members([with_saved_engine(settings, saved, allowed)])
    session = Session.of(members, [stop, *callbacks], process_group)
    if saved is not None:
        try:
            restore(session.groups[0], saved.tree["loop"], unpack_rows(saved.history))
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint of step {saved.step} cannot be read: {error}"
            ) from error
    signals.raise_immediately = False
    try:
        session.run()
    except KeyboardInterrupt:
        raise RankFinished(128 + (process_group.agreed_signal or 2)) from None
    raise RankFinished(0)

"""What surrounds the training of a run: signals, processes, folder, progress, and its end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplab.config.run_dir import DEBUG, DEFAULT_ROOT
from mlplab.io.links import make_folder, refuse_links
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints
from mlplab.runs.distributed_run import AgreedSignal, check_distributed_support
from mlplab.runs.folder import RunFolder, create, create_unique, default_folder
from mlplab.runs.intervals import remove_intervals
from mlplab.runs.record import write_data_report
from mlplab.runs.resume_checks import identity
from mlplab.runs.signals import Signals
from mlplab.settings import Settings
from mlplab.terminal.progress import Progress
from mlplab.training import (
    Callback,
    FrameRecorder,
    Group,
    Outcome,
    PreparedMember,
    Row,
    Session,
)
from mlplab.training.determinism import determinism
from mlplab.training.distributed import ProcessGroup, process_group


@dataclass(frozen=True)
class TrainingProcess:
    """The process of a run: its signals, and its group if several processes train the network."""

    signals: Signals
    group: ProcessGroup | None

    @classmethod
    @contextlib.contextmanager
    def started(cls, settings: Settings) -> Iterator[TrainingProcess]:
        """Handle signals, set determinism, and join the processes of torchrun or srun."""
        with (
            Signals(raise_immediately=True) as signals,
            determinism(settings.deterministic),
            process_group() as group,
        ):
            yield cls(signals, group)

    @property
    def is_follower(self) -> bool:
        """Whether another process writes the run's folder."""
        return self.group is not None and not self.group.rank_info.first

    def session(self, member: PreparedMember) -> tuple[Session, str]:
        """Return the session of a run, and a description of its device."""
        # fixed, since the folder of a run is for one network
        session = Session(process_group=self.group, fixed=True)
        group = session.add_group([member])
        reason = f" ({member.eager_reason})" if member.eager_reason else ""
        description = (
            f"{session.device}: {group.device_reason}; engine {group.stepper.engine}{reason}"
        )
        if self.group is not None:
            check_distributed_support(member.settings)
            description += f"; one of {self.group.rank_info.size} processes"
        return session, description

    def checkpointer(
        self,
        folder: Path,
        member: PreparedMember,
        session: Session,
        recorder: FrameRecorder,
        log: logging.Logger,
        quiet: bool,
    ) -> CheckpointCallback:
        """Prepare the folder of a run, and return the callback that saves checkpoints there."""
        tracking = member.settings.tracking
        return CheckpointCallback(
            self.checkpoints(folder, member, session, log, quiet),
            tracking,
            self.signals if self.group is None else AgreedSignal(self.group, self.signals),
            recorder if tracking.level == "full" else None,
            log,
        )

    def checkpoints(
        self,
        folder: Path,
        member: PreparedMember,
        session: Session,
        log: logging.Logger,
        quiet: bool,
    ) -> Checkpoints:
        """Prepare the folder of a run, whose weights are about to change, and return the
        checkpoints there.
        """
        if not self.signals.installed:
            log.info("not the main thread: signals are not handled")
        refuse_links(folder / name for name in ("pictures", "projector"))
        remove_intervals(folder)
        write_data_report(folder, member, quiet)
        return Checkpoints(make_folder(folder / "checkpoints"), identity(member, session.device))

    def train(self, session: Session, name: str, quiet: bool) -> tuple[Outcome, int | None]:
        """Train until the end or a signal; return the outcome and the signal that ended it."""
        total = max(session.groups[0].population.early_stopping.last_step_K.tolist())
        with Progress(total, name, quiet=quiet, unit="steps") as bar:
            session.callbacks.append(ProgressCallback(bar))
            _, stopped_by = self.until_stopped(session.run)
        outcome = session.outcomes()[0]
        return outcome, stopped_by if outcome.status == "interrupted" else None

    def until_stopped(self, train: Callable[[], None]) -> tuple[bool, int | None]:
        """Call `train`, which a signal stops between two steps; return whether it was stopped, and
        the signal.
        """
        # from now on a signal takes effect between two steps
        self.signals.raise_immediately = False
        try:
            self.signals.check()
            train()
        except KeyboardInterrupt as stop:
            return True, getattr(stop, "signal", None)
        return False, None


def create_run_folder(settings: Settings, path: Path | None) -> RunFolder:
    """Create and lock the folder of a run: `path`, or a new one below outputs/."""
    if path is not None:
        return create(path)
    return create_unique(new_folder(settings, DEFAULT_ROOT))


def new_folder(settings: Settings, root: Path) -> Path:
    """Return a new folder for a run below `root`, which is not created."""
    return default_folder(root, settings.name, "runs" if settings.debug is None else DEBUG)


class ProgressCallback(Callback):
    """Shows the progress of a run."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        values = rows[-1].values[:, 0].tolist()
        self.bar.update(rows[-1].step, dict(zip(group.history_buffer.names, values, strict=True)))


def models(
    settings: Settings, preprocessing: Preprocessing, outcome: Outcome
) -> tuple[Model, Model]:
    """The model with its best and with its last weights."""
    best, last = (
        Model.stacked(settings, preprocessing, [theta_P], [buffers])
        for theta_P, buffers in (
            (outcome.theta_P, outcome.buffers),
            (outcome.last_theta_P, outcome.last_buffers),
        )
    )
    return best, last

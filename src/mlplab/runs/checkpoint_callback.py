"""The callback that saves a checkpoint when one is due, and stops the training on a signal."""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mlplab.errors import StateError
from mlplab.io.files import DISK_FULL
from mlplab.io.reading import fault_of
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.runs.fingerprint import fingerprint_of_group
from mlplab.runs.resume_checks import machine_changes
from mlplab.runs.signals import Interrupted, name
from mlplab.settings import Tracking
from mlplab.training import Callback, FrameRecorder, Group, Session
from mlplab.training.checkpoint import Tree, capture, pack_rows, restore, unpack_rows

MAX_SAVE_TIME_FRACTION = 0.01
"""Upper limit for the fraction of training time spent on saves every `checkpoint_seconds`."""


class StorageError(OSError):
    """The disk is full; the message names the free space and what to do."""


class SignalSource(Protocol):
    """Where the number of a signal that stops the training comes from; None: there was none."""

    @property
    def received(self) -> int | None: ...


@dataclass(frozen=True)
class Content:
    """What a checkpoint stores: the state between two steps, and the records of new evaluations."""

    epoch: int
    state: Tree
    records: list[dict[str, Tensor]]


class CheckpointCallback(Callback):
    """Saves checkpoints, and stops the training between two steps after a signal.

    Without `checkpoints` it only stops the training. The state of the `recorder` is saved too.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        tracking: Tracking,
        signals: SignalSource,
        recorder: FrameRecorder | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.checkpoints, self.signals, self.recorder, self.log = (
            checkpoints,
            signals,
            recorder,
            log,
        )
        self.seconds, self.epochs = tracking.checkpoint_seconds, tracking.checkpoint_epochs
        self.stopwatch = Stopwatch()
        self.elapsed_before = ComputeTime()  # before this process resumed the training
        self.exact = True  # False after a resume under conditions that may change the numbers
        self.saved = 0  # number of rows of the history buffer that are saved
        self._next_save = self._deadline(self.seconds)
        self._saved_step = -1

    def _deadline(self, seconds: float | None) -> float:
        return math.inf if seconds is None or not self.checkpoints else time.monotonic() + seconds

    @property
    def has_saved(self) -> bool:
        """Whether a checkpoint was saved, or the training was restored from one."""
        return self._saved_step >= 0

    def inherit_schedule(self, other: CheckpointCallback) -> None:
        """Continue the schedule of the callback that this one replaces: no save is delayed."""
        self._next_save, self.elapsed_before, self.stopwatch = (
            other._next_save,
            other.elapsed_before,
            other.stopwatch,
        )

    @property
    def elapsed(self) -> ComputeTime:
        """The time of training, including that before a resume."""
        return self.elapsed_before + self.stopwatch.elapsed

    def should_pause(self, session: Session, group: Group) -> bool:
        return self.signals.received is not None or time.monotonic() >= self._next_save

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        return None if self.epochs is None else epoch - epoch % self.epochs + self.epochs

    def on_pause(self, session: Session, group: Group) -> None:
        if not self.should_pause(session, group) and not self._epoch_is_due(group):
            return  # the pause is another callback's
        self.save(session, group)
        if (signal := self.signals.received) is not None:
            if self.log is not None:
                self.log.info("%s: stopped after step %d", name(signal), group.stepper.step)
            raise Interrupted(signal)

    def _epoch_is_due(self, group: Group) -> bool:
        return self.epochs is not None and any(
            group.stepper.completed_epochs(index) % self.epochs == 0
            for index in group.indices_in_training()
        )

    def save(self, session: Session, group: Group) -> None:
        """Save now, unless this step is saved already. Raises StorageError if the disk is full."""
        step = self.step_of(session, group)
        if self.checkpoints is None or step == self._saved_step:
            return
        start = time.monotonic()
        content = self.content(session, group)
        try:
            self.checkpoints.save(step, content.epoch, content.state, content.records, self.elapsed)
        except OSError as error:
            raise _with_free_space(error, self.checkpoints) from error
        self._saved_step = step
        self.count_saved(session, group)
        duration = time.monotonic() - start
        self._next_save = self._deadline(
            self.seconds and max(self.seconds, duration / MAX_SAVE_TIME_FRACTION)
        )
        session.notify("on_checkpoint")

    def step_of(self, session: Session, group: Group) -> int:
        """The step that names a checkpoint, which no other state of the training has."""
        return group.stepper.step

    def content(self, session: Session, group: Group) -> Content:
        """Return what a checkpoint of the present state stores."""
        session.read(group)
        recorded = self.recorder.state() if self.recorder else None
        state = {"loop": capture(group), "recorder": recorded}
        records = pack_rows(group.history_buffer.rows[self.saved :])
        return Content(group.stepper.epoch, state, records)

    def count_saved(self, session: Session, group: Group) -> None:
        """Called when all evaluations read so far are saved."""
        self.saved = len(group.history_buffer.rows)

    def close(self) -> None:
        """Close the checkpoint files."""
        if self.checkpoints is not None:
            self.checkpoints.close()

    def restore(self, group: Group, saved: Saved) -> None:
        """Restore a new group and the recorder to the checkpoint.

        Raises StateError if it belongs to another run.
        """
        try:
            restore(group, saved.tree["loop"], unpack_rows(saved.history))
            if self.recorder is not None and saved.tree["recorder"] is not None:
                self.recorder.load(saved.tree["recorder"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"The checkpoint of step {saved.step} does not belong to this training:"
                f" {fault_of(error)}"
            ) from error
        self.saved = len(group.history_buffer.rows)
        self.continue_from(saved, group)

    def continue_from(self, saved: Saved, group: Group) -> None:
        """Continue the clock and the files of a checkpoint that was restored; `group` is one that
        trains as all others do.
        """
        manifest = saved.manifest
        self._saved_step = saved.step
        self.elapsed_before = ComputeTime(
            float(manifest["elapsed"]), float(manifest.get("cpu_elapsed", 0.0))
        )
        now = fingerprint_of_group(group, saved.manifest["fingerprint"]["members"])
        self.exact = not machine_changes(saved, now)
        if self.checkpoints is not None:
            self.checkpoints.resume(saved)


def _with_free_space(error: OSError, checkpoints: Checkpoints) -> OSError:
    """The error, with a message about free space if the disk is full."""
    if error.errno not in DISK_FULL:
        return error
    free = shutil.disk_usage(checkpoints.folder).free
    return StorageError(
        error.errno,
        f"a checkpoint could not be written into {checkpoints.folder}: {error.strerror}, {free:,}"
        " bytes are free. The previous checkpoint is intact: free some space and continue with"
        " `mlplab resume`",
    )

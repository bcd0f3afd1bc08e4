"""The callback after each training step: saves a checkpoint when one is due, and stops the training
on a signal.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time

from mlplab.errors import StateError
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.fingerprint import fingerprint
from mlplab.runs.resume_checks import machine_changes
from mlplab.runs.signals import Interrupted, Signals, name
from mlplab.settings import Tracking
from mlplab.training import FrameRecorder, Loop
from mlplab.training.checkpoint import capture, pack_rows, restore, unpack_rows

MAX_SAVE_TIME_FRACTION = 0.01
"""Upper limit for the fraction of training time spent on saves every `checkpoint_seconds`."""


class StorageError(OSError):
    """The disk is full; the message names the free space and what to do."""


class CheckpointCallback:
    """Saves checkpoints and honors signals; assigned to a loop's `after_step`."""

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        tracking: Tracking,
        signals: Signals,
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
        # seconds of training before this process resumed it
        self.started, self.elapsed_before = time.monotonic(), 0.0
        self.exact = True  # False after a resume under conditions that may change the numbers
        self.saved = 0  # number of rows of the history buffer that are saved
        self._next_save = self._deadline(self.seconds)
        self._saved_step = -1

    def _deadline(self, seconds: float | None) -> float:
        return float("inf") if seconds is None else time.monotonic() + seconds

    @property
    def has_saved(self) -> bool:
        """Whether a checkpoint was saved, or the training was restored from one."""
        return self._saved_step >= 0

    def inherit_schedule(self, other: CheckpointCallback) -> None:
        """Continue the schedule of the callback that this one replaces: no save is delayed."""
        self._next_save, self.elapsed_before, self.started = (
            other._next_save,
            other.elapsed_before,
            other.started,
        )

    @property
    def elapsed(self) -> float:
        """Seconds of training, including those before a resume."""
        return self.elapsed_before + time.monotonic() - self.started

    def __call__(self, loop: Loop) -> None:
        if (
            self.signals.received is None
            and time.monotonic() < self._next_save
            and not self._epoch_is_due(loop)
        ):
            return
        self.save(loop)
        if self.signals.received is not None:
            if self.log is not None:
                self.log.info("%s: stopped after step %d", name(self.signals.received), loop.step)
            raise Interrupted(self.signals.received)

    def _epoch_is_due(self, loop: Loop) -> bool:
        return (
            self.epochs is not None
            and loop.batch == loop.population.batches.per_epoch
            and loop.epoch % self.epochs == 0
        )

    def save(self, loop: Loop) -> None:
        """Save now, unless this step is saved already. Raises StorageError if the disk is full."""
        if self.checkpoints is None or loop.step == self._saved_step:
            return
        start = time.monotonic()
        loop.read()
        tree: dict[str, object] = {
            "loop": capture(loop),
            "recorder": self.recorder.state() if self.recorder else None,
        }
        rows = loop.history_buffer.rows
        try:
            self.checkpoints.save(
                loop.step, loop.epoch, tree, pack_rows(rows[self.saved :]), self.elapsed
            )
        except OSError as error:
            raise _with_free_space(error, self.checkpoints) from error
        self.saved, self._saved_step = len(rows), loop.step
        duration = time.monotonic() - start
        self._next_save = self._deadline(
            self.seconds and max(self.seconds, duration / MAX_SAVE_TIME_FRACTION)
        )

    def close(self) -> None:
        """Close the checkpoint files."""
        if self.checkpoints is not None:
            self.checkpoints.close()

    def attach_recorder(self, recorder: FrameRecorder, saved: Saved | None = None) -> None:
        """Save the state of this recorder too, and restore it from `saved`."""
        self.recorder = recorder
        if saved is not None and saved.tree["recorder"] is not None:
            recorder.load(saved.tree["recorder"])

    def restore(self, loop: Loop, saved: Saved) -> None:
        """Restore a new loop to the checkpoint. Raises StateError if it belongs to another run."""
        try:
            restore(loop, saved.tree["loop"], unpack_rows(saved.history))
            if self.recorder is not None:
                self.attach_recorder(self.recorder, saved)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"The checkpoint of step {saved.step} does not belong to this training:"
                f" {type(error).__name__}: {error}"
            ) from error
        self.saved, self._saved_step = len(loop.history_buffer.rows), loop.step
        self.elapsed_before = float(saved.manifest["elapsed"])
        now = fingerprint(
            loop.population.theta_KP.device,
            str(loop.population.theta_KP.dtype).removeprefix("torch."),
            saved.manifest["fingerprint"]["members"],
        )
        self.exact = not machine_changes(saved, now)
        if self.checkpoints is not None:
            self.checkpoints.resume(saved)


def _with_free_space(error: OSError, checkpoints: Checkpoints) -> OSError:
    """The error, with a message about free space if the disk is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    free = shutil.disk_usage(checkpoints.folder).free
    return StorageError(
        error.errno,
        f"a checkpoint could not be written into {checkpoints.folder}: {error.strerror}, {free:,}"
        " bytes are free. The previous checkpoint is intact: free some space and continue with"
        " `mlplab resume`",
    )

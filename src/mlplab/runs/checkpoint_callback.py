"""Looks in after every step of a training: saves a checkpoint when it is time, and stops where
somebody asked for it.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from typing import Any

from mlplab.errors import StateError
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.fingerprint import fingerprint
from mlplab.runs.resume_checks import machine_changes
from mlplab.runs.signals import Interrupted, Signals, name
from mlplab.settings import Tracking
from mlplab.training import FrameRecorder, Loop
from mlplab.training.checkpoint import capture, pack_rows, restore, unpack_rows

SHARE = 0.01
"""The largest part of a training's time that saving by time may take."""


class StorageError(OSError):
    """The disk took no more; the message says what was there before and is still."""


class CheckpointCallback:
    """`keeper(loop)` goes to the loop's `after_step`."""

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
        # seconds spent on the training before it was resumed
        self.started, self.before = time.monotonic(), 0.0
        self.exact = True  # False once it was resumed where numbers may come out otherwise
        self.saved = 0  # rows of the journal that are in the history
        self._next = self._in(self.seconds)
        self._saved_step = -1

    def _in(self, seconds: float | None) -> float:
        return float("inf") if seconds is None else time.monotonic() + seconds

    @property
    def has_saved(self) -> bool:
        """Whether there is a checkpoint of its own, or one that it was restored from."""
        return self._saved_step >= 0

    def wait_as(self, before: CheckpointCallback) -> None:
        """Save when the one before would have: members that come and go do not put a save off."""
        self._next, self.before, self.started = before._next, before.before, before.started

    @property
    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.before + time.monotonic() - self.started

    def __call__(self, loop: Loop) -> None:
        if (
            self.signals.received is None
            and time.monotonic() < self._next
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
        """Save now, unless this step is saved already."""
        if self.checkpoints is None or loop.step == self._saved_step:
            return
        began = time.monotonic()
        loop.read()
        tree: dict[str, Any] = {
            "loop": capture(loop),
            "recorder": self.recorder.state() if self.recorder else None,
        }
        rows = loop.history_buffer.rows
        try:
            self.checkpoints.save(
                loop.step, loop.epoch, tree, pack_rows(rows[self.saved :]), self.elapsed
            )
        except OSError as error:
            raise _explained(error, self.checkpoints) from error
        self.saved, self._saved_step = len(rows), loop.step
        took = time.monotonic() - began
        self._next = self._in(self.seconds and max(self.seconds, took / SHARE))

    def close(self) -> None:
        """No more saves."""
        if self.checkpoints is not None:
            self.checkpoints.close()

    def watch(self, recorder: FrameRecorder, saved: Saved | None = None) -> None:
        """Keep what this recorder has seen too, and give it what was saved of it."""
        self.recorder = recorder
        if saved is not None and saved.tree["recorder"] is not None:
            recorder.load(saved.tree["recorder"])

    def restore(self, loop: Loop, saved: Saved) -> None:
        """Put a new loop where the checkpoint was. Raises StateError."""
        try:
            restore(loop, saved.tree["loop"], unpack_rows(saved.history))
            if self.recorder is not None:
                self.watch(self.recorder, saved)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"The checkpoint of step {saved.step} is not one of this training:"
                f" {type(error).__name__}: {error}"
            ) from error
        self.saved, self._saved_step = len(loop.history_buffer.rows), loop.step
        self.before = float(saved.manifest["elapsed"])
        now = fingerprint(
            loop.population.theta_KP.device,
            str(loop.population.theta_KP.dtype).removeprefix("torch."),
            saved.manifest["fingerprint"]["members"],
        )
        self.exact = not machine_changes(saved, now)
        if self.checkpoints is not None:
            self.checkpoints.resume(saved)


def _explained(error: OSError, checkpoints: Checkpoints) -> OSError:
    """A full disk in words."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    free = shutil.disk_usage(checkpoints.folder).free
    return StorageError(
        error.errno,
        f"a checkpoint could not be written into {checkpoints.folder}: {error.strerror}, {free:,}"
        " bytes are free. The checkpoint before it is whole; make room and go on with `mlplab"
        " resume`",
    )

"""The progress shown while a sweep trains: how many jobs are done, how many failed and why, and the
remaining time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mlplab.sweeps.plan.cost import SECONDS_PER_JOB_FOLDER
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.plan.tracked import FOLDERS
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress
from mlplab.training import Callback, Group, Row, Session

MAX_NOTES = 10
"""Failures printed one by one; further ones are only counted, and listed in summary.md."""


class SweepProgress:
    """A progress bar over jobs and a note for each failure; prints nothing if `quiet`."""

    def __init__(self, plan: Plan, quiet: bool = False) -> None:
        self.plan, self.quiet = plan, quiet
        self.bar = Progress(len(plan.jobs), plan.name, quiet=quiet, unit="jobs")
        self.done = self.failures = 0
        self._in_progress = 0.0
        self._done_before = 0
        self._seconds_training = self._seconds_writing = 0.0
        self._last_call = time.monotonic()

    def start(self, done: int) -> None:
        """Start the bar; `done` jobs were finished before."""
        self._done_before = done
        self._last_call = time.monotonic()
        self.bar = Progress(
            len(self.plan.jobs) - done, self.plan.name, quiet=self.quiet, unit="jobs"
        )
        if done and not self.quiet:
            note(f"{done} of {len(self.plan.jobs)} jobs are already done and are left unchanged")

    def progress(self, in_progress: float) -> None:
        """Show the fraction of the running jobs that is trained, in units of jobs."""
        self._in_progress = in_progress
        self._seconds_training += self._since_last_call()
        self.bar.update(
            self.done,
            in_progress=in_progress,
            remark=f"{self.failures} failed" if self.failures else "",
            seconds_left=self._seconds_left(),
        )

    def _since_last_call(self) -> float:
        now = time.monotonic()
        seconds, self._last_call = now - self._last_call, now
        return seconds

    def _seconds_left(self) -> float | None:
        """The estimated time to train the other jobs, and to store all that are not: small
        networks take longer to write as folders than to train.
        """
        trained = self.done + self._in_progress
        if not trained:
            return None
        unknown = SECONDS_PER_JOB_FOLDER if self.plan.options.jobs == FOLDERS else 0.0
        per_job = self._seconds_writing / self.done if self.done else unknown
        return self._seconds_training / trained * (self.bar.total - trained) + per_job * (
            self.bar.total - self.done
        )

    def progress_to(self, done: int) -> None:
        """Show that `done` jobs of the plan are stored, by any process."""
        self.bar.update(done - self._done_before)

    def ended(self, number: int, status: str, reason: str) -> None:
        """Count a job that was stored, and note a failure."""
        self.done += 1
        self._seconds_writing += self._since_last_call()
        if status not in ("done", "pruned"):
            self.failures += 1
            if self.failures <= MAX_NOTES and not self.quiet:
                overrides = " ".join(self.plan.job(number).overrides)
                note(f"job {number} {status}: {reason}  ({overrides})")
            elif self.failures == MAX_NOTES + 1 and not self.quiet:
                note(
                    "more jobs fail; they are counted here, and each is listed with its reason in"
                    " summary.md"
                )
        self.progress(max(0.0, self._in_progress - 1))

    def halve(self, members: int, reason: str) -> None:
        """Note that a population is split because it could not be trained as a whole."""
        if not self.quiet:
            note(f"a population of {members} is trained as two halves: {reason}")

    def wait(self) -> None:
        """Show that this process waits while others train the remaining jobs."""
        self.progress(0.0)

    def close(self) -> None:
        self.bar.close()


class SessionProgress(Callback):
    """Shows how far the groups are whose jobs have no folders yet."""

    def __init__(self, display: SweepProgress) -> None:
        self.display = display
        self._last_steps: dict[Group, int] = {}
        self._jobs: dict[Group, float] = {}  # how much of its jobs is trained
        self._in_progress = 0.0

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        if group not in self._last_steps:
            self._last_steps[group] = max(group.population.early_stopping.last_step_K.tolist())
        trained = rows[-1].step / self._last_steps[group] * len(group.numbers)
        self._in_progress += trained - self._jobs.get(group, 0.0)
        self._jobs[group] = trained
        self.display.progress(self._in_progress)

    def discard(self, group: Group) -> None:
        """Leave out a group whose jobs count as ended."""
        self._in_progress -= self._jobs.pop(group, 0.0)

"""What a person sees while a sweep trains: how many jobs are done, how many failed and why, and how
long it will take.
"""

from __future__ import annotations

from mlplab.sweeps.plan.plan import Plan
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress

MOST_NOTES = 10
"""Failures that are told one by one; the others are counted, and listed in summary.md."""


class SweepProgress:
    """A progress bar over jobs, and a note for each failure as it happens. Nothing at all when
    quiet.
    """

    def __init__(self, plan: Plan, quiet: bool = False) -> None:
        self.plan, self.quiet = plan, quiet
        self.bar = Progress(len(plan.jobs), plan.name, quiet=quiet, unit="jobs")
        self.done = self.failures = 0
        self._under_way = 0.0
        self._before = 0

    def start(self, done: int) -> None:
        """`done` jobs were finished before."""
        self._before = done
        self.bar = Progress(
            len(self.plan.jobs) - done, self.plan.name, quiet=self.quiet, unit="jobs"
        )
        if done and not self.quiet:
            note(f"{done} of {len(self.plan.jobs)} jobs are done already and stay as they are")

    def progress(self, in_progress: float) -> None:
        """So much of the jobs under way is trained, counted in jobs."""
        self._under_way = in_progress
        self.bar.update(
            self.done,
            in_progress=in_progress,
            remark=f"{self.failures} failed" if self.failures else "",
        )

    def progress_to(self, done: int) -> None:
        """So many jobs of the plan have their folders: others trained them."""
        self.bar.update(done - self._before)

    def ended(self, number: int, status: str, reason: str) -> None:
        """A job has its folder."""
        self.done += 1
        if status not in ("done", "pruned"):
            self.failures += 1
            if self.failures <= MOST_NOTES and not self.quiet:
                said = {"failed": "failed", "diverged": "diverged"}.get(status, status)
                note(
                    f"job {number} {said}: {reason}  ({' '.join(self.plan.job(number).overrides)})"
                )
            elif self.failures == MOST_NOTES + 1 and not self.quiet:
                note(
                    "more jobs fail; they are counted here, and each is listed with its reason in"
                    " summary.md"
                )
        self.progress(max(0.0, self._under_way - 1))

    def halve(self, members: int, reason: str) -> None:
        """A population could not be trained as a whole."""
        if not self.quiet:
            note(f"a population of {members} is trained as two halves: {reason}")

    def wait(self) -> None:
        """Others are at work on the rest."""
        self.progress(0.0)

    def close(self) -> None:
        self.bar.close()

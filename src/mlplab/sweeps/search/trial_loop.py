"""The trials of a search on their way: from the study into the plan, through training, and back
with what they came to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.settings import Settings
from mlplab.sweeps import run_sweep
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.runner import Runner
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.plan.plan import Job, Plan, job_hash
from mlplab.sweeps.plan.plan_file import NAME, read_plan
from mlplab.sweeps.report import collect
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.pruned_search import PrunedSearch, RequestedTrial
from mlplab.sweeps.search.study import Study
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress

if TYPE_CHECKING:
    from mlplab.sweeps.search.definition import Search


def run_trials(search: Search, folder: Path, study: Study) -> Sweep:
    """Until the study has its trials, or a signal comes."""
    course = _TrialLoop(search, folder, study)
    try:
        return course.waves() if search.sweep.pruning == "none" else course.race()
    finally:
        if course.display is not None:
            course.display.close()


class _TrialLoop:
    def __init__(self, search: Search, folder: Path, study: Study) -> None:
        self.search, self.folder, self.study = search, folder, study
        self.plan: Plan | None = read_plan(folder) if (folder / NAME).is_file() else None
        self.display: _Trials | None = None
        self.runner: Runner | None = None  # of a race, which goes on while the plan grows
        self.told_before = len(study.trials()) - len(study.in_flight())
        # of a job under way -> of its trials: those of the same words have one job
        self.numbers: dict[int, list[int]] = {}

    @cached_property
    def ledger(self) -> JobStore:
        """Made when there is a plan: it makes the folder of the jobs."""
        return JobStore(self.folder)

    def waves(self) -> Sweep:
        """So many trials at a time, each wave to its end."""
        while asked := self.study.in_flight() or self._more(self.search.sweep.parallel):
            jobs = self._planned(asked)
            assert self.plan is not None
            runner = run_sweep.make_executor(self.plan, self.folder, self._shown())
            runner.run()
            self._tell(jobs)
            if runner.status == "interrupted":
                return self._end(runner)
            if self.plan.options.fail_fast and any(self._result(job).fails for job in jobs):
                break
        return self._end()

    def race(self) -> Sweep:
        """Losers leave, and their places go to new trials."""
        asked = self.study.in_flight() or self._more(self.search.sweep.parallel)
        if asked:
            waiting = self._to_race(asked)
            assert self.plan is not None
            runner = self.runner = Runner(self.plan, self.folder, self._shown())
            PrunedSearch(runner, self.search.sweep.parallel, self._ask, self._tell).run(waiting)
            if runner.status == "interrupted":
                return self._end(runner)
        return self._end()

    def _more(self, room: int) -> dict[int, dict[str, Any]]:
        """New trials, as many as there is room for and the search still wants."""
        number = min(room, self.search.trials - len(self.study.trials()))
        return self.study.ask(number) if number > 0 else {}

    def _ask(self, room: int) -> list[RequestedTrial]:
        """New ones to train; trials whose job is known already are told, or wait for it."""
        while asked := self._more(room):
            if found := self._to_race(asked):
                return found
        return []

    def _to_race(self, asked: Mapping[int, Mapping[str, Any]]) -> list[RequestedTrial]:
        new = self._planned(asked)
        left = set(self.ledger.missing(job.number for job in new))
        self._tell([job for job in new if job.number not in left])
        return [
            (job, self.search.rungs(self.numbers[job.number][0], job.settings.training))
            for job in new
            if job.number in left
        ]

    def _planned(self, asked: Mapping[int, Mapping[str, Any]]) -> list[Job]:
        """The jobs of these trials that are not under way, in the plan."""
        made: list[Settings] = self.search.settings(list(asked.values()))
        hashes = [job_hash(one) for one in made]
        unique = list(dict(zip(hashes, made, strict=True)).values())
        own = self.search
        self.plan = run_sweep.write_sweep_plan(
            self.folder,
            unique,
            own.options,
            own.overrides,
            own.plugin_files,
            extend=self.plan is not None,
            quiet=True,
        )
        if self.runner is not None:
            self.runner.plan = self.plan
        if self.display is not None:
            self.display.plan = self.plan
        by_hash = {job.hash: job for job in self.plan.jobs}
        new: dict[int, Job] = {}
        for number, text in zip(asked, hashes, strict=True):
            job = by_hash[text]
            if job.number not in self.numbers:
                new[job.number] = job
            self.numbers.setdefault(job.number, []).append(number)
        return list(new.values())

    def _shown(self) -> _Trials:
        assert self.plan is not None
        self.display = self.display or _Trials(
            self.plan, self.search.quiet, self.search.trials, self.told_before
        )
        self.display.plan = self.plan
        return self.display

    def _result(self, job: Job) -> Any:
        assert self.plan is not None
        return collect.result(self.plan, job, self.ledger)

    def _tell(self, jobs: Sequence[Job]) -> None:
        """The study, of trials whose jobs have come to an end."""
        for job in jobs:
            result = self._result(job)
            if result.status in ("missing", "interrupted"):
                continue
            values = self.search.values(result.facts, result.metrics)
            for number in self.numbers.pop(job.number, []):
                self.study.tell(
                    number, result.status, values, result.reason, int(result.facts.get("epochs", 0))
                )

    def _end(self, interrupted: Runner | WorkerPool | None = None) -> Sweep:
        assert self.plan is not None
        ended = run_sweep.write_reports(self.plan, self.folder, interrupted is not None)
        return (
            dataclasses.replace(ended, signal=interrupted.signals.received or 0)
            if interrupted is not None
            else ended
        )


class _Trials(SweepProgress):
    """One bar for all of them."""

    def __init__(self, plan: Plan, quiet: bool, total: int, done: int) -> None:
        super().__init__(plan, quiet)
        self._done_before = done
        self.bar = Progress(total - done, plan.name, quiet=quiet, unit="trials")
        if done and not quiet:
            note(f"{done} of {total} trials are done already")

    def start(self, done: int) -> None:
        """The bar goes on."""

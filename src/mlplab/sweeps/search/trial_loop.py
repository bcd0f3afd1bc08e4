"""The loop over the trials of a search: from the study into the plan, through training, and back
to the study with their results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mlplab.sweeps import run_sweep
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.runner import Runner
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.plan.hashing import job_hash
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.sweeps.plan.plan_file import NAME, read_plan
from mlplab.sweeps.report import collect
from mlplab.sweeps.report.results import JobResult
from mlplab.sweeps.report.status import write_end, write_start
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.pruned_search import PrunedSearch, RequestedTrial
from mlplab.sweeps.search.study import Study
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress


def run_trials(search: Search, folder: Path, study: Study) -> Sweep:
    """Train until the study has all of its trials, or a signal arrives."""
    loop = _TrialLoop(search, folder, study)
    write_start(folder, search.first.config["name"], search.trials, study.statuses())
    try:
        return loop.run_in_waves() if search.sweep.pruning == "none" else loop.run_pruned()
    finally:
        if loop.display is not None:
            loop.display.close()


class _TrialLoop:
    def __init__(self, search: Search, folder: Path, study: Study) -> None:
        self.search, self.folder, self.study = search, folder, study
        self._plan = read_plan(folder) if (folder / NAME).is_file() else None
        self.display: _TrialsProgress | None = None
        self.runner: Runner | None = None  # of a pruned search, whose plan grows during training
        self.num_reported_before = len(study.trials()) - len(study.in_flight())
        # job number -> numbers of its trials; trials with the same overrides share a job
        self.trial_numbers: dict[int, list[int]] = {}

    @property
    def plan(self) -> Plan:
        """The plan, which exists once the first trials are proposed."""
        assert self._plan is not None
        return self._plan

    @cached_property
    def job_store(self) -> JobStore:
        """The job store, created lazily, since it creates the folder of the jobs."""
        return open_store(self.plan, self.folder)

    def run_in_waves(self) -> Sweep:
        """Train `sweep.parallel` trials at a time, each wave to completion."""
        while requested := self._wave():
            jobs = self._add_to_plan(requested)
            runner = run_sweep.make_executor(self.plan, self.folder, self._display())
            runner.run()
            self._tell(jobs)
            if runner.status == "interrupted" or (
                self.plan.options.fail_fast and any(self._result(job).fails for job in jobs)
            ):
                return self._end(runner)
        return self._end()

    def _wave(self) -> dict[int, dict[str, object]]:
        """Return the trials of the next wave: new ones, or those of a wave that a process was
        killed in, and the trials that it had not proposed yet.
        """
        in_flight, parallel = self.study.in_flight(), self.search.parallel
        number = -len(self.study.trials()) % parallel if in_flight else parallel
        return in_flight | self._more(number)

    def run_pruned(self) -> Sweep:
        """Prune losing trials during training, and replace them with new ones."""
        requested = self.study.in_flight() or self._more(self.search.parallel)
        if requested:
            waiting = self._untrained(requested)
            runner = self.runner = Runner(self.plan, self.folder, self._display())
            PrunedSearch(runner, self.search.parallel, self._ask, self._tell).run(waiting)
        return self._end(self.runner)

    def _more(self, room: int) -> dict[int, dict[str, object]]:
        """Propose new trials, up to `room` and to the number that the search still lacks."""
        number = min(room, self.search.trials - len(self.study.trials()))
        return self.study.ask(number) if number > 0 else {}

    def _ask(self, room: int) -> list[RequestedTrial]:
        """Return new trials to train.

        A trial whose job is already finished is reported at once; one whose job is in training
        waits for it.
        """
        trials: list[RequestedTrial] = []
        while not trials and (requested := self._more(room)):
            trials = self._untrained(requested)
        return trials

    def _untrained(self, requested: Mapping[int, Mapping[str, object]]) -> list[RequestedTrial]:
        """Plan the trials; report those whose jobs are finished, and return the others."""
        new = self._add_to_plan(requested)
        missing = set(self.job_store.missing(job.number for job in new))
        self._tell([job for job in new if job.number not in missing])
        return [
            (job, self.search.rungs(self.trial_numbers[job.number][0], job.settings.training))
            for job in new
            if job.number in missing
        ]

    def _add_to_plan(self, requested: Mapping[int, Mapping[str, object]]) -> list[Job]:
        """Add the jobs of these trials to the plan; return those that are not in progress."""
        all_settings = self.search.settings(list(requested.values()))
        hashes = [job_hash(settings) for settings in all_settings]
        self._plan = run_sweep.write_sweep_plan(
            self.folder,
            list(dict(zip(hashes, all_settings, strict=True)).values()),
            self.search.options,
            self.search.overrides,
            self.search.plugin_files,
            extend=self._plan is not None,
            quiet=True,
            config_dirs=self.search.composer.dirs,
        )
        if self.runner is not None:
            self.runner.plan = self.plan
        if self.display is not None:
            self.display.plan = self.plan
        job_of = {job.hash: job for job in self.plan.jobs}
        jobs = [job_of[digest] for digest in dict.fromkeys(hashes)]
        new = [job for job in jobs if job.number not in self.trial_numbers]
        for number, digest in zip(requested, hashes, strict=True):
            self.trial_numbers.setdefault(job_of[digest].number, []).append(number)
        return new

    def _display(self) -> _TrialsProgress:
        self.display = self.display or _TrialsProgress(
            self.plan, self.search.quiet, self.search.trials, self.num_reported_before
        )
        return self.display

    def _result(self, job: Job) -> JobResult:
        return collect.result(self.plan, job, self.job_store)

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Report to the study the trials whose jobs have ended."""
        self.job_store.refresh()
        for job in jobs:
            result = self._result(job)
            if result.status in ("missing", "interrupted"):
                continue
            values = self.search.values(result.facts, result.metrics)
            for number in self.trial_numbers.pop(job.number, []):
                self.study.tell(
                    number, result.status, values, result.reason, int(result.facts.get("epochs", 0))
                )

    def _end(self, last: Runner | WorkerPool | None = None) -> Sweep:
        """Write the reports; `last` is what trained the last jobs, if any were left."""
        is_interrupted = last is not None and last.status == "interrupted"
        sweep = run_sweep.write_reports(self.plan, self.folder, is_interrupted)
        write_end(
            self.folder,
            self.plan.name,
            self.search.trials,
            self.study.statuses(),
            is_search=True,
        )
        received = last.signals.received if last is not None and is_interrupted else None
        return dataclasses.replace(sweep, signal=received or 0)


class _TrialsProgress(SweepProgress):
    """One progress bar over all trials."""

    def __init__(self, plan: Plan, quiet: bool, total: int, done: int) -> None:
        super().__init__(plan, quiet)
        self._done_before = done
        self.bar = Progress(total - done, plan.name, quiet=quiet, unit="trials")
        if done and not quiet:
            note(f"{done} of {total} trials are already done")

    def start(self, done: int) -> None:
        """Keep the bar as it is when another wave starts."""

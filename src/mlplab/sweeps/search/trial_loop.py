"""The loop over the trials of a search: from the study into the plan, through training, and back
to the study with their results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mlplab.runs.plan_text import NAME
from mlplab.sweeps import run_sweep
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.runner import Runner
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.plan.hashing import job_hash
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.plan.tracked import job_format
from mlplab.sweeps.report import collect
from mlplab.sweeps.report.results import JobResult
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.pruned_search import PrunedSearch
from mlplab.sweeps.search.study import Study
from mlplab.sweeps.search.trial_results import TrialResult
from mlplab.sweeps.search.trials import Trial
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress


def run_trials(search: Search, folder: Path, study: Study) -> Sweep:
    """Train until the study has all of its trials, or a signal arrives."""
    loop = _TrialLoop(search, folder, study)
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
        # the jobs of each trial that has not ended; trials with the same parameters share jobs
        self.jobs_of: dict[int, tuple[Job, ...]] = {}
        self.trials_of: dict[int, list[int]] = {}  # number of a job -> numbers of its trials

    @property
    def plan(self) -> Plan:
        """The plan, which exists once the first trials are proposed."""
        assert self._plan is not None
        return self._plan

    @cached_property
    def job_store(self) -> JobStore:
        """The job store, created lazily, since it creates the folder of the jobs."""
        return open_store(self.plan, self.folder, repair=True)

    def run_in_waves(self) -> Sweep:
        """Train `sweep.parallel` trials at a time, each wave to completion."""
        while requested := self._wave():
            jobs = self._add_to_plan(requested)
            runner = run_sweep.make_executor(
                self.plan, self.folder, self._display(), job_store=self.job_store
            )
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
            runner = self.runner = Runner(
                self.plan, self.folder, self._display(), job_store=self.job_store
            )
            PrunedSearch(runner, self.search.parallel, self._ask, self._tell, self._result).run(
                waiting
            )
        return self._end(self.runner)

    def _more(self, room: int) -> dict[int, dict[str, object]]:
        """Propose new trials, up to `room` and to the number that the search still lacks."""
        number = min(room, self.search.trials - len(self.study.trials()))
        return self.study.ask(number) if number > 0 else {}

    def _ask(self, room: int) -> list[Trial]:
        """Return new trials to train.

        A trial whose jobs are already finished is reported at once; one whose jobs are in training
        waits for them.
        """
        trials: list[Trial] = []
        while not trials and (requested := self._more(room)):
            trials = self._untrained(requested)
        return trials

    def _untrained(self, requested: Mapping[int, Mapping[str, object]]) -> list[Trial]:
        """Plan the trials; report those whose jobs are finished, and return the others."""
        new = {job.number for job in self._add_to_plan(requested)}
        missing = set(self.job_store.missing(new))
        trials: dict[int, Trial] = {}
        for number in requested:
            jobs = self.jobs_of[number]
            if new & missing & {job.number for job in jobs}:
                rungs = self.search.rungs(number, jobs[0].settings.training)
                trials.setdefault(jobs[0].number, Trial(jobs, rungs))
        self._tell([job for job in self.plan.jobs if job.number in new - missing])
        return list(trials.values())

    def _add_to_plan(self, requested: Mapping[int, Mapping[str, object]]) -> list[Job]:
        """Add the jobs of these trials to the plan; return those that are not in progress."""
        all_settings = self.search.settings(list(requested.values()))
        hashes = [[job_hash(settings) for settings in of_trial] for of_trial in all_settings]
        by_hash = {
            digest: settings
            for digests, of_trial in zip(hashes, all_settings, strict=True)
            for digest, settings in zip(digests, of_trial, strict=True)
        }
        new_settings = list(by_hash.values())
        options = self.search.options
        if self._plan is None:  # later trials are stored as the first ones
            num_jobs = self.search.trials * self.search.jobs_per_trial
            options = dataclasses.replace(options, jobs=job_format(new_settings, num_jobs))
        self._plan = run_sweep.write_sweep_plan(
            self.folder,
            new_settings,
            options,
            self.search.overrides,
            self.search.plugin_files,
            extend=self._plan is not None,
            quiet=True,
            config_dirs=self.search.composer.dirs,
            written=self._plan,
        )
        if self.runner is not None:
            self.runner.plan = self.plan
        if self.display is not None:
            self.display.plan = self.plan
        job_of = {job.hash: job for job in self.plan.jobs}
        new = [job for digest in by_hash if (job := job_of[digest]).number not in self.trials_of]
        for number, digests in zip(requested, hashes, strict=True):
            self.jobs_of[number] = tuple(job_of[digest] for digest in digests)
            for job in self.jobs_of[number]:
                self.trials_of.setdefault(job.number, []).append(number)
        return new

    def _display(self) -> _TrialsProgress:
        self.display = self.display or _TrialsProgress(
            self.plan, self.search.quiet, self.search, self.num_reported_before
        )
        return self.display

    def _result(self, job: Job) -> JobResult:
        return collect.result(self.plan, job, self.job_store)

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Report to the study the trials of these jobs of which no job is left to train."""
        self.job_store.refresh()
        numbers = dict.fromkeys(n for job in jobs for n in self.trials_of.get(job.number, ()))
        for number in numbers:
            results = [self._result(job) for job in self.jobs_of[number]]
            if any(result.status in ("missing", "interrupted") for result in results):
                continue
            for job in self.jobs_of.pop(number):
                self.trials_of[job.number].remove(number)
                if not self.trials_of[job.number]:
                    del self.trials_of[job.number]
            result = TrialResult.of(results, self.search.objectives)
            self.study.tell(number, **vars(result))

    def _end(self, last: Runner | WorkerPool | None = None) -> Sweep:
        """Read the results; `last` is what trained the last jobs, if any were left."""
        is_interrupted = last is not None and last.status == "interrupted"
        sweep = run_sweep.read_sweep(self.plan, self.folder, is_interrupted, self.job_store)
        if last is not None:
            last.compute_log.append()
        received = last.signals.received if last is not None and is_interrupted else None
        return dataclasses.replace(sweep, signal=received or 0)


class _TrialsProgress(SweepProgress):
    """One progress bar over all trials, or over their networks if a trial has several."""

    def __init__(self, plan: Plan, quiet: bool, search: Search, done: int) -> None:
        super().__init__(plan, quiet)
        size = search.jobs_per_trial
        self._done_before = done * size
        unit = "trials" if size == 1 else "networks"
        self.bar = Progress((search.trials - done) * size, plan.name, quiet=quiet, unit=unit)
        if done and not quiet:
            note(f"{done} of {search.trials} trials are already done")

    def start(self, done: int) -> None:
        """Keep the bar as it is when another wave starts."""

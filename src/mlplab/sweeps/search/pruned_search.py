"""A pruned search: at each rung the losing trials leave their population, and new trials take
over the freed capacity at once.

The state is stored in the sweep's folder: the scores of each rung in .search/rungs.json, training
populations as checkpoints. After a kill, saved trials continue from their checkpoints; the other
trials of the study that have no job folder yet start again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mlplab.errors import CheckpointError, StateError
from mlplab.io.files import write_json
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved, newest
from mlplab.runs.fingerprint import fingerprint
from mlplab.sweeps.execution.job_folders import JobFolders
from mlplab.sweeps.execution.runner import Runner, Stopped
from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trial_population import Trial, TrialPopulation
from mlplab.terminal.output import note

WORK_UNIT = 0
"""The index of the work unit under which a search stores its checkpoints."""
FREE_CAPACITY_DIVISOR = 8
"""New trials are requested once 1 / FREE_CAPACITY_DIVISOR of the capacity is free, since proposing
and admitting them one at a time is slow.
"""


RequestedTrial: TypeAlias = tuple[Job, Rungs]
"""A job that waits to be trained, and the rungs that it has to pass."""


@dataclass
class Entry:
    """A population, its checkpoint callback, and the checkpoint folders of its earlier members."""

    population: TrialPopulation
    checkpointer: CheckpointCallback
    start_time: float
    outdated_folders: list[Path]


class PrunedSearch:
    """Trains and prunes trials, at most `capacity` at a time.

    `ask(number)` returns up to that many new jobs with their rungs; `tell(jobs)` is called with
    jobs whose folders have been written.
    """

    def __init__(
        self,
        runner: Runner,
        capacity: int,
        ask: Callable[[int], Sequence[RequestedTrial]],
        tell: Callable[[Sequence[Job]], None],
    ) -> None:
        self.runner, self.capacity, self.ask, self.tell = runner, capacity, ask, tell
        self.file = runner.job_store.folder / ".search" / "rungs.json"
        self.rung_scores = RungScores(
            json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else None
        )
        self.entries: list[Entry] = []

    def run(self, waiting: Sequence[RequestedTrial]) -> None:
        """Train `waiting`, the trials left by an earlier process, then new ones until the end."""
        with self.runner.at_work():
            self.runner.work_unit = self.runner.plan.work_units[WORK_UNIT]
            try:
                self._resume(waiting)
                self._judge()  # some were saved at a rung, before they were compared
                while self._round():
                    pass
            except KeyboardInterrupt:  # the population that was training has been saved already
                for entry in self.entries:
                    entry.checkpointer.save(entry.population.loop)
                raise
            finally:
                for entry in self.entries:
                    entry.checkpointer.close()

    def _round(self) -> bool:
        """Admit new trials and train every population to its next event.

        Returns False if nothing is left to do.
        """
        free_capacity = self.capacity - sum(len(entry.population.trials) for entry in self.entries)
        if free_capacity >= max(1, self.capacity // FREE_CAPACITY_DIVISOR):
            self._admit(self.ask(free_capacity))
        while not self.entries:  # requested trials may have failed before training
            if not (requested := self.ask(self.capacity)):
                return False
            self._admit(requested)
        for entry in list(self.entries):
            self._advance(entry)
        self._judge()
        return True

    def _resume(self, waiting: Sequence[RequestedTrial]) -> None:
        """Restore the saved populations, then admit the waiting trials that are in none of them."""
        rungs_of = {str(job.number): rungs for job, rungs in waiting}
        checkpoints: list[tuple[str, Path, Saved]] = []
        for folder in self.runner.job_store.unfinished_checkpoints(WORK_UNIT):
            try:
                saved, _ = newest(folder)
            except CheckpointError as error:
                note(f"{error} The trials saved in it are trained again.")
                saved = None
            if saved is None:
                self.runner.job_store.forget(folder)
            else:
                checkpoints.append((str(saved.manifest["saved"]), folder, saved))
        for _, folder, saved in sorted(
            checkpoints, key=lambda item: (item[0], item[2].step), reverse=True
        ):
            if not self._restore(folder, saved, rungs_of):
                self.runner.job_store.forget(folder)
        in_training = self._jobs_in_training()
        if in_training and not self.runner.display.quiet:
            note(f"{len(in_training)} trials continue from their checkpoints")
        self._admit([(job, rungs) for job, rungs in waiting if str(job.number) not in in_training])

    def _jobs_in_training(self) -> set[str]:
        return {
            str(trial.job.number) for entry in self.entries for trial in entry.population.trials
        }

    def _restore(self, folder: Path, saved: Saved, rungs_of: Mapping[str, Rungs]) -> bool:
        """Restore the population of a checkpoint; return whether it was possible.

        Members that have a job folder by now are removed.
        """
        jobs_by_number = {str(job.number): job for job in self.runner.plan.jobs}
        hashes = saved.manifest["jobs"]
        if set(hashes) & self._jobs_in_training() or not set(hashes) & set(rungs_of):
            return False
        if any(
            name not in jobs_by_number or jobs_by_number[name].hash != digest
            for name, digest in hashes.items()
        ):
            return False
        no_rungs = Rungs((), 2, "")  # for members that have ended
        trials = [
            Trial(jobs_by_number[name], member, rungs_of.get(name, no_rungs))
            for name in hashes
            if (member := self.runner.member(jobs_by_number[name])) is not None
        ]
        if len(trials) < len(hashes):
            return False
        entry = self._entry(TrialPopulation(trials), folder)
        try:
            entry.checkpointer.restore(entry.population.loop, saved)
        except (StateError, CheckpointError) as error:
            note(f"{error} The trials saved in it are trained again.")
            return False
        for k in range(entry.population.loop.population.num_members):
            if str(entry.population.member(k).job.number) not in rungs_of:
                entry.population.prune(k, "ended before")
        self.entries.append(entry)
        self._remove_ended(entry)
        return True

    def _admit(self, requested: Sequence[RequestedTrial]) -> None:
        """Add each trial to the population of its structure, or to a new population.

        A trial whose optimizer trains one network at a time gets a separate population.
        """
        groups: dict[Hashable, list[Trial]] = {}
        for job, rungs in requested:
            member = self.runner.member(job)
            if member is None:
                self.tell([job])
                continue
            trial = Trial(job, member, rungs)
            groups.setdefault(trial.population_key, []).append(trial)
        by_key = {
            entry.population.trials[0].population_key: entry
            for entry in self.entries
            if entry.population.accepts_trials
        }
        for key, trials in groups.items():
            if key in by_key:
                entry = by_key[key]
                entry.population.admit(trials)
                self._replace_checkpointer(entry)
            else:
                self.entries.append(self._entry(TrialPopulation(trials)))

    def _entry(self, population: TrialPopulation, folder: Path | None = None) -> Entry:
        entry = Entry(population, self._make_checkpointer(population, folder), time.monotonic(), [])
        population.loop.after_step = entry.checkpointer
        return entry

    def _make_checkpointer(
        self, population: TrialPopulation, folder: Path | None = None
    ) -> CheckpointCallback:
        first, job_store = population.trials[0].member, self.runner.job_store
        identity = {
            "jobs": {str(trial.job.number): trial.job.hash for trial in population.trials},
            "data_hash": first.prepared.data_hash,
            "fingerprint": fingerprint(
                population.loop.population.theta_KP.device,
                first.settings.dtype,
                len(population.trials),
            ),
        }
        folder = folder or job_store.checkpoints(
            WORK_UNIT, [trial.job.number for trial in population.trials]
        )
        return CheckpointCallback(
            Checkpoints(folder, identity, job_store.folder),
            first.settings.tracking,
            self.runner.signals,
        )

    def _replace_checkpointer(self, entry: Entry) -> None:
        """Save a population whose members changed into another folder.

        The previous checkpoint stays until the first new one is written.
        """
        previous = entry.checkpointer
        if previous.has_saved and previous.checkpoints is not None:
            entry.outdated_folders.append(previous.checkpoints.folder)
        previous.close()
        entry.checkpointer = self._make_checkpointer(entry.population)
        entry.checkpointer.inherit_schedule(previous)
        entry.population.loop.after_step = entry.checkpointer

    def _advance(self, entry: Entry) -> None:
        """Train a population to its next event.

        If it raises, the runner isolates the failing trial and trains the others to completion.
        """
        try:
            entry.population.advance()
        except Exception:
            self._discard(entry)
            self.runner.train_members(
                [(trial.job, trial.member) for trial in entry.population.trials]
            )
            self.tell([trial.job for trial in entry.population.trials])
            return
        if entry.checkpointer.has_saved:
            for folder in entry.outdated_folders:
                self.runner.job_store.forget(folder)
            entry.outdated_folders = []

    def _judge(self) -> None:
        """Compare all trials that reached a rung in this round, across populations.

        Losing trials and those that have ended are removed.
        """
        groups: dict[tuple[Rungs, int], list[tuple[Entry, int, float]]] = {}
        for entry in self.entries:
            for k, epoch, value in entry.population.at_rungs():
                groups.setdefault((entry.population.member(k).rungs, epoch), []).append(
                    (entry, k, value)
                )
        for (rungs, epoch), members in groups.items():
            numbers = [entry.population.member(k).job.number for entry, k, _ in members]
            survivors, threshold = self.rung_scores.judge(
                rungs,
                epoch,
                {number: value for number, (*_, value) in zip(numbers, members, strict=True)},
            )
            rung = f"rung {rungs.epochs.index(epoch) + 1} (epoch {epoch})"
            for number, (entry, k, value) in zip(numbers, members, strict=True):
                if number not in survivors:
                    entry.population.prune(
                        k,
                        f"pruned at {rung}: {rungs.metric} {rungs.sign * value:.6g}, and"
                        f" {rungs.sign * threshold:.6g} was needed to continue",
                    )
        if groups:
            write_json(self.file, self.rung_scores.plain())
        for entry in list(self.entries):
            self._remove_ended(entry)

    def _remove_ended(self, entry: Entry) -> None:
        """Write the folder of each member that has ended, and report it to the study."""
        removed = entry.population.leave()
        if not removed:
            return
        outcomes = [outcome for _, outcome in removed]
        device = str(entry.population.loop.population.theta_KP.device)
        writer = JobFolders(
            self.runner.plan,
            [trial.member for trial, _ in removed],
            outcomes,
            device,
            time.monotonic() - entry.start_time,
        )
        for k, (trial, outcome) in enumerate(removed):
            self.runner.commit(writer, trial.job, k, outcome)
        self.tell([trial.job for trial, _ in removed])
        if self.runner.plan.options.fail_fast and any(
            outcome.status == "diverged" for outcome in outcomes
        ):
            raise Stopped
        if entry.population.trials:
            self._replace_checkpointer(entry)
        else:
            self._discard(entry)

    def _discard(self, entry: Entry) -> None:
        entry.checkpointer.close()
        self.entries.remove(entry)
        for folder in [
            *entry.outdated_folders,
            *(
                [entry.checkpointer.checkpoints.folder]
                if entry.checkpointer.checkpoints is not None
                else []
            ),
        ]:
            self.runner.job_store.forget(folder)

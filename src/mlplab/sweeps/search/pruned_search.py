"""A pruned search: at each rung the losing trials leave their population, and new trials take
over the freed capacity at once.

The state is stored in the sweep's folder: the scores of each rung in .search/rungs.json, training
populations as checkpoints. After a kill, saved trials continue from their checkpoints; the other
trials of the study that have no job folder yet start again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.errors import CheckpointError, StateError
from mlplab.io.files import parse_json, write_json
from mlplab.io.reading import RESTORE, reading
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved, newest
from mlplab.runs.compute_time import Stopwatch
from mlplab.runs.fingerprint import fingerprint_of_group
from mlplab.sweeps.execution.job_records import EndedJob
from mlplab.sweeps.execution.runner import Runner, Stopped
from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.report.results import JobResult
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trials import Trial, TrialMember, Trials
from mlplab.terminal.output import note
from mlplab.training import Callback, Group, Session
from mlplab.training.time_limit import TimeLimit

WORK_UNIT = 0
"""The index of the work unit under which a search stores its checkpoints."""
FREE_CAPACITY_DIVISOR = 8
"""New trials are requested once 1 / FREE_CAPACITY_DIVISOR of the capacity is free, since proposing
and admitting them one at a time is slow.
"""


@dataclass
class Saves:
    """How a group is saved: its callback, and the checkpoint folders of its earlier members."""

    checkpointer: CheckpointCallback
    outdated_folders: list[Path] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        """All checkpoint folders of the group."""
        checkpoints = self.checkpointer.checkpoints
        return [*self.outdated_folders, *([checkpoints.folder] if checkpoints else [])]


NO_RUNGS = Rungs((), 2, "")
"""The rungs of jobs that have ended."""


class PrunedSearch(Callback):
    """Trains and prunes trials, at most `capacity` at a time.

    `ask(number)` returns up to that many new trials; `tell(jobs)` is called with jobs whose folders
    have been written, and `result(job)` returns what such a folder says.
    """

    def __init__(
        self,
        runner: Runner,
        capacity: int,
        ask: Callable[[int], Sequence[Trial]],
        tell: Callable[[Sequence[Job]], None],
        result: Callable[[Job], JobResult],
    ) -> None:
        self.runner, self.capacity, self.ask, self.tell = runner, capacity, ask, tell
        self.result = result
        self.file = runner.job_store.folder / ".search" / "rungs.json"
        self.rung_scores = RungScores()
        if self.file.is_file():
            with reading(self.file, RESTORE):
                self.rung_scores = RungScores(parse_json(self.file.read_bytes()))
        self.trials = Trials()
        self.saves: dict[Group, Saves] = {}
        self.stopwatch = Stopwatch()  # since trials ended
        callbacks = [self.trials, self, TimeLimit(), runner.compute_log, *runner.callbacks]
        self.session = Session((), callbacks, fixed=True)

    def run(self, waiting: Sequence[Trial]) -> None:
        """Train `waiting`, the trials left by an earlier process, then new ones until the end."""
        with self.runner.at_work(), self.session.started():
            self.runner.work_unit = self.runner.plan.work_units[WORK_UNIT]
            try:
                self._resume(waiting)
                self._judge()  # some were saved at a rung, before they were compared
                while self._round():
                    pass
                self.runner.job_store.close_unit(WORK_UNIT)
                self.runner.job_store.close(self.runner.plan)
            except KeyboardInterrupt:  # the group that was training has been saved already
                for group, saves in self.saves.items():
                    saves.checkpointer.save(self.session, group)
                raise
            finally:
                for saves in self.saves.values():
                    saves.checkpointer.close()

    def should_pause(self, session: Session, group: Group) -> bool:
        return self.saves[group].checkpointer.should_pause(session, group)

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        return self.saves[group].checkpointer.next_pause(session, group, index, epoch)

    def on_pause(self, session: Session, group: Group) -> None:
        self.saves[group].checkpointer.on_pause(session, group)

    def _round(self) -> bool:
        """Admit new trials and train every group to its next event.

        Returns False if nothing is left to do.
        """
        free_capacity = self.capacity - len(self.trials.in_training)
        if free_capacity >= max(1, self.capacity // FREE_CAPACITY_DIVISOR):
            self._admit(self.ask(free_capacity))
        while not self.saves:  # requested trials may have failed before training
            if not (requested := self.ask(self.capacity)):
                return False
            self._admit(requested)
        native = [group for group in self.saves if group.stepper.engine == "native"]
        others = [[group] for group in self.saves if group.stepper.engine != "native"]
        for together in [*([native] if native else []), *others]:
            self._advance(together)
        self._judge()
        return True

    def _resume(self, waiting: Sequence[Trial]) -> None:
        """Restore the saved populations, then admit the waiting trials that are in none of them."""
        trial_of = {str(job.number): trial for trial in waiting for job in trial.jobs}
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
            if not self._restore(folder, saved, trial_of):
                self.runner.job_store.forget(folder)
        in_training = self._jobs_in_training()
        if in_training and not self.runner.display.quiet:
            note(f"{len(self.trials.in_training)} trials continue from their checkpoints")
        self._admit(waiting)

    def _jobs_in_training(self) -> set[str]:
        return {str(one.job.number) for group in self.saves for one in self.trials.of(group)}

    def _restore(self, folder: Path, saved: Saved, trial_of: Mapping[str, Trial]) -> bool:
        """Restore the population of a checkpoint; return whether it was possible.

        Members that have a job folder by now are removed.
        """
        jobs_by_number = {str(job.number): job for job in self.runner.plan.jobs}
        hashes = saved.manifest["jobs"]
        if set(hashes) & self._jobs_in_training() or not set(hashes) & set(trial_of):
            return False
        if any(
            name not in jobs_by_number or jobs_by_number[name].hash != digest
            for name, digest in hashes.items()
        ):
            return False
        jobs = [jobs_by_number[name] for name in hashes]
        members = [
            TrialMember(trial_of.get(str(job.number), Trial((job,), NO_RUNGS)), job, member)
            for job in jobs
            if (member := self.runner.member(job)) is not None
        ]
        if len(members) < len(jobs):
            return False
        group = self.session.add_group([one.member for one in members])
        self.trials.add(group.numbers, members)
        self.saves[group] = Saves(self._make_checkpointer(group, folder))
        try:
            self.saves[group].checkpointer.restore(group, saved)
            self.stopwatch.include(self.saves[group].checkpointer.elapsed_before)
        except (StateError, CheckpointError) as error:
            note(f"{error} The trials saved in it are trained again.")
            del self.saves[group]
            for number in group.numbers:
                self.trials.remove(number)
            self.session.discard(group)
            return False
        missing = set(self.runner.job_store.missing(job.number for job in jobs))
        for number, job in zip(group.numbers, jobs, strict=True):
            if job.number not in missing:
                self.session.retire(number, "ended before")
        self._remove_ended(group)
        return True

    def _admit(self, requested: Sequence[Trial]) -> None:
        """Add the trials to the session, in which their jobs join groups of their structures.

        Jobs that are in training or have ended are left out.
        """
        in_training = self._jobs_in_training()
        members: list[TrialMember] = []
        ended: list[tuple[Trial, Job]] = []
        for trial in requested:
            missing = set(self.runner.job_store.missing(job.number for job in trial.jobs))
            for job in trial.jobs:
                if str(job.number) in in_training:
                    continue
                member = self.runner.member(job) if job.number in missing else None
                if member is None:
                    ended.append((trial, job))
                else:
                    members.append(TrialMember(trial, job, member))
        numbers = self.session.add([one.member for one in members])
        self.trials.add(numbers, members)
        self._report(ended)
        for group in {self.session.find(number)[0]: None for number in numbers}:
            if group in self.saves:
                self._replace_checkpointer(group)
            else:
                self.saves[group] = Saves(self._make_checkpointer(group))

    def _report(self, ended: Sequence[tuple[Trial, Job]]) -> None:
        """Report jobs that have ended to the study, and keep the results of those whose trials
        still have others in training.
        """
        for trial, job in ended:
            if trial.number in self.trials.in_training:
                self.trials.record(trial, self.result(job))
        self.tell([job for _, job in ended])

    def _make_checkpointer(self, group: Group, folder: Path | None = None) -> CheckpointCallback:
        members, job_store = self.trials.of(group), self.runner.job_store
        first = members[0].member
        identity = {
            "jobs": {str(one.job.number): one.job.hash for one in members},
            "data_hash": first.prepared.data_hash,
            "fingerprint": fingerprint_of_group(group, len(members)),
        }
        folder = folder or job_store.checkpoints(WORK_UNIT, [one.job.number for one in members])
        return CheckpointCallback(
            Checkpoints(folder, identity, job_store.folder),
            first.settings.tracking,
            self.runner.signals,
        )

    def _replace_checkpointer(self, group: Group) -> None:
        """Save a group whose members changed into another folder.

        The previous checkpoint stays until the first new one is written.
        """
        saves = self.saves[group]
        previous = saves.checkpointer
        if previous.has_saved:
            saves.outdated_folders = saves.folders
        previous.close()
        saves.checkpointer = self._make_checkpointer(group)
        saves.checkpointer.inherit_schedule(previous)

    def _advance(self, groups: Sequence[Group]) -> None:
        """Train groups together to their next events.

        If it raises, the runner isolates the failing trial and trains the others to completion.
        """
        try:
            self.session.advance(*groups)
        except Exception:
            members = [self.trials.remove(n) for group in groups for n in group.numbers]
            for group in groups:
                self.session.discard(group)
                self._forget(group)
            self.runner.train_members([(one.job, one.member) for one in members])
            self.stopwatch.lap()  # which the runner has measured
            self._report([(one.trial, one.job) for one in members])
            return
        for group in groups:
            saves = self.saves[group]
            if saves.checkpointer.has_saved:
                for folder in saves.outdated_folders:
                    self.runner.job_store.forget(folder)
                saves.outdated_folders = []

    def _judge(self) -> None:
        """Compare all trials that reached a rung in this round, across groups, by the means over
        their jobs. Losing trials and jobs that have ended are removed.
        """
        scores = self.rung_scores
        for group in self.saves:
            for number, epoch, score in self.trials.at_rungs(self.session, group):
                member = self.trials.by_number[number]
                scores.arrive(member.trial.number, epoch, member.job.number, score)
        if scores.arrivals:
            for (rungs, epoch), means in self._complete_arrivals().items():
                survivors, threshold = scores.judge(rungs, epoch, means)
                for trial in means.keys() - survivors:
                    self._prune(trial, rungs, epoch, means[trial], threshold)
            write_json(self.file, scores.plain())
        for number, reason in list(self.trials.pruned()):
            self.session.retire(number, reason)
        for group in list(self.saves):
            self._remove_ended(group)

    def _complete_arrivals(self) -> dict[tuple[Rungs, int], dict[int, float]]:
        """Return the mean scores of the trials of which no job is missing at a rung, and forget
        their arrivals: (rungs, epoch) -> number of the trial -> score.
        """
        complete: dict[tuple[Rungs, int], dict[int, float]] = {}
        arrivals = self.rung_scores.arrivals
        for number, epoch in list(arrivals):
            trial = self.trials.in_training.get(number)
            if trial is None:  # it has ended
                del arrivals[number, epoch]
            elif (mean := self.trials.mean_score(trial, arrivals[number, epoch])) is not None:
                complete.setdefault((trial.rungs, epoch), {})[number] = mean
                del arrivals[number, epoch]
        return complete

    def _prune(self, trial: int, rungs: Rungs, epoch: int, score: float, threshold: float) -> None:
        """Retire all jobs of a trial that are still in training."""
        members = self.trials.members_of(trial)
        mean = "" if len(self.trials.in_training[trial].jobs) == 1 else "mean "
        for number in members:
            self.session.retire(
                number,
                f"pruned at rung {rungs.epochs.index(epoch) + 1} (epoch {epoch}):"
                f" {mean}{rungs.metric} {rungs.sign * score:.6g}, and"
                f" {rungs.sign * threshold:.6g} was needed to continue",
            )

    def _remove_ended(self, group: Group) -> None:
        """Write the folder of each member that has ended, and report it to the study."""
        outcomes = self.session.remove_ended(group)
        if not outcomes:
            return
        members = [self.trials.remove(number) for number in outcomes]
        jobs = [
            EndedJob(one.job, one.member, outcome)
            for one, outcome in zip(members, outcomes.values(), strict=True)
        ]
        device = str(group.population.theta_KP.device)
        self.runner.store(len(jobs), jobs, device, self.stopwatch.lap())
        self.stopwatch.lap()  # storing the jobs is no training
        self._report([(one.trial, one.job) for one in members])
        if self.runner.plan.options.fail_fast and any(
            outcome.status == "diverged" for outcome in outcomes.values()
        ):
            raise Stopped
        if group.numbers:
            self._replace_checkpointer(group)
        else:
            self._forget(group)

    def _forget(self, group: Group) -> None:
        """Remove all checkpoints of a group that is no longer trained."""
        saves = self.saves.pop(group)
        saves.checkpointer.close()
        for folder in saves.folders:
            self.runner.job_store.forget(folder)

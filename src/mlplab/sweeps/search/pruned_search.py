"""A pruned search: at each rung the losing trials leave their population, and new trials take
over the freed capacity at once.

The state is stored in the sweep's folder: the scores of each rung in .search/rungs.json, training
populations as checkpoints. After a kill, saved trials continue from their checkpoints; the other
trials of the study that have no job folder yet start again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from mlplab.errors import CheckpointError, StateError
from mlplab.io.files import parse_json, write_json
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved, newest
from mlplab.runs.fingerprint import fingerprint_of_group
from mlplab.sweeps.execution.job_records import EndedJob
from mlplab.sweeps.execution.runner import Runner, Stopped
from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trials import Trial, Trials
from mlplab.terminal.output import note
from mlplab.training import Callback, Group, Session

WORK_UNIT = 0
"""The index of the work unit under which a search stores its checkpoints."""
FREE_CAPACITY_DIVISOR = 8
"""New trials are requested once 1 / FREE_CAPACITY_DIVISOR of the capacity is free, since proposing
and admitting them one at a time is slow.
"""


RequestedTrial: TypeAlias = tuple[Job, Rungs]
"""A job that waits to be trained, and the rungs that it has to pass."""


@dataclass
class Saves:
    """How a group is saved: its callback, and the checkpoint folders of its earlier members."""

    checkpointer: CheckpointCallback
    start_time: float = field(default_factory=time.monotonic)
    outdated_folders: list[Path] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        """All checkpoint folders of the group."""
        checkpoints = self.checkpointer.checkpoints
        return [*self.outdated_folders, *([checkpoints.folder] if checkpoints else [])]


class PrunedSearch(Callback):
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
            parse_json(self.file.read_bytes()) if self.file.is_file() else None
        )
        self.trials = Trials()
        self.saves: dict[Group, Saves] = {}
        self.session = Session((), [self.trials, self, *runner.callbacks], fixed=True)

    def run(self, waiting: Sequence[RequestedTrial]) -> None:
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
        free_capacity = self.capacity - sum(len(group.numbers) for group in self.saves)
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
        return {str(trial.job.number) for group in self.saves for trial in self.trials.of(group)}

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
        group = self.session.add_group([trial.member for trial in trials])
        self.trials.add(group.numbers, trials)
        self.saves[group] = Saves(self._make_checkpointer(group, folder))
        try:
            self.saves[group].checkpointer.restore(group, saved)
        except (StateError, CheckpointError) as error:
            note(f"{error} The trials saved in it are trained again.")
            del self.saves[group]
            self.session.discard(group)
            return False
        for number, trial in zip(group.numbers, trials, strict=True):
            if str(trial.job.number) not in rungs_of:
                self.session.retire(number, "ended before")
        self._remove_ended(group)
        return True

    def _admit(self, requested: Sequence[RequestedTrial]) -> None:
        """Add the trials to the session, in which they join groups of their structures."""
        trials = []
        for job, rungs in requested:
            member = self.runner.member(job)
            if member is None:
                self.tell([job])
            else:
                trials.append(Trial(job, member, rungs))
        numbers = self.session.add([trial.member for trial in trials])
        self.trials.add(numbers, trials)
        for group in {self.session.find(number)[0]: None for number in numbers}:
            if group in self.saves:
                self._replace_checkpointer(group)
            else:
                self.saves[group] = Saves(self._make_checkpointer(group))

    def _make_checkpointer(self, group: Group, folder: Path | None = None) -> CheckpointCallback:
        trials, job_store = self.trials.of(group), self.runner.job_store
        first = trials[0].member
        identity = {
            "jobs": {str(trial.job.number): trial.job.hash for trial in trials},
            "data_hash": first.prepared.data_hash,
            "fingerprint": fingerprint_of_group(group, len(trials)),
        }
        folder = folder or job_store.checkpoints(WORK_UNIT, [trial.job.number for trial in trials])
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
            trials = [trial for group in groups for trial in self.trials.of(group)]
            for group in groups:
                self.session.discard(group)
                self._forget(group)
            self.runner.train_members([(trial.job, trial.member) for trial in trials])
            self.tell([trial.job for trial in trials])
            return
        for group in groups:
            saves = self.saves[group]
            if saves.checkpointer.has_saved:
                for folder in saves.outdated_folders:
                    self.runner.job_store.forget(folder)
                saves.outdated_folders = []

    def _judge(self) -> None:
        """Compare all trials that reached a rung in this round, across groups.

        Losing trials and those that have ended are removed.
        """
        arrivals: dict[tuple[Rungs, int], list[tuple[int, float]]] = {}
        for group in self.saves:
            for number, epoch, value in self.trials.at_rungs(self.session, group):
                rungs = self.trials.by_number[number].rungs
                arrivals.setdefault((rungs, epoch), []).append((number, value))
        for (rungs, epoch), members in arrivals.items():
            jobs = {number: self.trials.by_number[number].job.number for number, _ in members}
            survivors, threshold = self.rung_scores.judge(
                rungs, epoch, {jobs[number]: value for number, value in members}
            )
            rung = f"rung {rungs.epochs.index(epoch) + 1} (epoch {epoch})"
            for number, value in members:
                if jobs[number] not in survivors:
                    self.session.retire(
                        number,
                        f"pruned at {rung}: {rungs.metric} {rungs.sign * value:.6g}, and"
                        f" {rungs.sign * threshold:.6g} was needed to continue",
                    )
        if arrivals:
            write_json(self.file, self.rung_scores.plain())
        for group in list(self.saves):
            self._remove_ended(group)

    def _remove_ended(self, group: Group) -> None:
        """Write the folder of each member that has ended, and report it to the study."""
        ended = self.session.remove_ended(group)
        if not ended:
            return
        trials, outcomes = [self.trials.by_number.pop(n) for n in ended], list(ended.values())
        jobs = [
            EndedJob(trial.job, trial.member, outcome)
            for trial, outcome in zip(trials, outcomes, strict=True)
        ]
        device = str(group.population.theta_KP.device)
        seconds = time.monotonic() - self.saves[group].start_time
        self.runner.store(len(jobs), jobs, device, seconds)
        self.tell([trial.job for trial in trials])
        if self.runner.plan.options.fail_fast and any(
            outcome.status == "diverged" for outcome in outcomes
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

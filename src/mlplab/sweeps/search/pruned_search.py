"""A search whose losers leave early: at each rung the losing trials leave their tensor, and their
places go to new ones at once.

What is known lies in the sweep's folder: what each rung has seen in .search/rungs.json, populations
under way as checkpoints. After a kill trials go on where they were saved; the others of the study
that have no folder yet begin anew.
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

PIECE = 0
"""Where the checkpoints of a search lie among those of a sweep's pieces."""
SHARE = 8
"""New trials come where a place in so many is free: one at a time they would be proposed slowly and
join slowly.
"""


RequestedTrial: TypeAlias = tuple[Job, Rungs]
"""A job that waits to be trained, and the rungs that it has to pass."""


@dataclass
class Entry:
    """A cohort with who saves it, and the places where it was saved before its members changed."""

    cohort: TrialPopulation
    keeper: CheckpointCallback
    began: float
    older: list[Path]


class PrunedSearch:
    """`ask(number)` gives new jobs with their rungs, fewer where there are no more; `tell(jobs)` is
    called with those that have their folders.
    """

    def __init__(
        self,
        runner: Runner,
        places: int,
        ask: Callable[[int], Sequence[RequestedTrial]],
        tell: Callable[[Sequence[Job]], None],
    ) -> None:
        self.runner, self.places, self.ask, self.tell = runner, places, ask, tell
        self.file = runner.ledger.folder / ".search" / "rungs.json"
        self.tally = RungScores(
            json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else None
        )
        self.entries: list[Entry] = []

    def run(self, waiting: Sequence[RequestedTrial]) -> None:
        """From the trials that an earlier process left (`waiting`) until there are no more."""
        with self.runner.at_work():
            self.runner.piece = self.runner.plan.pieces[PIECE]
            try:
                self._go_on(waiting)
                self._judge()  # some were saved at their rung, before it was their turn
                while self._round():
                    pass
            except KeyboardInterrupt:  # whoever was at work has saved its population
                for entry in self.entries:
                    entry.keeper.save(entry.cohort.loop)
                raise
            finally:
                for entry in self.entries:
                    entry.keeper.close()

    def _round(self) -> bool:
        """New trials where there are places, every population to its next event; False where there
        is nothing left to do.
        """
        room = self.places - sum(len(entry.cohort.trials) for entry in self.entries)
        if room >= max(1, self.places // SHARE):
            self._admit(self.ask(room))
        while not self.entries:  # what was asked for may have failed before it began
            if not (asked := self.ask(self.places)):
                return False
            self._admit(asked)
        for entry in list(self.entries):
            self._advance(entry)
        self._judge()
        return True

    def _go_on(self, waiting: Sequence[RequestedTrial]) -> None:
        """The populations that were saved, then the trials that are in none of them."""
        rungs_of = {str(job.number): rungs for job, rungs in waiting}
        found: list[tuple[str, Path, Saved]] = []
        for place in self.runner.ledger.unfinished_checkpoints(PIECE):
            try:
                saved, _ = newest(place)
            except CheckpointError as error:
                note(f"{error} What it held is trained again.")
                saved = None
            if saved is None:
                self.runner.ledger.forget(place)
            else:
                found.append((str(saved.manifest["saved"]), place, saved))
        for _, place, saved in sorted(found, key=lambda one: (one[0], one[2].step), reverse=True):
            if not self._restored(place, saved, rungs_of):
                self.runner.ledger.forget(place)
        racing = self._racing()
        if racing and not self.runner.display.quiet:
            note(f"{len(racing)} trials go on from their checkpoints")
        self._admit([(job, rungs) for job, rungs in waiting if str(job.number) not in racing])

    def _racing(self) -> set[str]:
        return {str(trial.job.number) for entry in self.entries for trial in entry.cohort.trials}

    def _restored(self, place: Path, saved: Saved, rungs_of: Mapping[str, Rungs]) -> bool:
        """Whether the cohort of a checkpoint goes on. Those of its members that have a folder by
        now leave it.
        """
        planned = {str(job.number): job for job in self.runner.plan.jobs}
        hashes = saved.manifest["jobs"]
        if set(hashes) & self._racing() or not set(hashes) & set(rungs_of):
            return False
        if any(name not in planned or planned[name].hash != own for name, own in hashes.items()):
            return False
        nothing = Rungs((), 2, "")  # for those that have ended
        trials = [
            Trial(planned[name], member, rungs_of.get(name, nothing))
            for name in hashes
            if (member := self.runner.member(planned[name])) is not None
        ]
        if len(trials) < len(hashes):
            return False
        entry = self._entry(TrialPopulation(trials), place)
        try:
            entry.keeper.restore(entry.cohort.loop, saved)
        except (StateError, CheckpointError) as error:
            note(f"{error} What it held is trained again.")
            return False
        for k in range(entry.cohort.loop.population.num_members):
            if str(entry.cohort.member(k).job.number) not in rungs_of:
                entry.cohort.prune(k, "ended before")
        self.entries.append(entry)
        self._leave(entry)
        return True

    def _admit(self, asked: Sequence[RequestedTrial]) -> None:
        """Each to the cohort of its structure, or to a new one; an optimizer that trains one
        network at a time has one of its own.
        """
        groups: dict[Hashable, list[Trial]] = {}
        for job, rungs in asked:
            member = self.runner.member(job)
            if member is None:
                self.tell([job])
                continue
            trial = Trial(job, member, rungs)
            groups.setdefault(trial.kind, []).append(trial)
        known = {entry.cohort.trials[0].kind: entry for entry in self.entries if entry.cohort.open}
        for key, trials in groups.items():
            if key in known:
                entry = known[key]
                entry.cohort.admit(trials)
                self._changed(entry)
            else:
                self.entries.append(self._entry(TrialPopulation(trials)))

    def _entry(self, cohort: TrialPopulation, place: Path | None = None) -> Entry:
        entry = Entry(cohort, self._keeper(cohort, place), time.monotonic(), [])
        cohort.loop.after_step = entry.keeper
        return entry

    def _keeper(self, cohort: TrialPopulation, place: Path | None = None) -> CheckpointCallback:
        first, ledger = cohort.trials[0].member, self.runner.ledger
        identity = {
            "jobs": {str(trial.job.number): trial.job.hash for trial in cohort.trials},
            "data_hash": first.prepared.data_hash,
            "fingerprint": fingerprint(
                cohort.loop.population.theta_KP.device, first.settings.dtype, len(cohort.trials)
            ),
        }
        place = place or ledger.checkpoints(PIECE, [trial.job.number for trial in cohort.trials])
        return CheckpointCallback(
            Checkpoints(place, identity, ledger.folder),
            first.settings.tracking,
            self.runner.signals,
        )

    def _changed(self, entry: Entry) -> None:
        """Other members are saved in another place; what was saved of them before stays until
        then.
        """
        before = entry.keeper
        if before.has_saved and before.checkpoints is not None:
            entry.older.append(before.checkpoints.folder)
        before.close()
        entry.keeper = self._keeper(entry.cohort)
        entry.keeper.wait_as(before)
        entry.cohort.loop.after_step = entry.keeper

    def _advance(self, entry: Entry) -> None:
        """To its next event. A population that raises is trained by the runner's own means, which
        find the culprit, and its trials to their ends.
        """
        try:
            entry.cohort.advance()
        except Exception:
            self._forget(entry)
            self.runner.together([(trial.job, trial.member) for trial in entry.cohort.trials])
            self.tell([trial.job for trial in entry.cohort.trials])
            return
        if entry.keeper.has_saved:
            for place in entry.older:
                self.runner.ledger.forget(place)
            entry.older = []

    def _judge(self) -> None:
        """All that came to a rung in this round are compared together, whichever population they
        train in; who loses or has ended leaves.
        """
        groups: dict[tuple[Rungs, int], list[tuple[Entry, int, float]]] = {}
        for entry in self.entries:
            for k, epoch, value in entry.cohort.at_rungs():
                groups.setdefault((entry.cohort.member(k).rungs, epoch), []).append(
                    (entry, k, value)
                )
        for (rungs, epoch), arrived in groups.items():
            numbers = [entry.cohort.member(k).job.number for entry, k, _ in arrived]
            stay, needed = self.tally.judge(
                rungs,
                epoch,
                {number: value for number, (*_, value) in zip(numbers, arrived, strict=True)},
            )
            rung = f"rung {rungs.epochs.index(epoch) + 1} (epoch {epoch})"
            for number, (entry, k, value) in zip(numbers, arrived, strict=True):
                if number not in stay:
                    found, least = (
                        f"{rungs.metric} {rungs.sign * value:.6g}",
                        f"{rungs.sign * needed:.6g}",
                    )
                    entry.cohort.prune(
                        k, f"pruned at {rung}: {found}, and {least} was needed to go on"
                    )
        if groups:
            write_json(self.file, self.tally.plain())
        for entry in list(self.entries):
            self._leave(entry)

    def _leave(self, entry: Entry) -> None:
        """A folder for each member that has ended; the study is told."""
        left = entry.cohort.leave()
        if not left:
            return
        outcomes = [outcome for _, outcome in left]
        device = str(entry.cohort.loop.population.theta_KP.device)
        writer = JobFolders(
            self.runner.plan,
            [trial.member for trial, _ in left],
            outcomes,
            device,
            time.monotonic() - entry.began,
        )
        for k, (trial, outcome) in enumerate(left):
            self.runner.commit(writer, trial.job, k, outcome)
        self.tell([trial.job for trial, _ in left])
        if self.runner.plan.options.fail_fast and any(
            outcome.status == "diverged" for outcome in outcomes
        ):
            raise Stopped
        if entry.cohort.trials:
            self._changed(entry)
        else:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        entry.keeper.close()
        self.entries.remove(entry)
        for place in [
            *entry.older,
            *([entry.keeper.checkpoints.folder] if entry.keeper.checkpoints is not None else []),
        ]:
            self.runner.ledger.forget(place)

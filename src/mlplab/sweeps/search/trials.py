"""The trials of a pruned search in training: where they pause, and how they compare at a rung."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.report.results import JobResult
from mlplab.sweeps.search.successive_halving import Rungs
from mlplab.sweeps.search.trial_results import job_value
from mlplab.training import Callback, Group, PreparedMember, Session


@dataclass(frozen=True)
class Trial:
    """The jobs over which a trial is a mean, and the rungs that it has to pass."""

    jobs: tuple[Job, ...]
    rungs: Rungs

    @property
    def number(self) -> int:
        """The number of its first job, which identifies it."""
        return self.jobs[0].number


@dataclass(frozen=True)
class TrialMember:
    """A job of a trial, with its prepared data."""

    trial: Trial
    job: Job
    member: PreparedMember


class Trials(Callback):
    """Pauses the jobs of each trial at its rungs and at its end, and keeps how those did that have
    ended. `by_number` are the members of the session.
    """

    def __init__(self) -> None:
        self.by_number: dict[int, TrialMember] = {}
        self.in_training: dict[int, Trial] = {}  # by number of the trial
        self._numbers: dict[int, set[int]] = {}  # number of a trial -> members of the session
        self._ended_scores: dict[int, dict[int, float]] = {}  # ... -> number of a job -> score
        self._pruned: dict[int, str] = {}  # ... -> reason

    def of(self, group: Group) -> list[TrialMember]:
        """The members of a group, in the order of their indices."""
        return [self.by_number[number] for number in group.numbers]

    def add(self, numbers: Sequence[int], members: Sequence[TrialMember]) -> None:
        """Register the jobs that the session trains as the members with these numbers."""
        for number, member in zip(numbers, members, strict=True):
            self.by_number[number] = member
            self.in_training[member.trial.number] = member.trial
            self._numbers.setdefault(member.trial.number, set()).add(number)

    def remove(self, number: int) -> TrialMember:
        """Forget a member of the session, and its trial if it was the last of it."""
        member = self.by_number.pop(number)
        numbers = self._numbers[member.trial.number]
        numbers.discard(number)
        if not numbers:
            for table in (self.in_training, self._numbers, self._ended_scores, self._pruned):
                table.pop(member.trial.number, None)
        return member

    def record(self, trial: Trial, result: JobResult) -> None:
        """Keep how a job of a trial ended while others train: at the rungs, it counts with its
        final value.
        """
        value = trial.rungs.sign * job_value(result, trial.rungs.metric)
        scores = self._ended_scores.setdefault(trial.number, {})
        scores[result.number] = value if math.isfinite(value) else math.inf
        if result.status == "pruned":
            self._pruned[trial.number] = result.reason

    def members_of(self, number: int) -> set[int]:
        """The members of the session that belong to a trial."""
        return self._numbers[number]

    def pruned(self) -> Iterator[tuple[int, str]]:
        """Yield (member, reason) of the jobs in training whose trials were pruned before a kill."""
        for trial, reason in self._pruned.items():
            for number in self._numbers.get(trial, ()):
                yield number, reason

    def mean_score(self, trial: Trial, arrivals: Mapping[int, float]) -> float | None:
        """Return the mean over the jobs of a trial, of which those in `arrivals` have reached a
        rung (number of the job -> score) and others have ended; None if some are on their way.
        """
        scores = {**self._ended_scores.get(trial.number, {}), **arrivals}
        if any(job.number not in scores for job in trial.jobs):
            return None
        return sum(scores[job.number] for job in trial.jobs) / len(trial.jobs)

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        member = self.by_number[group.numbers[index]]
        every = group.population.training.evaluate_every
        ends = (*member.trial.rungs.epochs, member.member.settings.training.epochs)
        return min((-(-end // every) * every for end in ends if end > epoch), default=None)

    def at_rungs(self, session: Session, group: Group) -> list[tuple[int, int, float]]:
        """Return (number, epoch, score) of each training member that has just reached a rung.

        Lower scores are better; a score that is not finite is inf.
        """
        session.read(group)
        rows, names = group.history_buffer.rows, group.history_buffer.names
        arrivals = []
        for index in group.indices_in_training():
            number, epoch = group.numbers[index], group.stepper.completed_epochs(index)
            rungs = self.by_number[number].trial.rungs
            if epoch in rungs.epochs and group.stepper.is_evaluated(index):
                # the last row may contain only members that have just joined
                row = next(row for row in reversed(rows) if index in row.members)
                value = rungs.sign * float(
                    row.values[names.index(rungs.metric), row.members == index].item()
                )
                arrivals.append((number, epoch, value if math.isfinite(value) else math.inf))
        return arrivals

"""The trials of a pruned search in training: where they pause, and how they compare at a rung."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.search.successive_halving import Rungs
from mlplab.training import Callback, Group, PreparedMember, Session


@dataclass(frozen=True)
class Trial:
    """A job of a search, its prepared data, and the rungs that it has to pass."""

    job: Job
    member: PreparedMember
    rungs: Rungs


class Trials(Callback):
    """Pauses each trial at its rungs and at its end. `by_number` are the members of the session."""

    def __init__(self) -> None:
        self.by_number: dict[int, Trial] = {}

    def of(self, group: Group) -> list[Trial]:
        """The trials of a group, in the order of their indices."""
        return [self.by_number[number] for number in group.numbers]

    def add(self, numbers: Sequence[int], trials: Sequence[Trial]) -> None:
        """Register the trials that the session trains as the members with these numbers."""
        self.by_number |= dict(zip(numbers, trials, strict=True))

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        trial = self.by_number[group.numbers[index]]
        every = group.population.training.evaluate_every
        ends = (*trial.rungs.epochs, trial.member.settings.training.epochs)
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
            rungs = self.by_number[number].rungs
            if epoch in rungs.epochs and group.stepper.is_evaluated(index):
                # the last row may contain only members that have just joined
                row = next(row for row in reversed(rows) if index in row.members)
                value = rungs.sign * float(
                    row.values[names.index(rungs.metric), row.members == index].item()
                )
                arrivals.append((number, epoch, value if math.isfinite(value) else math.inf))
        return arrivals

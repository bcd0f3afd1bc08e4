"""Trials of one structure in one tensor, each at a different epoch. Trials can join and leave
without affecting the others. Shapes: K members.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.search.successive_halving import Rungs
from mlplab.training import Loop, Outcome, PreparedMember, build, build_population, structure_key
from mlplab.training.membership import join_populations, start_at
from mlplab.training.stopping import PRUNED, RUNNING


@dataclass(frozen=True)
class Trial:
    """A job of a search, its prepared data, and the rungs that it has to pass."""

    job: Job
    member: PreparedMember
    rungs: Rungs

    @property
    def population_key(self) -> Hashable:
        """The key that trials of one population share.

        It is unique to the trial if its optimizer trains one network at a time.
        """
        settings = self.member.settings
        return structure_key(settings, self.member.prepared), (
            self.job.number if settings.optimizer.single_network else None
        )

    @property
    def num_epochs(self) -> int:
        """The number of epochs of the whole training."""
        return self.member.settings.training.epochs


class TrialPopulation:
    """A population of trials, trained from event to event.

    An event is an epoch at which a trial reaches a rung or its end. `trials` are the members that
    were admitted and have not been removed, in the order of their indices.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = list(trials)
        self.loop = Loop(build_population([trial.member for trial in trials])[0])

    @property
    def starts(self) -> list[int]:
        """The epoch of the population at which each member started."""
        return self.loop.history_buffer.starts or [0] * len(self.trials)

    def member(self, k: int) -> Trial:
        """The trial in row k of the population."""
        return self.trials[int(self.loop.population.members[k])]

    @property
    def accepts_trials(self) -> bool:
        """Whether trials can be admitted: training has started and is between two epochs, right
        after an evaluation. A population that was just restored accepts none.
        """
        loop = self.loop
        return (
            bool(loop.history_buffer.rows)
            and loop.batch in (0, loop.population.batches.per_epoch)
            and not loop.objectives
        )

    def admit(self, trials: Sequence[Trial]) -> None:
        """Add trials, which start at their epoch 0 now."""
        previous, all_trials = self.loop.population, [*self.trials, *trials]
        device = previous.theta_KP.device
        built = [
            build([t.member.settings for t in group], [t.member.prepared for t in group], device)
            for group in (trials, all_trials)
        ]
        new = start_at(built[0], self.loop.epoch, len(self.trials))
        self.loop.admit(new, join_populations(built[1], previous, new))
        self.trials = all_trials

    def advance(self) -> None:
        """Train to the next event."""
        self.loop.pause_epoch = self._next()
        self.loop.run()

    def _next(self) -> int | None:
        """Return the next epoch at which a member reaches a rung or its end, rounded up to an
        evaluation; None if there is no such epoch.
        """
        # a checkpoint saved in the middle of an epoch has not completed that epoch
        now = self.loop.epoch if self.accepts_trials else self.loop.epoch - 1
        every = self.loop.population.training.evaluate_every
        events = [
            start + epoch
            for start, trial in zip(self.starts, self.trials, strict=True)
            for epoch in (*trial.rungs.epochs, trial.num_epochs)
        ]
        return min((-(-epoch // every) * every for epoch in events if epoch > now), default=None)

    def at_rungs(self) -> list[tuple[int, int, float]]:
        """Return (row k, epoch, score) of each training member that has just reached a rung.

        Lower scores are better; a score that is not finite is inf. Empty in the middle of an
        epoch.
        """
        if not self.accepts_trials:
            return []
        self.loop.read()
        rows, names = self.loop.history_buffer.rows, self.loop.history_buffer.names
        arrivals = []
        for k, (index, state) in enumerate(
            zip(
                self.loop.population.members.tolist(),
                self.loop.population.early_stopping.state_K.tolist(),
                strict=True,
            )
        ):
            rungs, epoch = self.member(k).rungs, self.loop.epoch - self.starts[index]
            if state == RUNNING and epoch in rungs.epochs:
                # the last row may contain only members that have just joined
                row = next(row for row in reversed(rows) if index in row.members)
                value = rungs.sign * float(
                    row.values[names.index(rungs.metric), row.members == index].item()
                )
                arrivals.append((k, epoch, value if math.isfinite(value) else math.inf))
        return arrivals

    def prune(self, k: int, reason: str) -> None:
        """Mark row k of the population, as in `at_rungs`, to be removed by the next `leave`."""
        state_K = self.loop.population.early_stopping.state_K.clone()
        state_K[k] = PRUNED
        self.loop.population.early_stopping.state_K = state_K
        self.loop.pruned[int(self.loop.population.members[k])] = reason

    def leave(self) -> list[tuple[Trial, Outcome]]:
        """Remove the members that have ended, and return them with their outcomes."""
        outcomes = self.loop.remove_ended()
        removed = [(self.trials[index], outcome) for index, outcome in sorted(outcomes.items())]
        self.trials = [trial for index, trial in enumerate(self.trials) if index not in outcomes]
        return removed

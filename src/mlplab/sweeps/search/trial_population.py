"""Trials of one structure in one tensor, each at its own epoch: some come, some leave, the others
do not notice. Shapes: K members.
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
    """A job of a search, its data, and the rungs that it has to pass."""

    job: Job
    member: PreparedMember
    rungs: Rungs

    @property
    def kind(self) -> Hashable:
        """What trials of one tensor share; an optimizer that trains one network at a time shares
        with nobody.
        """
        settings = self.member.settings
        return structure_key(settings, self.member.prepared), (
            self.job.number if settings.optimizer.single_network else None
        )

    @property
    def last(self) -> int:
        """Its length in epochs."""
        return self.member.settings.training.epochs


class TrialPopulation:
    """`trials` are the members of the population, in their order. Trained from event to event: an
    epoch at which one comes to a rung, or to its end.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = list(trials)
        self.loop = Loop(build_population([trial.member for trial in trials])[0])

    @property
    def starts(self) -> list[int]:
        """The epoch of the population's clock at which each member began."""
        return self.loop.history_buffer.starts or [0] * len(self.trials)

    def member(self, k: int) -> Trial:
        """The trial in row k of the population."""
        return self.trials[int(self.loop.population.members[k])]

    @property
    def open(self) -> bool:
        """Whether others may come: it has begun, and stands between two epochs, behind an
        evaluation. One that was restored may not.
        """
        loop = self.loop
        return (
            bool(loop.history_buffer.rows)
            and loop.batch in (0, loop.population.batches.per_epoch)
            and not loop.objectives
        )

    def admit(self, trials: Sequence[Trial]) -> None:
        """These begin now, at epoch 0 of their own."""
        before, everyone = self.loop.population, [*self.trials, *trials]
        device = before.theta_KP.device
        built = [
            build([t.member.settings for t in some], [t.member.prepared for t in some], device)
            for some in (trials, everyone)
        ]
        new = start_at(built[0], self.loop.epoch, len(self.trials))
        self.loop.admit(new, join_populations(built[1], before, new))
        self.trials = everyone

    def advance(self) -> None:
        """Train to the next event."""
        self.loop.pause_epoch = self._next()
        self.loop.run()

    def _next(self) -> int | None:
        """The first epoch behind this one at which a member comes to a rung or to its end, moved up
        to an evaluation.
        """
        # the epoch in whose middle it was saved is still to come to its end
        now = self.loop.epoch if self.open else self.loop.epoch - 1
        every = self.loop.population.training.evaluate_every
        found = [
            start + epoch
            for start, trial in zip(self.starts, self.trials, strict=True)
            for epoch in (*trial.rungs.epochs, trial.last)
        ]
        return min((-(-epoch // every) * every for epoch in found if epoch > now), default=None)

    def at_rungs(self) -> list[tuple[int, int, float]]:
        """Members that have just come to a rung and still train: (row k, its epoch, what it is
        worth: lower is better, inf for no number).

        None in the middle of an epoch.
        """
        if not self.open:
            return []
        self.loop.read()
        rows, names = self.loop.history_buffer.rows, self.loop.history_buffer.names
        found = []
        for k, (place, state) in enumerate(
            zip(
                self.loop.population.members.tolist(),
                self.loop.population.early_stopping.state_K.tolist(),
                strict=True,
            )
        ):
            rungs, epoch = self.member(k).rungs, self.loop.epoch - self.starts[place]
            if state == RUNNING and epoch in rungs.epochs:
                # the last may be of members that have just come
                row = next(row for row in reversed(rows) if place in row.members)
                value = rungs.sign * float(
                    row.values[names.index(rungs.metric), row.members == place].item()
                )
                found.append((k, epoch, value if math.isfinite(value) else math.inf))
        return found

    def prune(self, k: int, why: str) -> None:
        """Member k of the population, as `at_rungs` counts, leaves at the next `leave`."""
        state_K = self.loop.population.early_stopping.state_K.clone()
        state_K[k] = PRUNED
        self.loop.population.early_stopping.state_K = state_K
        self.loop.pruned[int(self.loop.population.members[k])] = why

    def leave(self) -> list[tuple[Trial, Outcome]]:
        """Those that have ended, out of the tensor."""
        found = self.loop.remove_ended()
        left = [(self.trials[place], outcome) for place, outcome in sorted(found.items())]
        self.trials = [trial for place, trial in enumerate(self.trials) if place not in found]
        return left

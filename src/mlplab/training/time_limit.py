"""Ends members at an evaluation: the first one after their time limit, or that of a given step."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from mlplab.terminal.output import duration
from mlplab.training.history import Evaluation
from mlplab.training.session import Callback, Session
from mlplab.training.steppers import ALL, Group
from mlplab.training.stopping import RUNNING, STOPPED

TIME_LIMIT = "stopped: time limit"
"""How the reason of a member begins that ended by its time limit."""


class TimeLimit(Callback):
    """Ends each member at its first evaluation after `training.time_limit`.

    The time is that of its group since its first evaluation, including what `include` adds. A
    member leaves a training exactly as it is at an evaluation, so that it can continue from there.
    """

    def __init__(self) -> None:
        self._begun: WeakKeyDictionary[Group, float] = WeakKeyDictionary()
        self._limits: WeakKeyDictionary[Group, tuple[int, dict[int, float]]] = WeakKeyDictionary()

    def include(self, group: Group, seconds: float) -> None:
        """Count time that another process has trained the group."""
        self._begun[group] = time.monotonic() - seconds

    def _expired(self, session: Session, group: Group) -> dict[int, float]:
        """The limits that have passed of members of a group, by number."""
        now = time.monotonic()
        elapsed = now - self._begun.setdefault(group, now)
        limits = self._limits_of(session, group)
        return {number: limit for number, limit in limits.items() if limit <= elapsed}

    def _limits_of(self, session: Session, group: Group) -> dict[int, float]:
        """The limits of the members that have one, by number; a search adds members."""
        count, limits = self._limits.get(group, (0, {}))
        if count != len(group.numbers):
            settings = {number: session.members[number].settings for number in group.numbers}
            seconds = {number: s.training.seconds_limit for number, s in settings.items()}
            limits = {number: limit for number, limit in seconds.items() if limit is not None}
            self._limits[group] = len(group.numbers), limits
        return limits

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        return 0 if self._expired(session, group) else ALL

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        group = next(group for group in session.groups if group.numbers is evaluation.numbers)
        for number, limit in self._expired(session, group).items():
            is_here = group.stepper.steps(group.indices[number]) == evaluation.step > 0
            if is_here and number in evaluation.members:
                session.stop(number, f"{TIME_LIMIT} of {duration(limit)}")


class EndAtStep(Callback):
    """Ends the only member of a session at the evaluation of this step."""

    def __init__(self, step: int, reason: str) -> None:
        self.step, self.reason = step, reason

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        batches, training = group.population.batches, group.population.training
        interval = batches.per_epoch * training.evaluate_every
        before = max(0, (self.step - 1) // interval - group.stepper.step // interval)
        return before + (not group.started)

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        if evaluation.step >= self.step:
            session.stop(0, self.reason)


def reopen(group: Group) -> None:
    """Let members of a restored group continue that had ended by their time limit."""
    early_stopping = group.population.early_stopping
    for row, index in enumerate(group.population.members.tolist()):
        if group.reasons.get(index, "").startswith(TIME_LIMIT):
            del group.reasons[index]
            if early_stopping.state_K[row] == STOPPED:
                early_stopping.state_K[row] = RUNNING

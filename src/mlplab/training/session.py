"""The session: drives the training of its members, and tells callbacks what happens.

Shapes: K members.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlplab.training.distributed import ProcessGroup
from mlplab.training.eager import EagerStepper
from mlplab.training.engine import check_engine, stepper_of
from mlplab.training.history import Evaluation, MeasuredRow, Objectives
from mlplab.training.membership import add_members
from mlplab.training.memory import retain_freed_memory
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population
from mlplab.training.prepare import PreparedMember, build_population, by_population
from mlplab.training.rows import Row
from mlplab.training.steppers import ALL, Group, Hooks, outcomes_of_groups
from mlplab.training.stopping import PRUNED, STOPPED

if TYPE_CHECKING:
    from mlplab.training.stretches import Stretches

READ_SECONDS = 0.2  # interval: reading synchronizes the device, and writing costs several steps


class Callback:
    """Follows a training; every method does nothing here. Override what you need.

    An exception that a callback raises ends the training, which then counts as failed.
    """

    def on_start(self, session: Session) -> None:
        """Called before the first step of the session."""

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        """Called when members were evaluated: at epoch 0, then every `training.evaluate_every`."""

    def on_checkpoint(self, session: Session) -> None:
        """Called when a checkpoint was written."""

    def on_end(self, session: Session) -> None:
        """Called when every member has ended, or the training was interrupted."""

    # What follows is for callbacks of this package, and may change.

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        """Called a few times per second with the evaluations newly read to the host."""

    def on_scalar(self, session: Session, member: int, name: str, step: int, value: float) -> None:
        """Called with a scalar that a callback logs."""

    def on_artifact(self, session: Session, member: int, name: str, data: bytes) -> None:
        """Called with an artifact that a callback saves."""

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        """How many of the next evaluations `on_evaluation` need not be called with."""
        return 0

    def should_pause(self, session: Session, group: Group) -> bool:
        """Return whether `on_pause` shall be called. Polled between two steps: must be cheap."""
        return False

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        """The next epoch of this member of the group, after `epoch`, at which it pauses."""
        return None

    def on_pause(self, session: Session, group: Group) -> None:
        """Called whenever a group pauses, between two steps."""

    def on_group_end(self, session: Session, group: Group) -> None:
        """Called when all members of a group have ended."""


class Session:
    """Trains members, in groups of equal structure, each a population.

    A member is known by its number: its position among all members, in the order in which they
    were given. With `fixed`, no members can be added later. `first_work`: see `Stretches`.
    """

    def __init__(
        self,
        populations: Sequence[Population] = (),
        callbacks: Sequence[Callback] = (),
        process_group: ProcessGroup | None = None,
        fixed: bool = False,
        first_work: float = 0.0,
    ) -> None:
        self.callbacks, self.fixed, self._first_work = list(callbacks), fixed, first_work
        self.members: dict[int, PreparedMember] = {}
        self.groups: list[Group] = []
        self._process_group = process_group
        self._group_of: dict[int, Group] = {}  # by the number of the member
        self._waiting: dict[int, PreparedMember] = {}
        self._num_members, self._advancing = 0, False
        self._evaluation: Evaluation | None = None  # the one that callbacks are called with
        self._last_read = time.monotonic()
        for population in populations:
            self._add(population, self._new_numbers(population.num_members))

    @classmethod
    def of(
        cls,
        members: Sequence[PreparedMember],
        callbacks: Sequence[Callback] = (),
        process_group: ProcessGroup | None = None,
    ) -> Session:
        """Return a session of these members, grouped by their structure."""
        session = cls((), callbacks, process_group)
        session.add(members)
        return session

    def _new_numbers(self, count: int) -> list[int]:
        self._num_members += count
        return list(range(self._num_members - count, self._num_members))

    def _add(self, population: Population, numbers: Sequence[int], engine: str = "eager") -> Group:
        if population.theta_KP.device.type == "cpu":
            retain_freed_memory()
        group = Group(population, numbers, stepper_of(engine, self._process_group))
        self.groups.append(group)
        self._group_of |= dict.fromkeys(numbers, group)
        return group

    def add_group(self, members: Sequence[PreparedMember]) -> Group:
        """Add members of equal structure as a group of their own, and return it."""
        numbers = self._new_numbers(len(members))
        self.members |= dict(zip(numbers, members, strict=True))
        return self._build(numbers)

    def _build(self, numbers: Sequence[int]) -> Group:
        members = [self.members[number] for number in numbers]
        check_engine(members[0].settings, self._process_group is not None)
        for member in members:
            member.settings.check_lr_factors()
        population, reason = build_population(members)
        group = self._add(population, numbers, members[0].settings.engine)
        group.device_reason = reason
        return group

    @property
    def device(self) -> torch.device:
        """The device of the first group."""
        return self.groups[0].population.theta_KP.device

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Call `on_start`, and at the end `on_end`, also after an interruption."""
        self.notify("on_start")
        try:
            yield
        except KeyboardInterrupt:
            self.notify("on_end")
            raise
        self.notify("on_end")

    def notify(self, hook: str, *arguments: object) -> None:
        """Call a method of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)

    def run(self) -> None:
        """Train until every member has ended. A restored group continues from its state."""
        with self.started():
            while groups := [group for group in self.groups if group.in_training]:
                self.advance(*groups)

    @torch.no_grad()
    def advance(self, *groups: Group) -> None:
        """Train groups until the members of each have ended or are at a pause.

        See `Callback.next_pause`. Groups of the native engine train together, others one after
        another.
        """
        hooks = {group: self._hooks(group) for group in groups}
        self._advancing = True
        try:
            for group in groups:
                if isinstance(group.stepper, EagerStepper) and not self._waiting:
                    group.stepper.run(hooks.pop(group), lambda: bool(self._waiting))
            if hooks and not self._waiting:
                self._stretches.advance(hooks, lambda: bool(self._waiting))
        finally:
            self._advancing = False
        self._group_waiting()

    @functools.cached_property
    def _stretches(self) -> Stretches:
        from mlplab.training.stretches import Stretches  # imports the native engine

        return Stretches(self._first_work)

    def _hooks(self, group: Group) -> Hooks:
        group.skippable = functools.partial(self._skippable, group)
        return Hooks(
            functools.partial(self._evaluated, group),
            functools.partial(self._pauses, group),
            self._should_pause(group),
            functools.partial(self._paused, group),
            functools.partial(self._paused, group, finished=True),
        )

    def _paused(self, group: Group, finished: bool = False) -> None:
        if group.in_training:
            self.notify("on_pause", group)
        if finished:
            self.read(group)
            if not group.in_training:
                self.notify("on_group_end", group)

    def _should_pause(self, group: Group) -> Callable[[], bool]:
        polls = self._overridden("should_pause")

        def should_pause() -> bool:
            for poll in polls:  # after each step, so without the cost of a generator
                if poll(self, group):
                    return True
            return bool(self._waiting)

        return should_pause

    def _skippable(self, group: Group) -> int:
        """How many of the next evaluations no callback needs to see."""
        sees = Callback.on_evaluation
        watching = [c for c in self.callbacks if type(c).on_evaluation is not sees]
        return min((c.evaluations_to_skip(self, group) for c in watching), default=ALL)

    def _overridden(self, hook: str) -> list[Callable[..., Any]]:
        """This method of the callbacks that override it."""
        return [
            getattr(callback, hook)
            for callback in self.callbacks
            if getattr(type(callback), hook) is not getattr(Callback, hook)
        ]

    def _pauses(self, group: Group) -> dict[int, int]:
        """The epoch of the next pause of each member in training, by its index in the group."""
        planners = self._overridden("next_pause")
        return group.next_pauses([functools.partial(plan, self, group) for plan in planners])

    def _evaluated(
        self, group: Group, row: MeasuredRow, population: Population, objectives: Objectives
    ) -> None:
        group.add(row)
        if time.monotonic() - self._last_read > READ_SECONDS:
            self.read(group)
        for evaluation in group.evaluations(row, population, objectives):
            self._evaluation = evaluation
            self.notify("on_evaluation", evaluation)
            self._evaluation = None

    def read(self, group: Group) -> None:
        """Read the group's evaluations to the host, and pass the new ones to the callbacks."""
        self._last_read = time.monotonic()
        if rows := group.read():
            self.notify("on_rows", group, rows)

    def admit(self, members: Sequence[PreparedMember]) -> list[int]:
        """Add members that start now, or before the next step; return their numbers.

        They join a group of their structure that is between two epochs, or become new groups.
        Raises ValueError if the session is fixed.
        """
        if self.fixed:
            raise ValueError("members cannot be admitted: what this session trains is fixed")
        return self.add(members)

    def add(self, members: Sequence[PreparedMember]) -> list[int]:
        """Add members as `admit` does, even if the session is fixed."""
        numbers = self._new_numbers(len(members))
        self._waiting |= dict(zip(numbers, members, strict=True))
        if not self._advancing:
            self._group_waiting()
        return numbers

    def _group_waiting(self) -> None:
        if not self._waiting:
            return
        self.members |= self._waiting
        first_members = {
            group.numbers[0]: self.members[group.numbers[0]]
            for group in self.groups
            if group.numbers[0] in self.members and group.stepper.accepts_members
        }
        open_groups = {
            key: self._group_of[numbers[-1]]
            for key, numbers in by_population(first_members).items()
        }
        waiting, self._waiting = self._waiting, {}
        for key, numbers in by_population(waiting).items():
            if key in open_groups:
                self._join(open_groups[key], numbers)
            else:
                self._build(numbers)

    def _join(self, group: Group, numbers: Sequence[int]) -> None:
        index, group.numbers = len(group.numbers), [*group.numbers, *numbers]
        self._group_of |= dict.fromkeys(numbers, group)
        members = [self.members[number] for number in group.numbers]
        new, joined = add_members(
            group.population,
            [member.settings for member in members],
            [member.prepared for member in members],
            group.stepper.epoch,
            index,
        )
        group.stepper.admit(new, joined, functools.partial(self._evaluated, group))

    def outcomes(self, metrics: bool = True) -> list[Outcome]:
        """Return the outcomes of all members, in order of their numbers; `metrics` can be left out.

        This is possible at any time: a member in training is interrupted, with the weights of its
        last evaluation.
        """
        for group in self.groups:
            self.read(group)
        outcomes = outcomes_of_groups({g: g.populations for g in self.groups}, metrics)
        return [outcomes[number] for number in sorted(outcomes)]

    def remove_ended(self, *groups: Group) -> dict[int, Outcome]:
        """Remove the members of groups that have ended; return their outcomes by number."""
        for group in groups:
            self.read(group)
        outcomes = outcomes_of_groups({group: group.take_ended() for group in groups})
        for group in groups:
            group.forget_ended()
        self._forget(outcomes)
        self.groups = [group for group in self.groups if group.numbers]
        return outcomes

    def discard(self, group: Group) -> None:
        """Stop training a group, and forget its members."""
        self.groups.remove(group)
        self._forget(group.numbers)

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.members.pop(number, None)
            self._group_of.pop(number)

    def find(self, member: int) -> tuple[Group, int]:
        """Return the group of a member and its index there. Raises ValueError if it has none."""
        if (group := self._group_of.get(member)) is None:
            raise ValueError(f"there is no member {member} in training")
        return group, group.indices[member]

    def stop(self, member: int, reason: str) -> None:
        """End a member here: its outcome is `done` for this reason. No effect if it has ended."""
        self._end(member, STOPPED, reason)

    def retire(self, member: int, reason: str) -> None:
        """End a member as `pruned` for this reason. No effect if it has ended."""
        self._end(member, PRUNED, reason)

    def _end(self, member: int, state: int, reason: str) -> None:
        if member in self._group_of or not 0 <= member < self._num_members:
            group, index = self.find(member)
            group.end(index, state, reason)

    def log(self, name: str, value: float | Tensor | np.ndarray, member: int | None = None) -> None:
        """Log a scalar at the current step: of one member, or of all members in training.

        During an evaluation these are its members; `value` is a number or has one for each, [K].
        """
        current = self._evaluation
        if member is not None:
            members = [member]
        elif current is not None:
            members = current.members.tolist()
        else:
            members = [g.numbers[k] for g in self.groups for k in g.indices_in_training()]
        value_K = torch.as_tensor(value, dtype=torch.float64, device="cpu")
        if value_K.dim() and value_K.shape != (len(members),):
            raise ValueError(f"{name}: {len(value_K)} values for {len(members)} members")
        for number, scalar in zip(members, value_K.expand(len(members)).tolist(), strict=True):
            group, index = self.find(number)
            step = group.log(index, name, scalar, current)
            self.notify("on_scalar", number, name, step, scalar)

    def save_artifact(self, name: str, data: bytes | str, member: int = 0) -> None:
        """Save data as a file of this name among the artifacts of a member.

        Raises ValueError if the name is not that of a file.
        """
        if name != Path(name).name or name in ("", ".", ".."):
            raise ValueError(f"{name!r} is not the name of a file")
        group, index = self.find(member)
        content = data.encode() if isinstance(data, str) else bytes(data)
        group.logged_of(index).artifacts[name] = content
        self.notify("on_artifact", member, name, content)

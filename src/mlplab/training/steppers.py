"""A group of members that train as one population, and the interface of what advances it.

Shapes: K members of a population, S steps.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.training.calibration import calibrated
from mlplab.training.evaluation import metric_names
from mlplab.training.final_metrics import Measured, final_metrics
from mlplab.training.history import Evaluation, HistoryBuffer, MeasuredRow, Objectives
from mlplab.training.outcome import Logged, Outcome, outcomes_of
from mlplab.training.population import Population
from mlplab.training.rows import RowBlock, Rows
from mlplab.training.stopping import RUNNING

ALL = 2**62
"""More evaluations than a training has."""

Report = Callable[[MeasuredRow, Population, Objectives], None]
"""Called by a stepper at each evaluation: what was measured of the population, with its weights at
that time, and the objectives [K] of the steps since the last evaluation.
"""


@dataclass(frozen=True)
class Hooks:
    """How a session follows a group in training.

    `pauses` returns the epochs since its start at which each member, by its index, pauses next.
    `should_pause` is polled between two steps or stretches, and `on_pause` follows if it returns
    True; `on_end` when the members have ended or are at a pause.
    """

    report: Report
    pauses: Callable[[], Mapping[int, int]]
    should_pause: Callable[[], bool]
    on_pause: Callable[[], None]
    on_end: Callable[[], None]


class Group:
    """Members of equal structure in training. `numbers` are their numbers in the session.

    Within the group a member has an index, from 0: its position in `numbers`, and its entry in
    `Population.members`.
    """

    def __init__(
        self,
        population: Population,
        numbers: Sequence[int],
        make_stepper: Callable[[Group], Stepper],
    ) -> None:
        self.population, self.numbers = population, list(numbers)
        num_layers = population.network.layout.num_layers
        names = metric_names(population.data, population.scoring, num_layers)
        self.history_buffer = HistoryBuffer(names, population.num_members)
        self.ended: list[Population] = []
        # how many of the next evaluations no callback needs to see; another may end members there
        self.skippable: Callable[[], int] = lambda: ALL
        self.skipped = 0  # evaluations before the one reported last that were not reported
        self.device_reason = ""  # why the population is on its device
        self.reasons: dict[int, str] = {}  # why a caller ended a member, by its index
        self.logged: dict[int, Logged] = {}  # by the index of the member
        self.seconds: dict[int, float] = {}  # processor time by the index, if it was measured
        self._unread: list[MeasuredRow | RowBlock] = []
        self.stepper = make_stepper(self)

    @property
    def numbers(self) -> list[int]:
        """The number in the session of each member, by its index."""
        return self._numbers

    @numbers.setter
    def numbers(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self.indices = {number: index for index, number in enumerate(numbers)}

    @property
    def in_training(self) -> bool:
        """Whether any member is still in training."""
        return bool(self.population.early_stopping.alive_K.any())

    @property
    def started(self) -> bool:
        """Whether the initial weights were evaluated, or the group continues from a state."""
        return bool(self.stepper.step or self.history_buffer.rows or self._unread)

    @property
    def starts(self) -> list[int]:
        """The epoch of the group's clock at which each member started, by its index."""
        return self.history_buffer.starts or [0] * len(self.numbers)

    @property
    def largest_product(self) -> int:
        """The multiplications of the largest matrix product with all members.

        Members that have left still count, so that leaving does not change the number of threads.
        """
        sizes = [entry.size for entry in self.population.network.layout.entries]
        return self.history_buffer.num_members * self.population.batches.batch_size * max(sizes)

    def count_seconds(self, seconds_K: NDArray[np.float64]) -> None:
        """Add processor time that the members of the present population took."""
        for index, seconds in zip(
            self.population.members.tolist(), seconds_K.tolist(), strict=True
        ):
            self.seconds[index] = self.seconds.get(index, 0.0) + seconds

    def add(self, row: MeasuredRow | RowBlock) -> None:
        """Add an evaluation, whose values may still be on the device, or a block of them."""
        self._unread.append(row)

    def evaluations(
        self, row: MeasuredRow, population: Population, objectives: Objectives
    ) -> Iterator[Evaluation]:
        """What a report says, for the members that started at each epoch."""
        buffer, per_epoch = self.history_buffer, population.batches.per_epoch
        starts: Iterable[int | None] = sorted(set(buffer.starts)) or [None]
        for start in starts:
            evaluation = Evaluation(
                row.epoch - (start or 0),
                row.step - (start or 0) * per_epoch,
                buffer.names,
                population,
                objectives,
                row,
                self.numbers,
                start,
                buffer.starts,
                self.skipped,
            )
            if start is None or len(evaluation.members):
                yield evaluation

    def next_pauses(self, planners: Sequence[Callable[[int, int], int | None]]) -> dict[int, int]:
        """The epoch of the next pause of each member in training, by its index.

        A planner returns it for an index and the epochs that are complete, or None.
        """
        pauses: dict[int, int] = {}
        for index in self.indices_in_training() if planners else ():
            done = self.stepper.completed_epochs(index)
            planned = [plan(index, done) for plan in planners]
            if epochs := [epoch for epoch in planned if epoch is not None]:
                pauses[index] = min(epochs)
        return pauses

    def logged_of(self, index: int) -> Logged:
        """What callbacks log of a member."""
        return self.logged.setdefault(index, Logged())

    def log(self, index: int, name: str, value: float, current: Evaluation | None) -> int:
        """Log a scalar of a member, and return its step: that of `current` if it is its own."""
        step = self.stepper.steps(index)
        if current is not None and current.concerns(self.numbers, index):
            step = current.step
        scalars = self.logged_of(index).scalars
        scalars.setdefault(name, []).append((step, value, time.time()))
        return step

    def read(self) -> Rows:
        """Read the evaluations added since the last call to the host, and return them."""
        rows = Rows(
            unread if isinstance(unread, RowBlock) else unread.row for unread in self._unread
        )
        self._unread = []
        self.history_buffer.rows += rows
        return rows

    def end(self, index: int, state: int, reason: str) -> None:
        """End a member in a state of `stopping`, unless it has ended already."""
        state_K = self.population.early_stopping.state_K.clone()
        selected_K = (self.population.members == index).to(state_K.device) & (state_K == RUNNING)
        if selected_K.any():
            self.reasons[index] = reason
            self.population.early_stopping.state_K = state_K.masked_fill(selected_K, state)

    def compact(self, num_alive: int) -> None:
        """Move the ended members out once they are half: the others continue in fewer rows."""
        if num_alive <= self.population.num_members // 2:
            self._split()

    def _split(self) -> None:
        alive_K = self.population.early_stopping.alive_K
        self.ended.append(self.population.select((~alive_K).nonzero().squeeze(1)))
        rows = alive_K.nonzero().squeeze(1)
        self.population = self.population.select(rows)
        self.stepper.select(rows)

    def indices_in_training(self) -> list[int]:
        """The indices of the members in training."""
        members, alive_K = self.population.members, self.population.early_stopping.alive_K
        return [int(index) for index in members[alive_K.cpu()]]

    @property
    def populations(self) -> list[Population]:
        """The populations of all members: of those that have left, and the present one."""
        return [*self.ended, self.population]

    def take_ended(self) -> list[Population]:
        """Move the members that have ended out, and return all that have left."""
        alive_K = self.population.early_stopping.alive_K
        if not alive_K.any():
            return self.populations
        if not alive_K.all():
            self._split()
        return self.ended

    def outcomes(
        self, measured: Sequence[tuple[Population, Measured, list[float] | None]]
    ) -> dict[int, Outcome]:
        """Return the outcome of each member by its number, given populations, their metrics and
        their temperatures.
        """
        indices = [int(member) for population, *_ in measured for member in population.members]
        histories = dict(zip(indices, self.history_buffer.histories(indices), strict=True))
        outcomes: dict[int, Outcome] = {}
        for population, values, temperatures in measured:
            outcomes |= outcomes_of(
                population,
                values,
                histories,
                self.stepper.step,
                self.reasons,
                self.logged,
                temperatures,
            )
        return {self.numbers[index]: outcome for index, outcome in sorted(outcomes.items())}

    def forget_ended(self) -> None:
        """Forget the members that have ended, after `take_ended`. The others get new indices."""
        members, alive_K = self.population.members, self.population.early_stopping.alive_K
        remaining = members.tolist() if alive_K.any() else []
        self.ended, self.reasons = [], {}
        self.logged = {
            k: self.logged[index] for k, index in enumerate(remaining) if index in self.logged
        }
        self.numbers = [self.numbers[index] for index in remaining]
        self.history_buffer.keep(remaining)
        if remaining:
            self.population.members = members.new_tensor(range(len(remaining)))


def outcomes_of_groups(
    populations: Mapping[Group, Sequence[Population]], metrics: bool = True
) -> dict[int, Outcome]:
    """Return the outcomes of these populations of each group, by the numbers of the members.

    Without `metrics`, those of the best weights are not measured.
    """
    calibrations = [
        calibrated(population) for of_group in populations.values() for population in of_group
    ]
    chosen = [population for population, _ in calibrations]
    values = final_metrics(chosen) if metrics else [{} for _ in chosen]
    temperatures = [temperature_of for _, temperature_of in calibrations]
    measured = zip(chosen, values, temperatures, strict=True)
    outcomes: dict[int, Outcome] = {}
    for group, of_group in populations.items():
        outcomes |= group.outcomes(list(itertools.islice(measured, len(of_group))))
    return outcomes


class Stepper(ABC):
    """Advances the members of one group from event to event, `EagerStepper` by itself and those of
    `Stretches` together.

    As many evaluations as `group.skippable` says may be added to the group without a report. The
    one after them is reported before the next step.

    Between two calls, members may be at different epochs: `steps` and `completed_epochs` say where
    a member is. `step` and `epoch` are those of the clock that the group's starts refer to, at the
    member that is furthest; they name a checkpoint.
    """

    engine: ClassVar[str]
    step: int
    epoch: int

    def __init__(self, group: Group) -> None:
        self.group = group

    @abstractmethod
    def start(self, report: Report) -> None:
        """Evaluate the initial weights."""

    def steps(self, index: int) -> int:
        """The number of steps since the start of a member."""
        return self.step - self.group.starts[index] * self.group.population.batches.per_epoch

    @abstractmethod
    def completed_epochs(self, index: int) -> int:
        """The number of completed epochs since the start of a member."""

    @abstractmethod
    def is_evaluated(self, index: int) -> bool:
        """Whether a member was evaluated after its last step, at the end of an epoch."""

    @property
    def accepts_members(self) -> bool:
        """Whether members can be added now."""
        alive_K = self.group.population.early_stopping.alive_K
        return self.is_evaluated(0) and not self.group.ended and bool(alive_K.all())

    @torch.no_grad()
    def admit(self, new: Population, joined: Population, report: Report) -> None:
        """Add members that start now.

        `joined` has the members of the group, followed by the new ones; see `join_populations`.
        """
        assert joined.start_K is not None
        buffer = self.group.history_buffer
        buffer.num_members += new.num_members
        buffer.per_epoch, buffer.starts = new.batches.per_epoch, joined.start_K.tolist()
        self.group.population = new
        self.start(report)
        self.group.population = joined

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Keep what is stored of the members at `rows` (int64 indices), the only ones left."""

    @abstractmethod
    def state(self) -> dict[str, object]:
        """The state that a checkpoint stores beside the group's; `load` restores it."""

    @abstractmethod
    def load(self, state: Mapping[str, object]) -> None:
        """Continue from a stored state. Raises KeyError or TypeError for one that is damaged."""

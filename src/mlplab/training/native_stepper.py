"""The native stepper: compiled C trains each member on its own, a stretch of steps at a time.

Shapes: K members, E evaluations, M columns of a history, S steps since the last evaluation.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.training.native_memory import NativeMemory, run
from mlplab.training.rows import RowBlock
from mlplab.training.steppers import ALL, Group, Report, Stepper
from mlplab.training.stopping import RUNNING


@dataclass
class _Stretch:
    """Steps of a group up to `last`, and what the kernel measures at the steps `events`."""

    last: int
    events: list[int]
    rows_KEM: NDArray[np.float64]
    evaluated_KE: NDArray[np.uint8]
    seconds_K: NDArray[np.float64]  # of processor time
    begun: float = 0.0  # seconds since 1970
    ended: float = 0.0


class NativeStepper(Stepper):
    """Trains a group with one clock, on as many threads as torch has when it is made.

    A member is evaluated at the steps of its lone run, whatever the others do. Several groups
    train together: each begins a stretch, `train` takes all of them through theirs, and each
    finishes it.
    """

    engine: ClassVar[str] = "native"

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.step, self.epoch = 0, 0
        self.threads = torch.get_num_threads()
        self._cached: NativeMemory | None = None
        self._stretch: _Stretch

    @property
    def _memory(self) -> NativeMemory:
        """The memory of the group's present population."""
        population = self.group.population
        if self._cached is None or self._cached.population is not population:
            self._cached = NativeMemory(population, self.group.history_buffer.names)
        return self._cached

    @property
    def _per_epoch(self) -> int:
        return self.group.population.batches.per_epoch

    @property
    def _interval(self) -> int:
        """The steps between two evaluations."""
        return self._per_epoch * self.group.population.training.evaluate_every

    def start(self, report: Report) -> None:
        self._begin(self.step, [self.step], initial=True)
        self.train([self])
        self.finish(report)

    @staticmethod
    def train(steppers: Sequence[NativeStepper]) -> None:
        """Train groups of one dtype through the stretches that they have begun.

        The members of the first group come first.
        """
        begun = time.time()
        run([stepper._memory for stepper in steppers], max(s.threads for s in steppers))
        ended = time.time()
        for stepper in steppers:
            stepper._stretch.begun, stepper._stretch.ended = begun, ended

    @property
    def is_at_evaluation(self) -> bool:
        """Whether all members in training have just been evaluated."""
        return self.step % self._interval == 0

    def is_at_pause(self, epoch: float) -> bool:
        """Whether this epoch of the group's clock is complete."""
        return self.step % self._per_epoch == 0 and self.epoch >= epoch

    def ends(self) -> NDArray[np.int64]:
        """The steps of the group's clock at which the members in training end."""
        population = self.group.population
        ends_K: NDArray[np.int64] = population.early_stopping.last_step_K.numpy()
        if population.start_K is not None:
            ends_K = ends_K + population.start_K.numpy() * self._per_epoch
        return ends_K[self._alive_K()]

    def begin(self, length: int, pause_epoch: float) -> int:
        """Begin a stretch of about this length, not beyond a pause; return its number of steps.

        It includes the evaluation of the initial weights, alone if a callback has to see it.
        """
        initial = not self.group.started
        ends_K = self.ends()
        skippable = self.group.skippable() - initial  # evaluations at steps from here on
        last = self.step if skippable < 0 else self._stretch_end(length, pause_epoch, skippable)
        events = self._events(last, ends_K)
        self._begin(last, [self.step, *events] if initial else events, initial)
        return last - self.step

    def _stretch_end(self, length: int, pause_epoch: float, skippable: int) -> int:
        """The last step of a stretch of about this length.

        It is never beyond the pause, the end of the last member, or the next evaluation that
        callbacks have to see, if `skippable` evaluations after this step are fewer than all.
        """
        ends_K = self.ends()
        last = min(self.step + length, pause_epoch * self._per_epoch, int(ends_K.max()))
        if skippable < ALL - 1:
            last = min(last, (self.step // self._interval + 1 + skippable) * self._interval)
            last = min(last, int(ends_K.min()))
        return int(last)

    def _events(self, last: int, ends_K: NDArray[np.int64]) -> list[int]:
        """The steps from here to `last` at which members that end at `ends_K` are evaluated."""
        every = self._interval
        regular = range((self.step // every + 1) * every, last + 1, every)
        ends = ends_K[ends_K <= last].tolist()
        return sorted({*regular, *ends}) if ends else list(regular)

    def _alive_K(self) -> NDArray[np.bool_]:
        alive_K: NDArray[np.bool_] = self.group.population.early_stopping.state_K.numpy() == RUNNING
        return alive_K

    def _begin(self, last: int, events: list[int], initial: bool) -> None:
        """Begin a stretch to the step `last`; `events` are its steps with an evaluation."""
        memory = self._memory
        num_members, num_columns = memory.c.num_members, memory.c.num_columns
        self._stretch = stretch = _Stretch(
            last,
            events,
            np.full((num_members, len(events), num_columns), math.nan),
            np.zeros((num_members, len(events)), np.uint8),
            np.zeros(num_members),
        )
        memory.set_stretch(
            self.step,
            last,
            {
                "events": np.array([*events, last], np.int64),
                "rows": stretch.rows_KEM,
                "evaluated": stretch.evaluated_KE,
                "seconds": stretch.seconds_K,
            },
            initial,
        )

    def finish(self, report: Report) -> None:
        """Take over what a stretch has left, and report its evaluations."""
        stretch, first, last = self._stretch, self.step, self._stretch.last
        self.group.count_seconds(stretch.seconds_K)
        times = np.interp(
            stretch.events, [first, max(last, first + 1)], [stretch.begun, stretch.ended]
        )
        if self._alive_K().any():
            self.step = last
        else:  # at the last evaluation, all members had ended
            self.step = stretch.events[int(np.flatnonzero(stretch.evaluated_KE.any(0))[-1])]
        self.epoch = -(-self.step // self._per_epoch)
        if stretch.events:
            self._report(list(self._blocks(stretch, times)), report)
        if not self.group.in_training:
            self._cached = None  # the outcomes need none of it

    def _blocks(self, stretch: _Stretch, times: NDArray[np.float64]) -> Iterator[RowBlock]:
        """The events at which members were evaluated.

        Between the regular evaluations these are only the members that ended there.
        """
        step_E = np.array(stretch.events, np.int64)
        alive_EK = stretch.evaluated_KE.T.astype(bool)
        members_K = self.group.population.members.numpy()
        block = RowBlock(
            -(-step_E // self._per_epoch),
            step_E,
            times,
            members_K,
            alive_EK,
            stretch.rows_KEM.transpose(1, 2, 0),
        )
        seen_E = np.asarray(alive_EK.any(1))
        regular_E = seen_E & (step_E % self._interval == 0)
        edges = [0, *(np.flatnonzero(np.diff(regular_E)) + 1).tolist(), len(step_E)]
        for first, last in itertools.pairwise(edges):
            if regular_E[first]:
                yield block.sliced(slice(first, last))
                continue
            for e in np.flatnonzero(seen_E[first:last]) + first:
                ended_K = alive_EK[e]
                yield block.sliced(slice(e, e + 1)).select(ended_K, members_K[ended_K])

    def _report(self, blocks: Sequence[RowBlock], report: Report) -> None:
        for block in blocks[:-1]:
            self.group.add(block)
        self.group.add(blocks[-1].sliced(slice(-1)))
        self.group.skipped = sum(map(len, blocks)) - 1
        row, objectives = blocks[-1][-1], self._objectives_SK(0)
        if row.step == self.step > 0 and self.group.skippable() < ALL:
            objectives = self._objectives_SK((self.step - 1) % self._interval + 1)
        report(row, self.group.population, objectives)

    def _objectives_SK(self, count: int) -> Tensor:
        """A copy of the objectives of the first steps after the last evaluation."""
        return self._memory.objectives_KS[:, :count].T.clone(memory_format=torch.contiguous_format)

    def completed_epochs(self, index: int) -> int:
        return self.step // self._per_epoch - self.group.starts[index]

    def is_evaluated(self, index: int) -> bool:
        return self.group.started and self.is_at_evaluation

    def select(self, rows: Tensor) -> None:
        if self._cached is not None and len(rows):
            objectives_KS = self._cached.objectives_KS[rows]
            self._memory.objectives_KS.copy_(objectives_KS)

    def state(self) -> dict[str, object]:
        return {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.step - (self.epoch - 1) * self._per_epoch if self.step else 0,
            "lr": torch.from_numpy(
                self._memory.rates.lr_KU(max(self.step - 1, 0), max(self.step, 1))
            ),
            "objectives": list(self._objectives_SK(self.step % self._interval)),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        for column, objective_K in enumerate(state["objectives"]):
            self._memory.objectives_KS[:, column] = objective_K

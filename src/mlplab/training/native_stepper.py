"""The native stepper: compiled C trains each member on its own, a stretch of steps at a time.

Shapes: K members, E evaluations, M columns of a history, S steps since the last evaluation.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.training.native_memory import NativeMemory
from mlplab.training.rows import RowBlock
from mlplab.training.steppers import ALL, Group, Report, Stepper
from mlplab.training.stopping import RUNNING

STRETCH_SECONDS = 0.05
"""The length of a stretch: signals and checkpoints by time take effect at its end."""
MAX_GROWTH = 4
"""Of a stretch compared with the one before. The first one of a call is a single step."""


class NativeStepper(Stepper):
    """Trains a group with one clock, on as many threads as torch has when it is made.

    A member is evaluated at the steps of its lone run, whatever the others do.
    """

    engine: ClassVar[str] = "native"

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.step, self.epoch = 0, 0
        self.threads = torch.get_num_threads()
        self._cached: NativeMemory | None = None

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
        self._train(self.step, [self.step], report)

    def advance(
        self, pauses: Mapping[int, int], report: Report, should_pause: Callable[[], bool]
    ) -> bool:
        group, starts = self.group, self.group.starts
        pause_epoch = min((starts[index] + pauses[index] for index in pauses), default=math.inf)
        length = 1
        while (num_alive := int(self._alive_K().sum())) > 0:
            if self.step % self._per_epoch == 0 and self.epoch >= pause_epoch:
                break
            if self.step % self._interval == 0:
                group.compact(num_alive)
            begun = time.perf_counter()
            ends_K = self._memory.ends_K[self._alive_K()]  # of the members in training
            last = self._stretch_end(length, pause_epoch, ends_K)
            done = self._train(last, self._events(last, ends_K), report)
            seconds = time.perf_counter() - begun
            length = max(1, int(min(MAX_GROWTH * length, done * STRETCH_SECONDS / seconds)))
            if should_pause():
                return False
        return True

    def _stretch_end(self, length: int, pause_epoch: float, ends_K: NDArray[np.int64]) -> int:
        """The last step of a stretch of about this length.

        It is never beyond the pause, the end of the last member, or, if callbacks follow the
        evaluations, the next one that they have to see.
        """
        last = min(self.step + length, pause_epoch * self._per_epoch, int(ends_K.max()))
        if (skippable := self.group.skippable()) < ALL:
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

    def _train(self, last: int, events: Sequence[int], report: Report) -> int:
        """Train to the step `last`, or evaluate the start if it is the present one.

        `events` are the steps at which members are evaluated. Returns the number of steps, which is
        smaller if all members have ended.
        """
        memory, first = self._memory, self.step
        num_members, num_columns = memory.c.num_members, memory.c.num_columns
        rows_KEM = np.full((num_members, len(events), num_columns), math.nan)
        evaluated_KE = np.zeros((num_members, len(events)), np.uint8)
        begun = time.time()
        memory.run(
            first,
            last,
            self.threads,
            {
                "events": np.array([*events, last], np.int64),
                "rows": rows_KEM,
                "evaluated": evaluated_KE,
            },
            initial=last == first,
        )
        times = np.interp(events, [first, max(last, first + 1)], [begun, time.time()])
        if self._alive_K().any():
            self.step = last
        else:  # at the last evaluation, all members had ended
            self.step = events[int(np.flatnonzero(evaluated_KE.any(0))[-1])]
        self.epoch = -(-self.step // self._per_epoch)
        if events:
            self._report(list(self._blocks(events, times, rows_KEM, evaluated_KE)), report)
        return self.step - first

    def _blocks(
        self,
        events: Sequence[int],
        times: NDArray[np.float64],
        rows_KEM: NDArray[np.float64],
        evaluated_KE: NDArray[np.uint8],
    ) -> Iterator[RowBlock]:
        """The events at which members were evaluated.

        Between the regular evaluations these are only the members that ended there.
        """
        step_E, alive_EK = np.array(events, np.int64), evaluated_KE.T.astype(bool)
        members_K = self.group.population.members.numpy()
        block = RowBlock(
            -(-step_E // self._per_epoch),
            step_E,
            times,
            members_K,
            alive_EK,
            rows_KEM.transpose(1, 2, 0),
        )
        seen_E = np.asarray(alive_EK.any(1))
        regular_E = seen_E & (step_E % self._interval == 0)
        edges = [0, *(np.flatnonzero(np.diff(regular_E)) + 1).tolist(), len(events)]
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
        count = (self.step - 1) % self._interval + 1 if self.step else 0
        objectives = self._objectives(count) if self.group.skippable() < ALL else []
        report(blocks[-1][-1], self.group.population, objectives)

    def _objectives(self, count: int) -> list[Tensor]:
        """Copies of the objectives [K] of the first steps after the last evaluation."""
        return list(self._memory.objectives_KS[:, :count].T.contiguous())

    def completed_epochs(self, index: int) -> int:
        return self.step // self._per_epoch - self.group.starts[index]

    def is_evaluated(self, index: int) -> bool:
        return self.group.started and self.step % self._interval == 0

    def select(self, rows: Tensor) -> None:
        if self._cached is not None and len(rows):
            objectives_KS = self._cached.objectives_KS[rows]
            self._memory.objectives_KS.copy_(objectives_KS)

    def state(self) -> dict[str, object]:
        return {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.step - (self.epoch - 1) * self._per_epoch if self.step else 0,
            "lr": torch.from_numpy(self._memory.lr_KU(max(self.step - 1, 0), max(self.step, 1))),
            "objectives": self._objectives(self.step % self._interval),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        for column, objective_K in enumerate(state["objectives"]):
            self._memory.objectives_KS[:, column] = objective_K

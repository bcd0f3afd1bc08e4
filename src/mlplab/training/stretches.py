"""Trains groups of the native engine together: the threads share the members of several of them.

Shapes: K members.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlplab.training.cost_model import Workload
from mlplab.training.native_stepper import NativeStepper
from mlplab.training.population import Population
from mlplab.training.steppers import Group, Hooks

STRETCH_SECONDS = 0.05
"""The length of a stretch: signals and checkpoints by time take effect at its end. It is processor
time, up to MAX_WAIT times as long if other programs have the processors: all threads wait for the
last one at the end of a stretch.
"""
MAX_WAIT = 4
MAX_GROWTH = 4
"""Of a stretch compared with the one before. The first one of a session is a single step, unless
the session allows more.
"""
SHARES = 2
"""Of a thread in a stretch, at most, so that none waits long for the others."""


def step_work(population: Population) -> float:
    """About the nanoseconds of a step of one member, with its share of the evaluations, on the
    machine of the cost model.
    """
    return Workload.of_population(population).native_nanoseconds() / population.batches.per_epoch


@dataclass
class _Course:
    """A group in training. `work` is that of a step of one member, `left` of all its members."""

    stepper: NativeStepper
    hooks: Hooks
    work: float
    alive: int = 0  # members in training
    left: float = 0.0
    pause_epoch: float | None = None  # of the group's clock; None: not asked for yet
    steps: int = 0  # of the present stretch

    def update(self) -> None:
        """Determine what is left: a callback may have ended members."""
        ends = self.stepper.ends()
        self.alive = len(ends)
        steps = int(ends.max()) - self.stepper.step if self.alive else 0
        self.left = self.alive * self.work * steps

    def has_ended(self) -> bool:
        """Whether all members have ended, or the group is at a pause."""
        group = self.stepper.group
        self.update()
        if not self.alive:
            return True
        if self.pause_epoch is None:
            pauses, starts = self.hooks.pauses(), group.starts
            self.pause_epoch = min((starts[k] + pauses[k] for k in pauses), default=math.inf)
        return group.started and self.stepper.is_at_pause(self.pause_epoch)

    def conclude(self) -> bool:
        """Follow the pauses after a stretch; return whether the group continues."""
        if self.has_ended():
            self.hooks.on_end()
            return False
        if self.steps and self.hooks.should_pause():
            self.hooks.on_pause()
            self.pause_epoch = None
        return True

    def begin(self, work: float) -> None:
        """Begin a stretch of about this work for each member."""
        stepper = self.stepper
        if stepper.is_at_evaluation:
            stepper.group.compact(self.alive)
        assert self.pause_epoch is not None
        self.steps = stepper.begin(max(1, round(work / self.work)), self.pause_epoch)


class Stretches:
    """Decides how far groups train at a time. Remembers how fast this machine is.

    `seconds` is the length of a stretch, and `first_work` the work of a thread in the first one, as
    of `step_work`.
    """

    def __init__(self, first_work: float = 0.0, seconds: float = STRETCH_SECONDS) -> None:
        self._seconds = seconds
        self._limit = first_work  # the work of a thread in the next stretch

    def advance(self, groups: Mapping[Group, Hooks], should_stop: Callable[[], bool]) -> None:
        """Train each group until its members have ended or are at a pause.

        Members with much left come first, and groups that have begun are finished before others
        begin. `should_stop` is asked between two stretches.
        """
        by_dtype: dict[str, list[_Course]] = {}
        for group, hooks in groups.items():
            assert isinstance(group.stepper, NativeStepper)
            course = _Course(group.stepper, hooks, step_work(group.population))
            course.update()
            by_dtype.setdefault(str(group.population.theta_KP.dtype), []).append(course)
        for courses in by_dtype.values():  # a kernel is compiled for one dtype
            courses.sort(key=lambda course: -course.left / max(1, course.alive))
            self._advance(deque(courses), should_stop)

    def _advance(self, queue: deque[_Course], should_stop: Callable[[], bool]) -> None:
        threads = max(course.stepper.threads for course in queue)
        left = sum(course.left for course in queue)
        while queue and not should_stop():
            chosen, ended = self._choose(queue, left, threads)
            left -= sum(course.left for course in chosen)
            if chosen:
                self._train(chosen, threads)
            for course in ended:  # not earlier: callbacks must not change what has begun a stretch
                course.hooks.on_end()
            unfinished = [course for course in chosen if course.conclude()]
            left += sum(course.left for course in unfinished)
            queue.extendleft(reversed(unfinished))

    def _choose(
        self, queue: deque[_Course], left: float, threads: int
    ) -> tuple[list[_Course], list[_Course]]:
        """Take the groups of the next stretch from the queue, and begin it.

        Returns them, and those before them that had ended or were at a pause.
        """
        smallest, budget = self._limit / SHARES, self._limit * threads
        share = budget / left if left else 0.0  # of what a member has left
        chosen: list[_Course] = []
        ended: list[_Course] = []
        while queue and (not chosen or budget > smallest):
            course = queue.popleft()
            if course.has_ended():
                ended.append(course)
                continue
            work = max(smallest, share * course.left / course.alive)
            course.begin(min(work, self._limit, budget / course.alive))
            budget -= course.alive * course.steps * course.work
            chosen.append(course)
        return chosen, ended

    def _train(self, chosen: Sequence[_Course], threads: int) -> None:
        longest_first = sorted(chosen, key=lambda course: -course.steps * course.work)
        work = [(course.steps * course.work, course.alive) for course in longest_first]
        threads = min(threads, sum(k for _, k in work))
        begun, begun_cpu = time.perf_counter(), time.process_time()
        NativeStepper.train([course.stepper for course in longest_first])
        seconds = (time.perf_counter() - begun) / MAX_WAIT
        seconds = max(seconds, (time.process_time() - begun_cpu) / threads)
        if by_thread := max(work[0][0], sum(w * k for w, k in work) / threads):
            self._limit = min(MAX_GROWTH * by_thread, by_thread / seconds * self._seconds)
        for course in chosen:
            course.stepper.finish(course.hooks.report)

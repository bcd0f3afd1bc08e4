"""Measure how long a population's updates and evaluations take on this machine.

Other programs make single steps take up to a thousand times as long. Where one thread trains, its
processor time is measured, and the least of many steps counts: what they take on an idle machine.

The updates change the population: build one for the measurement and discard it afterwards.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch

from mlplab.training.eager import EagerStepper
from mlplab.training.population import Population
from mlplab.training.steppers import Group, Hooks
from mlplab.training.threads import limit_threads

MIN_CALLS, MIN_SECONDS, MAX_SECONDS = 5, 0.05, 1.0
"""A call is repeated until there are MIN_CALLS, of which the fastest would fill MIN_SECONDS; beyond
MAX_SECONDS, twice is enough.
"""
STRETCH_SECONDS = 0.01
"""Of the native engine, whose stretches are timed: several of them fill MIN_SECONDS."""


@torch.no_grad()
def time_steps(population: Population) -> tuple[float, float]:
    """Return the seconds of an update and those of an evaluation with the eager engine.

    They run with the number of threads of a training. A last batch of an epoch that is smaller than
    the others is left out.
    """
    group = Group(population, range(population.num_members), EagerStepper)
    stepper = EagerStepper(group)
    size = min(population.batches.batch_size, population.batches.used)
    batches = (
        batch
        for epoch in itertools.count(1)
        for batch in population.batches.epoch(epoch)
        if batch[0].shape[1] == size
    )

    with limit_threads(group.largest_product):
        clock = _clock(population)
        # the first evaluation and update include one-time setup
        population.evaluate()
        stepper.update(next(batches))
        return (
            _least(lambda: stepper.update(next(batches)), clock),
            _least(population.evaluate, clock),
        )


def _clock(population: Population) -> Callable[[], float]:
    """Return the clock of a training: the processor's time, or the time that passes where several
    threads or a GPU compute.
    """
    if population.theta_KP.is_cuda:

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def _least(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the least seconds of repeated calls."""
    begun = clock()
    seconds: list[float] = []
    while len(seconds) < 2 or (
        (len(seconds) < MIN_CALLS or len(seconds) * min(seconds) < MIN_SECONDS)
        and clock() - begun < MAX_SECONDS
    ):
        started = clock()
        call()
        seconds.append(clock() - started)
    return min(seconds)


def time_native_work(populations: Sequence[Population]) -> float:
    """Return the seconds of a unit of `stretches.step_work` with the native engine.

    Trains the populations together for MIN_SECONDS, or to their ends. It is the least of several
    stretches, in processor time by thread.
    """
    from mlplab.training.native_stepper import NativeStepper
    from mlplab.training.stretches import Stretches, step_work

    groups = [Group(one, range(one.num_members), NativeStepper) for one in populations]
    threads = min(torch.get_num_threads(), sum(one.num_members for one in populations))
    works = [step_work(one) * one.num_members for one in populations]
    marks: list[tuple[float, float]] = []  # seconds and work at the ends of the stretches

    def is_long_enough() -> bool:
        done = sum(w * group.stepper.step for w, group in zip(works, groups, strict=True))
        marks.append((time.process_time() / threads, done))
        return marks[-1][0] - marks[0][0] > 2 * MIN_SECONDS

    hooks = Hooks(lambda *_: None, dict, lambda: False, lambda: None, lambda: None)
    Stretches(seconds=STRETCH_SECONDS).advance(dict.fromkeys(groups, hooks), is_long_enough)
    is_long_enough()
    stretches = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]
    return min(seconds / work for seconds, work in stretches if work > 0)

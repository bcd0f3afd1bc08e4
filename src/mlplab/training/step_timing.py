"""Measure how long a population's updates and evaluations take on this machine.

The updates change the population: build one for the measurement and discard it afterwards.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from mlplab.training.eager import EagerStepper
from mlplab.training.population import Population
from mlplab.training.steppers import Group, Hooks
from mlplab.training.threads import limit_threads

MIN_UPDATES, MIN_SECONDS, MAX_UPDATES = 5, 0.05, 100
"""Updates are timed until there are MIN_UPDATES of them and MIN_SECONDS have passed."""


@torch.no_grad()
def time_steps(population: Population) -> tuple[float, float]:
    """Return the seconds of an update and those of an evaluation with the eager engine.

    These are medians of several, since on a machine that others use too, single ones take up to a
    thousand times as long. They run with the number of threads of a training.
    """
    numbers = range(population.num_members)
    group = Group(population, numbers, EagerStepper)
    stepper = EagerStepper(group)
    batches = itertools.chain.from_iterable(
        population.batches.epoch(epoch) for epoch in itertools.count(1)
    )

    def seconds(call: Callable[[], object]) -> float:
        started = time.perf_counter()
        call()
        if population.theta_KP.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with limit_threads(group.largest_product):
        # the first evaluation and update include one-time setup
        seconds(population.evaluate)
        seconds(lambda: stepper.update(next(batches)))
        updates: list[float] = []
        while len(updates) < MIN_UPDATES or (
            sum(updates) < MIN_SECONDS and len(updates) < MAX_UPDATES
        ):
            updates.append(seconds(lambda: stepper.update(next(batches))))
        evaluations = [seconds(population.evaluate) for _ in range(3)]
    return statistics.median(updates), statistics.median(evaluations)


def time_native_work(populations: Sequence[Population]) -> float:
    """Return the seconds of a unit of `stretches.step_work` with the native engine.

    Trains the populations together for MIN_SECONDS, or to their ends.
    """
    from mlplab.training.native_stepper import NativeStepper
    from mlplab.training.stretches import Stretches, step_work

    groups = [Group(one, range(one.num_members), NativeStepper) for one in populations]
    started = time.perf_counter()

    def is_long_enough() -> bool:
        return time.perf_counter() - started > MIN_SECONDS

    hooks = Hooks(lambda *_: None, dict, lambda: False, lambda: None, lambda: None)
    Stretches().advance(dict.fromkeys(groups, hooks), is_long_enough)
    seconds = time.perf_counter() - started
    work = [step_work(g.population) * g.stepper.step * len(g.numbers) for g in groups]
    return seconds / max(1.0, sum(work))

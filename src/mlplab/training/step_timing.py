"""Measure how long a population's updates and evaluations take on this machine.

The updates change the population: build one for the measurement and discard it afterwards.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import torch

from mlplab.training.eager import EagerStepper
from mlplab.training.population import Population
from mlplab.training.steppers import Group


@torch.no_grad()
def time_steps(population: Population, updates: int = 3) -> tuple[float, float]:
    """The mean seconds of an update over `updates` of them, and the seconds of one evaluation."""
    numbers = range(population.num_members)
    stepper = EagerStepper(Group(population, numbers, EagerStepper))
    batches = itertools.chain.from_iterable(
        population.batches.epoch(epoch) for epoch in itertools.count(1)
    )

    def seconds(call: Callable[[], object]) -> float:
        started = time.perf_counter()
        call()
        if population.theta_KP.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    # the first evaluation and update include one-time setup
    seconds(population.evaluate)
    _, *updating = [seconds(lambda: stepper.update(next(batches))) for _ in range(1 + updates)]
    return sum(updating) / updates, seconds(population.evaluate)

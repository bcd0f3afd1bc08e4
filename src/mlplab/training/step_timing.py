"""Measure how long a population's updates and evaluations take on this machine.

The updates change the population: build one for the measurement and discard it afterwards.
"""

from __future__ import annotations

import functools
import itertools
import time

import torch

from mlplab.training.batches import Batch
from mlplab.training.evaluation import evaluate
from mlplab.training.population import Population


@torch.no_grad()
def time_steps(population: Population, updates: int = 3) -> tuple[float, float]:
    """The mean seconds of an update over `updates` of them, and the seconds of one evaluation."""
    batches = itertools.chain.from_iterable(
        population.batches.epoch(epoch) for epoch in itertools.count(1)
    )
    _evaluate(population)  # the first evaluation includes one-time setup
    _update(population, next(batches), 1)
    started = time.perf_counter()
    for step, batch in enumerate(itertools.islice(batches, updates), 2):
        _update(population, batch, step)
    updated = time.perf_counter()
    _evaluate(population)
    _synchronize(population)
    return (updated - started) / updates, time.perf_counter() - updated


def _update(population: Population, batch: Batch, step: int) -> None:
    population.theta_KP, population.optimizer_state, _ = population.optimizer.step(
        population.theta_KP,
        functools.partial(population.objective, batch=batch, step=step),
        population.optimizer_state,
        step,
        population.optimizer.lr,
    )
    _synchronize(population)


def _evaluate(population: Population) -> None:
    views = population.objective.bound(population.theta_KP)
    for split in ("train", "val"):
        if split in population.data:
            evaluate(
                population.network,
                views,
                population.buffers,
                population.scoring,
                population.data[split],
                population.num_members,
            )


def _synchronize(population: Population) -> None:
    if population.theta_KP.is_cuda:
        torch.cuda.synchronize()

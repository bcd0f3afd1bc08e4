"""All metrics of the best weights of populations, which are measured together where they can be.

Shapes: K members, N examples, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mlplab.stacking import is_stacked
from mlplab.training.batches import CHUNK_SIZE, DeviceDataset
from mlplab.training.evaluation import Scoring, outputs, score
from mlplab.training.population import Population
from mlplab.training.threads import limit_threads

SINGLE_THREADED = 1 << 28
"""Multiplications of a population up to which one thread evaluates: two gain little, and wait for
each other over and over where other programs have the processors.
"""

Measured: TypeAlias = dict[str, Tensor]
"""The metrics of a population: "<split>/<metric>" -> float64 [K]."""


@torch.no_grad()
def final_metrics(populations: Sequence[Population]) -> list[Measured]:
    """Return the metrics of the best weights of each population, on all of its splits.

    Populations on the CPU whose outputs have one shape and are scored by one loss are stacked:
    many metrics start many small operations.
    """
    measured: list[Measured] = [{} for _ in populations]
    for split in ("train", "val", "test"):
        alike: dict[Hashable, list[int]] = {}
        for i, population in enumerate(populations):
            if split in population.data:
                alike.setdefault(_key(population, split), []).append(i)
        for indices in alike.values():
            chosen = [populations[i] for i in indices]
            for i, values in zip(indices, _score(chosen, split), strict=True):
                measured[i] |= {f"{split}/{name}": value_K for name, value_K in values.items()}
    return measured


def _key(population: Population, split: str) -> Hashable:
    """What populations agree in if their outputs can be stacked."""
    data, scoring = population.data[split], population.scoring
    if is_stacked(scoring.loss) or population.theta_KP.device.type != "cpu":
        return id(population)
    return (
        population.theta_KP.dtype,
        population.network.layers[-1].units,
        data.y.shape[1:],
        data.weights is None,
        data.mask is None,
        scoring.target_scale is None,
        scoring.target_low is None,
        scoring.task,
        repr(scoring.loss),
    )


def _score(populations: Sequence[Population], split: str) -> Iterable[Measured]:
    """The metrics of populations with one key, a number of them at a time."""
    example = populations[0].data[split]
    numbers = example.num_examples * populations[0].network.layers[-1].units
    count, start = 0, 0
    for end, population in enumerate(populations, 1):
        count += population.num_members
        if end == len(populations) or count * numbers > CHUNK_SIZE:
            yield from _score_at_once(populations[start:end], split)
            count, start = 0, end


def _score_at_once(populations: Sequence[Population], split: str) -> Iterable[Measured]:
    sizes = [population.num_members for population in populations]
    datasets = [population.data[split] for population in populations]
    largest = max(population.theta_KP.numel() for population in populations)
    with limit_threads(datasets[0].num_examples * largest, SINGLE_THREADED):
        outputs_KNC = torch.cat([_outputs(population, split) for population in populations])
        values = score(outputs_KNC, _scoring(populations), _stacked(datasets, sizes), full=True)
    columns = [torch.split(value_K, sizes) for value_K in values.values()]
    for of_population in zip(*columns, strict=True):
        yield dict(zip(values, of_population, strict=True))


def _outputs(population: Population, split: str) -> Tensor:
    best, layout = population.early_stopping.best, population.network.layout
    views = layout.layers(layout.split(best.theta_KP))
    data = population.data[split]
    return outputs(population.network, views, best.buffers, data, population.num_members)


def _stacked(datasets: Sequence[DeviceDataset], sizes: Sequence[int]) -> DeviceDataset:
    """The targets, weights and masks of all members. Outputs are given, so x is that of one."""
    first = datasets[0]
    if all(data is first for data in datasets):
        return first

    def cat(name: str) -> Tensor | None:
        tensors = [getattr(data, name) for data in datasets]
        if tensors[0] is None:
            return None
        return torch.cat([t.expand(k, *t.shape[1:]) for t, k in zip(tensors, sizes, strict=True)])

    y = cat("y")
    assert y is not None
    return DeviceDataset(first.x, y, cat("weights"), cat("mask"))


def _scoring(populations: Sequence[Population]) -> Scoring:
    scoring = populations[0].scoring
    if scoring.target_scale is None or len(populations) == 1:
        return scoring
    units: dict[str, Any] = {
        name: torch.cat(
            [
                getattr(population.scoring, name).expand(population.num_members, -1, -1)
                for population in populations
            ]
        )
        for name, value in scoring.target_units.items()
        if value is not None
    }
    return dataclasses.replace(scoring, **units)

"""The learning rates of the members of a population, for the native kernel.

Shapes: K members, U units of the schedule: steps or epochs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlplab.schedules import Schedule
from mlplab.schema import rules
from mlplab.training.native_arrays import column
from mlplab.training.population import Population

KEPT_UNITS = 4096
"""The factors of a schedule of at most this length are computed once for all members."""
KEPT_SCHEDULES = 64


class LearningRates:
    """The learning rates of all members at any step."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._per_epoch = population.batches.per_epoch
        self._by_step = population.schedule.unit == "step"
        self._distinct, self._index_K = _distinct_schedules(population)
        self._lr_K1 = column(population.optimizer.lr, population.num_members)[:, None]

    def lr_KU(self, first: int, last: int) -> NDArray[np.float64]:
        """The learning rates of the steps after `first`, up to `last`, by step or by epoch.

        A plateau has its present factor.
        """
        factor_KU, state = self._factor_KU(first, last), self._population.schedule_state
        if state:
            factor_KU = factor_KU * state["factor"].numpy()
        lr_KU: NDArray[np.float64] = self._lr_K1 * factor_KU
        return lr_KU

    def values_KU(self, first: int, last: int) -> NDArray[np.float64]:
        """What the kernel reads: the rates, or with a plateau, whose factor changes within a
        stretch, the factors that depend on time alone.
        """
        of = self._factor_KU if self._population.schedule_state else self.lr_KU
        return of(first, last)

    def _factor_KU(self, first: int, last: int) -> NDArray[np.float64]:
        """The factors of the learning rates that depend on time alone."""
        per_epoch = self._per_epoch
        units = (
            range(first, last)
            if self._by_step
            else range(first // per_epoch, (last - 1) // per_epoch + 1)
        )
        length = per_epoch if self._by_step else 1
        factors = [
            _factors(schedule, total, units.start - start * length, len(units))
            for schedule, total, start in self._distinct
        ]
        factor_KU: NDArray[np.float64] = np.array(factors)[self._index_K]
        return factor_KU


def _distinct_schedules(
    population: Population,
) -> tuple[list[tuple[Schedule, float, int]], NDArray[np.int64]]:
    """The distinct (schedule, length, start) of the members, and which of them a member has."""
    num_members, schedule = population.num_members, population.schedule
    total_K = column(population.total_units, num_members)
    starts_K = [0] * num_members if population.start_K is None else population.start_K.tolist()
    stacked = {
        key: (value.long() if rule.kind == "integer" else value)[:, 0].tolist()
        for key, rule in rules(schedule).items()
        if isinstance(value := getattr(schedule, key), Tensor)
    }
    index: dict[tuple[object, ...], int] = {}
    distinct: list[tuple[Schedule, float, int]] = []
    index_K = np.zeros(num_members, np.int64)
    for k in range(num_members):
        fields = {key: values[k] for key, values in stacked.items()}
        key = (*fields.values(), total_K[k], starts_K[k])
        if key not in index:
            index[key] = len(distinct)
            distinct.append(
                (dataclasses.replace(schedule, **fields), float(total_K[k]), int(starts_K[k]))
            )
        index_K[k] = index[key]
    return distinct, index_K


_known_factors: dict[tuple[type[Schedule], str, float], NDArray[np.float64]] = {}
"""All factors of the schedules seen last, by their class, text and length."""


def _factors(schedule: Schedule, total: float, first: int, count: int) -> NDArray[np.float64]:
    """The factors of some units from `first` on."""

    def computed(units: range) -> NDArray[np.float64]:
        return np.array([float(schedule.factor(unit, total)) for unit in units])

    last, key = first + count, (type(schedule), repr(schedule), total)
    if total > KEPT_UNITS or last > total:
        return computed(range(first, last))
    if key not in _known_factors:
        while len(_known_factors) >= KEPT_SCHEDULES:
            _known_factors.pop(next(iter(_known_factors)))
        _known_factors[key] = computed(range(math.ceil(total)))
    return _known_factors[key][first:last]

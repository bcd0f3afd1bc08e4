"""Distributes the work units of a plan among workers so that they finish together: the most
expensive unit first, each to the worker with the least load (LPT rule, Graham 1969).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from mlplab.sweeps.plan.plan import Plan, WorkUnit

UPDATE_OVERHEAD = 100_000
"""Fixed cost of an update, in the same unit as the cost of one parameter."""


def cost(plan: Plan, unit: WorkUnit) -> float:
    """Relative cost of a work unit: its updates, each with a fixed overhead plus a term that grows
    with the parameters of all members.
    """
    population = plan.populations[unit.population]
    return max(1, population.num_steps) * (
        UPDATE_OVERHEAD + float(len(unit.jobs)) * population.num_parameters
    )


def shards(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Positions of the work units of each worker, the most expensive first."""
    loads = [(0.0, worker) for worker in range(workers)]
    positions_of: list[list[int]] = [[] for _ in range(workers)]
    for position in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, worker = heapq.heappop(loads)
        positions_of[worker].append(position)
        heapq.heappush(loads, (load + costs[position], worker))
    return positions_of


def bands(costs: Sequence[float]) -> list[list[int]]:
    """Positions of work units whose costs agree within a factor of two, the most expensive band
    first.
    """
    by_exponent: dict[int, list[int]] = {}
    for position, unit_cost in enumerate(costs):
        by_exponent.setdefault(int(math.log2(unit_cost)), []).append(position)
    return [by_exponent[exponent] for exponent in sorted(by_exponent, reverse=True)]


def order(costs: Sequence[float], workers: int, number: int) -> list[int]:
    """Order in which worker `number` tries the work units: its shard, then all others.

    The most expensive units come first, so that cheap ones remain for the end. Within a band of
    similar cost each worker starts at a different position, so that workers rarely try the same
    unit.
    """
    shard = shards(costs, workers)[number % workers]
    in_shard, positions = set(shard), list(shard)
    for band in bands(costs):
        start = len(band) * (number % workers) // workers
        positions += [
            position for position in (*band[start:], *band[:start]) if position not in in_shard
        ]
    return positions

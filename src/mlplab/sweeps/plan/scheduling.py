"""Pieces of a plan shared out among workers so that they end together: the dearest first, each to
whoever has least (Graham 1969).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from mlplab.sweeps.plan.plan import Plan, WorkUnit

AN_UPDATE = 100_000
"""What an update costs whatever is updated, in parameters."""


def cost(plan: Plan, piece: WorkUnit) -> float:
    """Of a piece, in any unit: updates, each of a fixed part and one that grows with the parameters
    of all its members.
    """
    population = plan.populations[piece.population]
    return max(1, population.num_steps) * (
        AN_UPDATE + float(len(piece.jobs)) * population.num_parameters
    )


def shards(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Positions of the pieces of each worker, dearest first."""
    loads = [(0.0, worker) for worker in range(workers)]
    found: list[list[int]] = [[] for _ in range(workers)]
    for position in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, worker = heapq.heappop(loads)
        found[worker].append(position)
        heapq.heappush(loads, (load + costs[position], worker))
    return found


def bands(costs: Sequence[float]) -> list[list[int]]:
    """Positions of pieces of about the same cost, within a factor of two, the dearest band
    first.
    """
    found: dict[int, list[int]] = {}
    for position, own in enumerate(costs):
        found.setdefault(int(math.log2(own)), []).append(position)
    return [found[band] for band in sorted(found, reverse=True)]


def order(costs: Sequence[float], workers: int, number: int) -> list[int]:
    """In which order a worker looks at the pieces: its own shard, then all others, the dearest
    first, so that cheap ones remain for the end.

    Within a band of about the same cost each worker begins at another place, so that they do not
    all look at the same piece.
    """
    own = shards(costs, workers)[number % workers]
    mine, found = set(own), list(own)
    for band in bands(costs):
        start = len(band) * (number % workers) // workers
        found += [position for position in (*band[start:], *band[:start]) if position not in mine]
    return found

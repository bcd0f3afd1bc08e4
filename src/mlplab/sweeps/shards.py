"""Pieces of a plan shared out among workers so that they end together: the dearest first, each to whoever has least (Graham 1969)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mlplab.sweeps.plan import Piece, Plan

AN_UPDATE = 100_000
"""What an update costs whatever is updated, in parameters."""


def cost(plan: Plan, piece: Piece) -> float:
    """Of a piece, in any unit: updates, each of a fixed part and one that grows with the parameters of all its members."""
    population = plan.populations[piece.population]
    return max(1, population.num_steps) * (AN_UPDATE + float(len(piece.jobs)) * population.num_parameters)


def shards(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Positions of the pieces of each worker, dearest first."""
    loads = [(0.0, worker) for worker in range(workers)]
    found: list[list[int]] = [[] for _ in range(workers)]
    for position in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, worker = heapq.heappop(loads)
        found[worker].append(position)
        heapq.heappush(loads, (load + costs[position], worker))
    return found


def order(costs: Sequence[float], workers: int, number: int) -> list[int]:
    """In which order a worker looks at the pieces: its own shard, then what is left of the others', dearest first: cheap ones remain for the end."""
    own = shards(costs, workers)
    others = [position for shift in range(1, workers) for position in own[(number + shift) % workers]]
    return [*own[number % workers], *others]

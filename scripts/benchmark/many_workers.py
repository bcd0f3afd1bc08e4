#!/usr/bin/env python
"""Simulated workers on the real plan: how much of their time is work, with 1,000,000 jobs,
different speeds, and workers that die.

The pieces, their costs and the shards are those of mlplab.sweeps; a worker takes its own shard,
then the dearest that is left anywhere, as `mlplab work` does. A worker that dies loses what it did
since its last checkpoint, is replaced after a while, and its piece goes on where it was saved. What
is not in it: the file system, on which a thousand workers look for pieces at once.
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections.abc import Sequence
from typing import Any

from mlplab.sweeps.plan.grouping import split_work
from mlplab.sweeps.plan.plan import MIN_SHARED, Job, Plan, Population, WorkUnit
from mlplab.sweeps.plan.scheduling import bands, cost, shards


def plan(jobs: int, workers: int, groups: int) -> Plan:
    """A plan of `groups` structures; of a job only its number matters here."""
    nothing: Any = None
    sizes = [jobs // groups] * groups
    populations = [
        Population(i, size, "", "", 20_000 * (1 + i % 5), 2_000 * (1 + i % 3))
        for i, size in enumerate(sizes)
    ]
    pieces, at = [], 0
    for i, size in enumerate(sizes):
        for positions in split_work(range(at, at + size), 256, workers, MIN_SHARED):
            pieces.append(WorkUnit(len(pieces), i, tuple(positions)))
        at += size
    return Plan(
        "simulated",
        (),
        tuple(Job(n, "", nothing) for n in range(at)),
        tuple(pieces),
        tuple(populations),
    )


class Left:
    """The pieces that nobody has taken, band by band: the next one at or behind a place, without
    looking at those that are gone.
    """

    def __init__(self, costs: Sequence[float]) -> None:
        self.bands = bands(costs)
        self._place = {
            piece: (b, at) for b, band in enumerate(self.bands) for at, piece in enumerate(band)
        }
        # of each place, one nearer to the next free place
        self._next = [list(range(len(band) + 1)) for band in self.bands]
        self.taken = bytearray(len(costs))

    def take(self, piece: int) -> None:
        self.taken[piece] = 1
        band, at = self._place[piece]
        self._next[band][at] = at + 1

    def _free(self, band: int, at: int) -> int:
        following, end = self._next[band], at
        while following[end] != end:
            end = following[end]
        while following[at] != end:
            following[at], at = end, following[at]
        return end

    def dearest(self, number: int, workers: int) -> int | None:
        """What a worker comes to that is through with its own shard: the order of
        mlplab.sweeps.plan.scheduling.
        """
        for b, band in enumerate(self.bands):
            at = self._free(b, len(band) * number // workers)
            at = self._free(b, 0) if at == len(band) else at
            if at < len(band):
                return band[at]
        return None


def simulate(
    made: Plan, workers: int, seed: int, spread: float, deaths: float, interval: float, pause: float
) -> tuple[float, int]:
    """(work / time of all workers, how many died). `deaths`: expected deaths of a worker in the
    whole; interval and pause as parts of the ideal time.
    """
    rng = random.Random(seed)
    costs = [cost(made, piece) for piece in made.work_units]
    speed = [rng.uniform(1 - spread, 1 + spread) for _ in range(workers)]
    work = [own * rng.lognormvariate(0, 0.2) for own in costs]  # the plan's costs are estimates
    ideal = sum(work) / sum(speed)
    # the next piece is the last of the list
    own = [list(reversed(shard)) for shard in shards(costs, workers)]
    left, open_pieces, died, end = Left(costs), len(costs), 0, 0.0
    free = [(0.0, number) for number in range(workers)]
    # pieces whose worker died: (free from, piece, what is left of it)
    waiting: list[tuple[float, int, float]] = []
    while open_pieces:
        now, number = heapq.heappop(free)
        if waiting and waiting[0][0] <= now:
            _, piece, rest = heapq.heappop(waiting)
        else:
            found = next_piece(own[number], left, number, workers)
            if found is None:
                if waiting:
                    heapq.heappush(free, (waiting[0][0], number))
                continue
            left.take(found)
            piece, rest = found, work[found]
        took = rest / speed[number]
        death = rng.expovariate(deaths / ideal) if deaths else float("inf")
        if death < took:
            died += 1
            kept = max(0.0, death - rng.uniform(0, interval * ideal)) * speed[number]
            heapq.heappush(waiting, (now + death, piece, rest - min(rest, kept)))
            heapq.heappush(free, (now + death + pause * ideal, number))
            continue
        open_pieces -= 1
        end = max(end, now + took)
        heapq.heappush(free, (now + took, number))
    return ideal / end, died


def next_piece(own: list[int], left: Left, number: int, workers: int) -> int | None:
    """Of the worker's own shard, else the dearest that is left."""
    while own:
        if not left.taken[piece := own.pop()]:
            return piece
    return left.dearest(number, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    jobs, rounds = (10_000, 1) if given.smoke else (given.jobs, given.rounds)
    for workers in (10, 100) if given.smoke else (10, 100, 1_000, 10_000):
        began = time.perf_counter()
        made = plan(jobs, workers, 10)
        planned = time.perf_counter() - began
        for label, spread, deaths in (
            ("equal", 0.0, 0.0),
            ("speeds 0.5 to 1.5", 0.5, 0.0),
            ("speeds 0.5 to 1.5, each dies 0.2 times", 0.5, 0.2),
        ):
            found = [
                simulate(made, workers, seed, spread, deaths, 0.01, 0.01) for seed in range(rounds)
            ]
            least, died = (
                min(efficiency for efficiency, _ in found),
                max(number for _, number in found),
            )
            who = f"{jobs:,} jobs, {len(made.work_units):,} pieces, {workers:,} workers, {label}"
            print(
                f"{who}: efficiency {least:.3f} (least of {rounds}), {died} died; planned in"
                f" {planned:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Simulate workers on a real plan of 1,000,000 jobs, and report the fraction of time spent working.

Workers differ in speed and may crash. Work units, their costs and the shards are those of
mlplab.sweeps: as in `mlplab work`, a worker processes its shard, then the most expensive unit left
anywhere. A crashed worker loses the work since its last checkpoint and is replaced after a pause;
its unit continues from the checkpoint. Not simulated: the file system, on which a thousand workers
look for units at once.
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
    """A plan with `groups` structures; only the numbers of the jobs matter here."""
    nothing: Any = None
    sizes = [jobs // groups] * groups
    populations = [
        Population(i, size, "", "", 20_000 * (1 + i % 5), 2_000 * (1 + i % 3))
        for i, size in enumerate(sizes)
    ]
    units, start = [], 0
    for i, size in enumerate(sizes):
        for positions in split_work(range(start, start + size), 256, workers, MIN_SHARED):
            units.append(WorkUnit(len(units), i, tuple(positions)))
        start += size
    return Plan(
        "simulated",
        (),
        tuple(Job(n, "", nothing) for n in range(start)),
        tuple(units),
        tuple(populations),
    )


class FreeUnits:
    """The work units not yet taken, by band; finds the next one at or after an index quickly."""

    def __init__(self, costs: Sequence[float]) -> None:
        self.bands = bands(costs)
        self._band_and_index = {
            unit: (b, i) for b, band in enumerate(self.bands) for i, unit in enumerate(band)
        }
        # for each index of a band, an index closer to the next free one (a disjoint-set forest)
        self._next = [list(range(len(band) + 1)) for band in self.bands]
        self.taken = bytearray(len(costs))

    def take(self, unit: int) -> None:
        self.taken[unit] = 1
        band, index = self._band_and_index[unit]
        self._next[band][index] = index + 1

    def _next_free(self, band: int, index: int) -> int:
        following, end = self._next[band], index
        while following[end] != end:
            end = following[end]
        while following[index] != end:
            following[index], index = end, following[index]
        return end

    def most_expensive(self, number: int, workers: int) -> int | None:
        """The next unit of a worker whose shard is done, as in mlplab.sweeps.plan.scheduling."""
        for b, band in enumerate(self.bands):
            index = self._next_free(b, len(band) * number // workers)
            index = self._next_free(b, 0) if index == len(band) else index
            if index < len(band):
                return band[index]
        return None


def simulate(
    sweep: Plan,
    workers: int,
    seed: int,
    spread: float,
    crash_rate: float,
    interval: float,
    pause: float,
) -> tuple[float, int]:
    """Return (work / time of all workers, number of crashes).

    `crash_rate`: expected crashes per worker; `interval` (of checkpoints) and `pause` (before a
    replacement) are fractions of the ideal time.
    """
    rng = random.Random(seed)
    costs = [cost(sweep, unit) for unit in sweep.work_units]
    speed = [rng.uniform(1 - spread, 1 + spread) for _ in range(workers)]
    work = [
        estimate * rng.lognormvariate(0, 0.2) for estimate in costs
    ]  # the plan's costs are estimates
    ideal = sum(work) / sum(speed)
    # reversed, so that the next unit is the last of the list
    queues = [list(reversed(shard)) for shard in shards(costs, workers)]
    free_units, num_open, crashes, end = FreeUnits(costs), len(costs), 0, 0.0
    free = [(0.0, number) for number in range(workers)]
    # units whose worker crashed: (available from, unit, remaining work)
    waiting: list[tuple[float, int, float]] = []
    while num_open:
        now, number = heapq.heappop(free)
        if waiting and waiting[0][0] <= now:
            _, unit, rest = heapq.heappop(waiting)
        else:
            next_unit = take_next(queues[number], free_units, number, workers)
            if next_unit is None:
                if waiting:
                    heapq.heappush(free, (waiting[0][0], number))
                continue
            free_units.take(next_unit)
            unit, rest = next_unit, work[next_unit]
        duration = rest / speed[number]
        crash = rng.expovariate(crash_rate / ideal) if crash_rate else float("inf")
        if crash < duration:
            crashes += 1
            saved = max(0.0, crash - rng.uniform(0, interval * ideal)) * speed[number]
            heapq.heappush(waiting, (now + crash, unit, rest - min(rest, saved)))
            heapq.heappush(free, (now + crash + pause * ideal, number))
            continue
        num_open -= 1
        end = max(end, now + duration)
        heapq.heappush(free, (now + duration, number))
    return ideal / end, crashes


def take_next(queue: list[int], free_units: FreeUnits, number: int, workers: int) -> int | None:
    """The next unit of the worker's shard, else the most expensive one left."""
    while queue:
        if not free_units.taken[unit := queue.pop()]:
            return unit
    return free_units.most_expensive(number, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    jobs, rounds = (10_000, 1) if args.smoke else (args.jobs, args.rounds)
    for workers in (10, 100) if args.smoke else (10, 100, 1_000, 10_000):
        start = time.perf_counter()
        sweep = plan(jobs, workers, 10)
        planned = time.perf_counter() - start
        for label, spread, crash_rate in (
            ("equal", 0.0, 0.0),
            ("speeds 0.5 to 1.5", 0.5, 0.0),
            ("speeds 0.5 to 1.5, 0.2 crashes per worker", 0.5, 0.2),
        ):
            results = [
                simulate(sweep, workers, seed, spread, crash_rate, 0.01, 0.01)
                for seed in range(rounds)
            ]
            efficiency, crashes = (
                min(efficiency for efficiency, _ in results),
                max(number for _, number in results),
            )
            case = f"{jobs:,} jobs, {len(sweep.work_units):,} units, {workers:,} workers, {label}"
            print(
                f"{case}: efficiency {efficiency:.3f} (minimum of {rounds}), {crashes} crashes;"
                f" planned in {planned:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()

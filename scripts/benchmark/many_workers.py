#!/usr/bin/env python
"""Simulated workers on the real plan: how much of their time is work, with 1,000,000 jobs, different speeds, and workers that die.

The pieces, their costs and the shards are those of mlplab.sweeps; a worker takes its own shard, then the dearest that is left of the others', as `mlplab
work` does. A worker that dies loses what it did since its last checkpoint, is replaced after a while, and its piece goes on where it was saved. What is not in it:
the file system, on which a thousand workers look for pieces at once.
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from typing import Any

from mlplab.sweeps.grouping import share
from mlplab.sweeps.plan import LEAST_SHARED, Job, Piece, Plan, Population
from mlplab.sweeps.shards import cost, shards


def plan(jobs: int, workers: int, groups: int) -> Plan:
    """A plan of `groups` structures; of a job only its number matters here."""
    nothing: Any = None
    sizes = [jobs // groups] * groups
    populations = [Population(i, size, "", "", 20_000 * (1 + i % 5), 2_000 * (1 + i % 3)) for i, size in enumerate(sizes)]
    pieces, at = [], 0
    for i, size in enumerate(sizes):
        for positions in share(range(at, at + size), 256, workers, LEAST_SHARED):
            pieces.append(Piece(len(pieces), i, tuple(positions)))
        at += size
    return Plan("simulated", (), tuple(Job(n, "", nothing) for n in range(at)), tuple(pieces), tuple(populations))


def simulate(made: Plan, workers: int, seed: int, spread: float, deaths: float, interval: float, pause: float) -> tuple[float, int]:
    """(work / time of all workers, how many died). `deaths`: expected deaths of a worker in the whole; interval and pause as parts of the ideal time."""
    rng = random.Random(seed)
    costs = [cost(made, piece) for piece in made.pieces]
    speed = [rng.uniform(1 - spread, 1 + spread) for _ in range(workers)]
    noise = [rng.lognormvariate(0, 0.2) for _ in costs]
    work = [c * n for c, n in zip(costs, noise, strict=True)]
    ideal = sum(work) / sum(speed)
    own = [list(reversed(shard)) for shard in shards(costs, workers)]  # the next piece is the last of the list
    stolen_from = [(number + 1) % workers for number in range(workers)]
    left, died, end = len(costs), 0, 0.0
    free = [(0.0, number) for number in range(workers)]
    heapq.heapify(free)
    waiting: list[tuple[float, int, float]] = []  # pieces whose worker died: (free from, piece, what is left of it)
    while left:
        now, number = heapq.heappop(free)
        if waiting and waiting[0][0] <= now:
            _, piece, rest = heapq.heappop(waiting)
        elif own[number]:
            piece, rest = own[number].pop(), 0.0
            rest = work[piece]
        else:
            victim, looked = stolen_from[number], 0
            while not own[victim] and looked < workers:
                victim, looked = (victim + 1) % workers, looked + 1
            stolen_from[number] = victim
            if not own[victim]:
                if waiting:
                    heapq.heappush(free, (waiting[0][0], number))
                continue
            piece = own[victim].pop()
            rest = work[piece]
        took = rest / speed[number]
        death = rng.expovariate(deaths / ideal) if deaths else float("inf")
        if death < took:
            died += 1
            kept = max(0.0, death - rng.uniform(0, interval * ideal)) * speed[number]
            heapq.heappush(waiting, (now + death, piece, rest - min(rest, kept)))
            heapq.heappush(free, (now + death + pause * ideal, number))
            continue
        left -= 1
        end = max(end, now + took)
        heapq.heappush(free, (now + took, number))
    return ideal / end, died


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
            found = [simulate(made, workers, seed, spread, deaths, 0.01, 0.01) for seed in range(rounds)]
            least, died = min(efficiency for efficiency, _ in found), max(number for _, number in found)
            who = f"{jobs:,} jobs, {len(made.pieces):,} pieces, {workers:,} workers, {label}"
            print(f"{who}: efficiency {least:.3f} (least of {rounds}), {died} died; planned in {planned:.1f} s", flush=True)


if __name__ == "__main__":
    main()

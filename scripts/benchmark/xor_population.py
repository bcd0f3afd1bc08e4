#!/usr/bin/env python
"""Compare the cost of training many networks of experiment=xor_mlp: mlplab, and other libraries.

1,000 points in 2-D, of which 600 are for training, a 2-4-2 tanh network, cross-entropy, Adam at
0.03, 60 epochs of batches of 32; the networks differ in their seeds. mlplab trains one population,
from settings and prepared data to outcomes: with building, an evaluation of two splits after every
epoch, the best weights and all metrics. A torch loop, skorch and JAX only train: torch and skorch
one network after another, of which --few are measured, JAX (plain/jax_population.py) by vmap, with
18 of 19 batches, of which the last is not full, and without what it compiles. Processor time, in
turn, one thread each. Run: OMP_NUM_THREADS=1 python scripts/benchmark/xor_population.py
     [--networks 1024] [--rounds 3] [--few 5] [--peers PYTHON [--libraries torch skorch jax]]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable

import peers
import torch
from step_cost import Jax

from mlplab.config import settings_from_overrides
from mlplab.settings import Settings
from mlplab.training import PreparedMember, Session, prepare_members

EPOCHS, BATCH, LR, HIDDEN = 60, 32, 0.03, [4]
JAX_STEPS = EPOCHS * (600 // BATCH)


def population(members: list[PreparedMember]) -> float:
    """Milliseconds a network."""
    start = time.process_time()
    session = Session.of(members)
    session.run()
    outcomes = session.outcomes()
    assert all(outcome.status == "done" for outcome in outcomes)
    return (time.process_time() - start) * 1e3 / len(members)


def prepared(base: Settings, engine: str, count: int) -> list[PreparedMember]:
    """Members that differ in their seeds, and share the data, as those of the others do."""
    (first,) = prepare_members([dataclasses.replace(base, engine=engine)])
    return [
        dataclasses.replace(first, settings=dataclasses.replace(first.settings, seed=seed))
        for seed in range(count)
    ]


def contenders(arguments: argparse.Namespace, folder: str) -> dict[str, Callable[[], float]]:
    """Functions that train, and return milliseconds a network."""
    base = settings_from_overrides(["experiment=xor_mlp"])
    assert (base.training.epochs, base.training.batch_size) == (EPOCHS, BATCH)
    count = arguments.networks
    cases = {
        f"mlplab, native, K = {count}": prepared(base, "native", count),
        "mlplab, native, K = 1": prepared(base, "native", 1),
        f"mlplab, eager, K = {count}": prepared(base, "eager", count),
    }
    result: dict[str, Callable[[], float]] = {
        name: lambda members=members: population(members) for name, members in cases.items()
    }
    examples = next(iter(cases.values()))[0].prepared.train
    task = {
        **peers.stored(folder, x=examples.x.astype("float32"), y=examples.y),
        **{"rows": len(examples.x), "hidden": HIDDEN, "activation": "tanh", "epochs": EPOCHS},
        **{"batch": BATCH, "lr": LR, "l2": 0.0},
    }
    for library in arguments.libraries if arguments.peers else ():
        if library == "jax":
            options = [f"--points={len(examples.x)}", "--widths", "2", "4", "2", f"--lr={LR}"]
            jax = Jax(arguments.peers, EPOCHS, 1, [*options, "--single=1", "--processor-time"])
            for number in (1, count):
                result[f"JAX, jit, vmap, K = {number}"] = lambda number=number, jax=jax: (
                    sum(jax(number).values()) * JAX_STEPS / 1e3
                )
            continue
        peer = peers.Peer(arguments.peers, library)
        result[f"{library}, one by one"] = lambda peer=peer: statistics.mean(
            peer.fit({**task, "seed": seed})["seconds"] * 1e3 for seed in range(arguments.few)
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3, help="after one that warms up")
    parser.add_argument("--few", type=int, default=5, help="networks of torch and of skorch")
    peers.add_options(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trains = contenders(arguments, folder)
        times: dict[str, list[float]] = {name: [] for name in trains}
        for round_ in range(arguments.rounds + 1):
            for name, train in trains.items():
                value = train()
                if round_:
                    times[name].append(value)
    first = next(iter(times))
    print(f"{'milliseconds a network':32s} median   of the first (lowest to highest)")
    for name, values in times.items():
        ratios = [value / ours for value, ours in zip(values, times[first], strict=True)]
        print(
            f"{name:32s} {statistics.median(values):7.2f}   {statistics.median(ratios):7.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    print(json.dumps({**versions, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()

"""Compare the cost of a training step of one network: mlplab, PyTorch, scikit-learn, in turn.

The workload: 500 points in 2-D, a 2-6-6-2 tanh network, cross-entropy, Adam, batches of 32, one
thread. mlplab's times include the evaluation of every epoch and, where it says so, the writing of
metrics.csv and the event file; the others only train.
Run: python scripts/benchmark/step_cost.py [--smoke] [--floor PROGRAM] [--jax PYTHON]

--floor is a program of your own, as fast as you can make this workload. It prints lines such as
"threads 1: 0.57 us". --jax is the interpreter of an environment that has jax; it runs
plain/jax_population.py. Both take their turns with the others.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlplab.config import settings_from_overrides
from mlplab.data.preparation.examples import prepare
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.record import Record
from mlplab.training import Session, prepare_members

NUM_POINTS, BATCH = 500, 32
PER_EPOCH = -(-NUM_POINTS // BATCH)
LARGEST = 1024  # networks
LOADER, RESIDENT = "torch, DataLoader", "torch, resident tensors, fused Adam"
OVERRIDES = [
    "dataset=circles",
    f"dataset.num_samples={NUM_POINTS}",
    "dataset.val=0",
    "dataset.test=0",
    "model.hidden=6-6",
    "activation=tanh",
    "optimizer=adam",
    "optimizer.lr=0.01",
    f"training.batch_size={BATCH}",
]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


def data_loader(x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    model, loss = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=BATCH, shuffle=True
    )
    for _ in range(epochs):
        for x_batch, y_batch in loader:
            optimizer.zero_grad()
            loss(model(x_batch), y_batch).backward()
            optimizer.step()


def resident(x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    model, loss = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(epochs):
        order = torch.randperm(NUM_POINTS)
        for x_batch, y_batch in zip(x[order].split(BATCH), y[order].split(BATCH), strict=True):
            optimizer.zero_grad()
            loss(model(x_batch), y_batch).backward()
            optimizer.step()


def scikit_learn(x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (6, 6), activation="tanh", learning_rate_init=0.01, batch_size=BATCH, max_iter=epochs, tol=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        model.fit(x.numpy(), y.numpy())


def ours(engine: str, num_members: int, epochs: int, records: bool = False) -> float:
    """Train with mlplab, record the results like a run if asked to; return the seconds."""
    settings = settings_from_overrides(
        [*OVERRIDES, f"training.epochs={epochs}", f"engine={engine}"]
    )
    session = Session()
    group = session.add_group(prepare_members([settings]) * num_members)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if records:
            preprocessing = Preprocessing.of(prepare(settings.dataset, 0, True))
            record = Record(Path(folder), settings, preprocessing, "", group.history_buffer)
            session.callbacks.append(stack.enter_context(record))
        start = time.perf_counter()
        session.run()
        return time.perf_counter() - start


Contender = Callable[[], dict[str, float]]
"""Trains once; returns microseconds per step and network by the name of what was trained."""


def peers(x: torch.Tensor, y: torch.Tensor, epochs: int, threads: int) -> list[Contender]:
    def contender(name: str, train: Callable[..., None]) -> dict[str, float]:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        train(x, y, epochs)
        return {name: (time.perf_counter() - start) / (epochs * PER_EPOCH) * 1e6}

    return [
        functools.partial(contender, *peer)
        for peer in ((LOADER, data_loader), (RESIDENT, resident), ("scikit-learn", scikit_learn))
    ]


def populations(epochs: int, threads: int) -> list[Contender]:
    """mlplab with both engines; the largest population also with all processors, if more."""

    def contender(
        engine: str, members: int, length: int, threads: int, note: str = "", records: bool = False
    ) -> dict[str, float]:
        torch.set_num_threads(threads)
        seconds = ours(engine, members, length, records)
        name = f"mlplab, {engine}, K = {members}{note}"
        return {name: seconds / (length * PER_EPOCH * members) * 1e6}

    cases: list[tuple[object, ...]] = [
        ("eager", 1, epochs, threads, ", recorded", True),
        ("eager", 1, epochs, threads),
        ("eager", 256, max(1, epochs // 4), threads),
        ("eager", 1024, max(1, epochs // 10), threads),
        ("native", 1, 60 * epochs, threads, ", recorded", True),
        ("native", 1, 60 * epochs, threads),
        ("native", 256, epochs, threads),
        ("native", LARGEST, epochs, threads),
    ]
    if (processors := len(os.sched_getaffinity(0))) > threads:
        cases.append(("native", LARGEST, epochs, processors, f", {processors} threads"))
    return [functools.partial(contender, *case) for case in cases]


def floor(program: str) -> dict[str, float]:
    """What the program prints: its time for each number of threads."""
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    times = re.findall(r"threads (\d+): ([\d.]+) us", output)
    if not times:
        raise SystemExit(f'{program} prints no line such as "threads 1: 0.57 us"')
    return {f"floor, threads: {threads}": float(value) for threads, value in times}


class Jax:
    """A process of plain/jax_population.py, which keeps what it has compiled."""

    def __init__(self, python: str, epochs: int, threads: int, options: Sequence[str] = ()) -> None:
        script = Path(__file__).parent / "plain" / "jax_population.py"
        self.process = subprocess.Popen(
            [python, str(script), f"--epochs={epochs}", f"--threads={threads}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, members: int) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(members, file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            raise SystemExit("plain/jax_population.py failed")
        return {f"JAX, jit, vmap, K = {members}": float(answer)}


def measure(contenders: list[Contender], rounds: int) -> dict[str, float]:
    """The median of each; one more round at the start warms up and compiles."""
    microseconds: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for contender in contenders:
            for name, value in contender().items():
                microseconds.setdefault(name, [])
                if round_:
                    microseconds[name].append(value)
    return {name: statistics.median(values) for name, values in microseconds.items()}


def report(medians: dict[str, float], threads: int, rounds: int) -> None:
    head = f"microseconds per step and network, medians of {rounds}"
    print(f"{head:54s}  time   of DataLoader   of resident")
    for name, value in medians.items():
        shares = value / medians[LOADER], value / medians[RESIDENT]
        print(f"{name:54s} {value:6.2f}   {shares[0]:12.4f}   {shares[1]:11.4f}")
    largest = f"mlplab, native, K = {LARGEST}"
    for name, value in medians.items():
        if name.startswith(largest) and name != largest:
            print(f"{name}: {medians[largest] / value:.2f} times as fast as with {threads}")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    print(json.dumps({**versions, "threads": threads, "rounds": rounds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run for a few seconds, as a check")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--floor", metavar="PROGRAM", help="a program that prints its times")
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter that has jax")
    arguments = parser.parse_args()
    threads = arguments.threads
    epochs, rounds = (3, 2) if arguments.smoke else (20, arguments.rounds)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(NUM_POINTS, 2)).astype(np.float32))
    contenders = peers(x, (x.norm(dim=1) > 1).long(), epochs, threads)
    if arguments.floor:
        contenders.append(functools.partial(floor, arguments.floor))
    if arguments.jax:
        jax = Jax(arguments.jax, epochs, threads)
        contenders += [functools.partial(jax, members) for members in (1, LARGEST)]
    report(measure(contenders + populations(epochs, threads), rounds), threads, rounds)


if __name__ == "__main__":
    main()

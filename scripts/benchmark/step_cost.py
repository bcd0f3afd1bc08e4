"""Compare the cost of a training step of one network: mlplab, PyTorch and scikit-learn, in turn.

The workload: 500 points in 2-D, a 2-6-6-2 tanh network, cross-entropy, Adam, batches of 32, one
thread. mlplab's times include the evaluation of every epoch and, where it says so, the writing of
metrics.csv and the event file; the others only train.
Run: python scripts/benchmark/step_cost.py [--smoke]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
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


def timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run for a few seconds, as a check")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    epochs, rounds = (3, 2) if arguments.smoke else (20, arguments.rounds)
    per_epoch = -(-NUM_POINTS // BATCH)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(NUM_POINTS, 2)).astype(np.float32))
    y = (x.norm(dim=1) > 1).long()
    tenth = max(1, epochs // 10)
    # name -> (seconds, epochs, networks)
    contenders: dict[str, tuple[Callable[[], float], int, int]] = {
        "torch, DataLoader": (lambda: timed(lambda: data_loader(x, y, epochs)), epochs, 1),
        "torch, resident tensors, fused Adam": (
            lambda: timed(lambda: resident(x, y, epochs)),
            epochs,
            1,
        ),
        "scikit-learn": (lambda: timed(lambda: scikit_learn(x, y, epochs)), epochs, 1),
    }
    for engine, members, length, records in (
        ("eager", 1, epochs, True),
        ("eager", 1, epochs, False),
        ("eager", 256, max(1, epochs // 4), False),
        ("eager", 1024, tenth, False),
        ("native", 1, 60 * epochs, True),
        ("native", 1, 60 * epochs, False),
        ("native", 256, epochs, False),
        ("native", 1024, epochs, False),
    ):
        name = f"mlplab, {engine}, K = {members}{', recorded' if records else ''}"
        contenders[name] = (
            functools.partial(ours, engine, members, length, records),
            length,
            members,
        )
    microseconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, (seconds, length, members) in contenders.items():
            value = seconds() / (length * per_epoch * members) * 1e6
            if round_:  # the first round warms up, and compiles the native engine
                microseconds[name].append(value)
    medians = {name: statistics.median(values) for name, values in microseconds.items()}
    loader, lean = medians["torch, DataLoader"], medians["torch, resident tensors, fused Adam"]
    print(
        f"{'microseconds per step and network, medians of ' + str(rounds):48s}  time   of"
        " DataLoader   of resident"
    )
    for name, value in medians.items():
        print(f"{name:48s} {value:6.2f}   {value / loader:12.4f}   {value / lean:11.4f}")
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "threads": arguments.threads,
                "rounds": rounds,
            }
        )
    )


if __name__ == "__main__":
    main()

"""Compare the cost of a training step of one network: mlplab and plain PyTorch, interleaved.

The workload: 500 points in 2-D, a 2-6-6-2 tanh network, cross-entropy, Adam, batches of 32, one
thread. mlplab's times include the evaluation of every epoch and the writing of metrics.csv and the
event file; the others only train. Run: python scripts/benchmark/step_cost.py [--smoke]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlplab.config import settings_from_overrides
from mlplab.data.preparation.examples import prepare
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.record import Record
from mlplab.training import Session, build_population, prepare_members

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


def ours(num_members: int, epochs: int) -> None:
    """Train with mlplab and, if there is one member, record the results like a run."""
    settings = [settings_from_overrides([*OVERRIDES, f"training.epochs={epochs}"])]
    members = [s for s in settings for _ in range(num_members)]
    population, _ = build_population(prepare_members(members))
    with tempfile.TemporaryDirectory() as folder:
        session = Session([population])
        record = Record(
            Path(folder),
            settings[0],
            Preprocessing.of(prepare(settings[0].dataset, 0, True)),
            "",
            session.groups[0].history_buffer,
        )
        if num_members == 1:
            session.callbacks.append(record)
        start = time.perf_counter()
        session.run()
        ours.seconds = time.perf_counter() - start  # type: ignore[attr-defined]
        record.close()


def measure(
    name: str, call: Callable[[], None], steps: int, num_members: int = 1
) -> tuple[str, float]:
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    if name.startswith("mlplab"):
        seconds = ours.seconds  # type: ignore[attr-defined]
    return name, seconds / steps / num_members * 1e6


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
    contenders: list[tuple[str, Callable[[], None], int, int]] = [
        ("torch, DataLoader", lambda: data_loader(x, y, epochs), epochs * per_epoch, 1),
        (
            "torch, resident tensors, fused Adam",
            lambda: resident(x, y, epochs),
            epochs * per_epoch,
            1,
        ),
        ("mlplab, K = 1", lambda: ours(1, epochs), epochs * per_epoch, 1),
        ("mlplab, K = 16", lambda: ours(16, epochs), epochs * per_epoch, 16),
        (
            "mlplab, K = 256",
            lambda: ours(256, max(1, epochs // 4)),
            max(1, epochs // 4) * per_epoch,
            256,
        ),
        (
            "mlplab, K = 1024",
            lambda: ours(1024, max(1, epochs // 10)),
            max(1, epochs // 10) * per_epoch,
            1024,
        ),
    ]
    microseconds: dict[str, list[float]] = {name: [] for name, *_ in contenders}
    for round_ in range(rounds + 1):
        for name, call, steps, num_members in contenders:
            value = measure(name, call, steps, num_members)[1]
            if round_:  # the first round warms up
                microseconds[name].append(value)
    medians = {name: statistics.median(values) for name, values in microseconds.items()}
    loader, lean = medians["torch, DataLoader"], medians["torch, resident tensors, fused Adam"]
    print(
        f"{'microseconds per step and network, medians of ' + str(rounds):48s}  time   of"
        " DataLoader   of resident"
    )
    for name, value in medians.items():
        print(f"{name:48s} {value:6.1f}   {value / loader:12.3f}   {value / lean:11.3f}")
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

"""Compare the engines around the size from which torch is faster, and what engine=auto chooses.

For a grid of networks and batch sizes, both engines train in turn on random data, with one thread,
and evaluate every epoch. The choice loses what the chosen engine takes more than the other one.
Run: python scripts/benchmark/crossover.py [--smoke] [--rounds N] [--json FILE]

Times are processor times, since other programs on the machine disturb those of the clock. Most of
the networks are near the crossover: anywhere else, either choice is obvious.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from mlplab.config import settings_from_overrides
from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.data.scaling import identity
from mlplab.task import Task
from mlplab.training import PreparedMember, Session

NUM_CLASSES = 10
MIN_SECONDS = 0.1
"""The length of a measured training, at least one epoch."""
MAX_LOSS = 0.10
"""What the choice may lose."""
INPUTS_AND_HIDDEN = [
    (20, "256-256"),
    (20, "512-512"),
    (20, "1024-1024"),
    (20, "128-128-128-128-128-128"),
    (20, "256-256-256-256"),
    (20, "512-512-512-512"),
    (20, "4096"),
    (200, "512-256"),
    (784, "64"),
    (784, "256-128"),
    (784, "512-256"),
    (784, "1024"),
]
BATCHES = [1, 8, 32, 128, 512, 4096]


@dataclass(frozen=True)
class Case:
    """A network and a batch size."""

    inputs: int
    hidden: str
    batch: int

    @property
    def num_examples(self) -> int:
        """Of an epoch, which has up to 64 batches."""
        return max(self.batch, min(64 * self.batch, 512))

    @property
    def widths(self) -> list[int]:
        return [self.inputs, *map(int, self.hidden.split("-")), NUM_CLASSES]

    @property
    def num_weights(self) -> int:
        return sum(a * b for a, b in itertools.pairwise(self.widths))

    def member(self, engine: str, epochs: int) -> PreparedMember:
        """A member with random data; the classes are those of the largest of some features."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(self.num_examples, self.inputs))
        prepared = Prepared(
            Task("classification", NUM_CLASSES),
            *(Examples(x, x[:, :NUM_CLASSES].argmax(1)), None, None),
            *(identity(self.inputs), identity(1)),
            tuple(f"x{i}" for i in range(self.inputs)),
            ("y",),
            tuple(map(str, range(NUM_CLASSES))),
            "",
        )
        overrides = [
            *("activation=relu", "loss=cross_entropy", "optimizer=adam", "optimizer.lr=0.0001"),
            *(f"model.hidden={self.hidden}", f"training.batch_size={self.batch}"),
            *(f"training.epochs={epochs}", f"engine={engine}"),
        ]
        return PreparedMember.of(settings_from_overrides(overrides), prepared)

    def seconds(self, engine: str, epochs: int) -> float:
        """The processor time of an epoch and its evaluation."""
        session = Session()
        session.add_group([self.member(engine, epochs)])
        start = time.process_time()
        session.run()
        return (time.process_time() - start) / epochs


@dataclass
class Measurement:
    """Medians of the seconds of an epoch, and what engine=auto takes.

    `epochs` are those of a training, in which the initial weights are evaluated too.
    """

    case: Case
    epochs: dict[str, int]
    native: float
    eager: float
    choice: str

    @property
    def loss(self) -> float:
        """How much longer the chosen engine takes than the faster one, as a fraction."""
        chosen = self.native if self.choice == "native" else self.eager
        return chosen / min(self.native, self.eager) - 1


def measure(case: Case, rounds: int) -> Measurement:
    """Train with both engines in turn; a first round warms up and finds the number of epochs."""
    epochs = dict.fromkeys(("native", "eager"), 1)
    for engine in epochs:
        case.seconds(engine, 1)
        epochs[engine] = max(1, round(MIN_SECONDS / case.seconds(engine, 1)))
    times = [{e: case.seconds(e, count) for e, count in epochs.items()} for _ in range(rounds)]
    native, eager = (statistics.median(row[engine] for row in times) for engine in epochs)
    return Measurement(case, epochs, native, eager, case.member("auto", 1).settings.engine)


def cases(smoke: bool) -> Iterator[Case]:
    structures = INPUTS_AND_HIDDEN[:1] if smoke else INPUTS_AND_HIDDEN
    for (inputs, hidden), batch in itertools.product(structures, BATCHES[:3] if smoke else BATCHES):
        yield Case(inputs, hidden, batch)


def line(measured: Measurement) -> str:
    case = measured.case
    name = f"{case.inputs}-{case.hidden}-{NUM_CLASSES}"
    return (
        f"{name:36s} {case.num_weights:9,d} {case.batch:5d} {measured.native * 1e3:10.2f}"
        f" {measured.eager * 1e3:10.2f} {measured.eager / measured.native:8.2f}"
        f" {measured.choice:7s} {measured.loss:6.1%}"
    )


def report(measurements: Sequence[Measurement]) -> None:
    worst = max(measurements, key=lambda measured: measured.loss)
    bad = sum(measured.loss > MAX_LOSS for measured in measurements)
    print(f"largest loss {worst.loss:.1%}; above {MAX_LOSS:.0%}: {bad} of {len(measurements)}")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    print(json.dumps({"date": str(datetime.date.today()), **versions, "threads": 1}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run for a few seconds, as a check")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="file for the measurements, for a new fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':36s}   weights batch native, ms  eager, ms    ratio choice    loss")
    measurements = []
    for case in cases(arguments.smoke):
        measurements.append(measure(case, 1 if arguments.smoke else arguments.rounds))
        print(line(measurements[-1]), flush=True)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(list(map(asdict, measurements))))
    report(measurements)


if __name__ == "__main__":
    main()

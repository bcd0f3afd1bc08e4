"""Compare the cost of a training step on CUDA, eager and as a captured graph, with the CPU.

Two networks, float32, cross-entropy, Adam: the lecture's 2-6-6-2 with batches of 32, in populations
of 1 to 16384 members, and 784-256-128-10 with batches of 128, in populations of 1 to 64. A step is
the next batch, gradient and update; nothing is evaluated or recorded. Times are medians.

The captured graph is an experiment: training itself is eager. It replays the same step from static
buffers, without the cost of launching each kernel from Python. "difference" is the largest
difference between its weights and those of the eager steps after as many steps; it shows whether
the graph computes the same.

The file is not called cuda.py, which would hide NVIDIA's package `cuda` from torch.

Run: python scripts/benchmark/cuda_steps.py [--smoke] [--device cpu] [--output FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.data.scaling import identity
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.network.layer import Layer
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.settings import Settings, Tracking
from mlplab.task import Task
from mlplab.training import Population, PreparedMember, build_population
from mlplab.training.batches import Batch
from mlplab.training.threads import limit_threads
from mlplab.training_options import STYLES

LR = 0.01
WARM_UP = 5  # steps before a measurement, and before a capture
COMPARED_STEPS = 50  # steps after which graph and eager are compared
MAX_DISTINCT = 64  # members that are built; a larger population repeats them


@dataclass(frozen=True)
class Network:
    """A network, its batches, and the populations to measure."""

    widths: tuple[int, ...]
    batch_size: int
    num_examples: int  # a multiple of batch_size: a graph has one shape
    num_members: tuple[int, ...]

    @property
    def name(self) -> str:
        return "-".join(map(str, self.widths))


NETWORKS = (
    Network((2, 6, 6, 2), 32, 512, (1, 4, 16, 64, 256, 1024, 4096, 16384)),
    Network((784, 256, 128, 10), 128, 2048, (1, 4, 16, 64)),
)
SMOKE = (
    Network((2, 6, 6, 2), 32, 64, (1, 4)),
    Network((20, 16, 8, 3), 16, 32, (1, 2)),
)


def member(network: Network, seed: int, device: str, prepared: Prepared) -> PreparedMember:
    initializer = INITIALIZERS["xavier_uniform"]()
    hidden = [Layer(units, ACTIVATIONS["tanh"](), initializer) for units in network.widths[1:-1]]
    settings = Settings(
        name="benchmark",
        seed=seed,
        device=device,
        dtype="float32",
        dataset=None,
        layers=(*hidden, Layer(0, None, initializer)),
        loss=LOSSES["cross_entropy"](),
        optimizer=OPTIMIZERS["adam"](lr=LR),
        schedule=SCHEDULES["constant"](),
        training=STYLES["minibatch"](batch_size=network.batch_size),
        tracking=Tracking(level="off"),
        config={},
    )
    return PreparedMember(settings, prepared)


def data(network: Network) -> Prepared:
    """Random features, and classes determined by a linear function of them."""
    rng = np.random.default_rng(0)
    num_features, num_classes = network.widths[0], network.widths[-1]
    x_NF = rng.normal(size=(network.num_examples, num_features))
    y_N = (x_NF @ rng.normal(size=(num_features, num_classes))).argmax(1)
    return Prepared(
        Task("classification", num_classes),
        Examples(x_NF, y_N),
        None,
        None,
        identity(num_features),
        None,
        tuple(f"x{i}" for i in range(num_features)),
        ("y1",),
        tuple(map(str, range(num_classes))),
        "",
    )


def population_of(network: Network, num_members: int, device: str) -> Population:
    """Build a population whose members beyond MAX_DISTINCT repeat the first ones.

    A step costs the same, and drawing 16384 initial networks would dominate the run time.
    """
    prepared = data(network)
    distinct = min(num_members, MAX_DISTINCT)
    population, _ = build_population(
        [member(network, k, device, prepared) for k in range(distinct)]
    )
    rows = torch.arange(num_members, device=population.theta_KP.device) % distinct
    return population if num_members == distinct else population.select(rows)


class Eager:
    """Steps like those of the training loop."""

    def __init__(self, population: Population) -> None:
        self.population, self.step = population, 0
        self.batches = self._batches()

    def _batches(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            epoch += 1
            yield from self.population.batches.epoch(epoch)

    def __call__(self) -> None:
        self.step += 1
        self._update(next(self.batches), self.step)

    def _update(self, batch: Batch, step: int | Tensor) -> None:
        p = self.population
        gradient_at = functools.partial(p.objective, batch=batch, step=step)
        p.theta_KP, p.optimizer_state, _ = p.optimizer.step(
            p.theta_KP, gradient_at, p.optimizer_state, step, LR
        )


class Captured(Eager):
    """The same step as a CUDA graph.

    What changes between two replays is in tensors: the batch in buffers that are filled before each
    replay, and the step number in a tensor that the graph increments.
    """

    def __init__(self, population: Population) -> None:
        super().__init__(population)
        device = population.theta_KP.device
        self.step_K1 = torch.zeros(population.num_members, 1, dtype=torch.int64, device=device)
        x_KBF, y_KB, _ = next(self.batches)
        self.batches = self._batches()
        self.x_KBF, self.y_KB = x_KBF.clone(), y_KB.clone()
        # capturing needs allocations and libraries to be warmed up on a separate stream
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._fill()
                self._step_counted()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        theta_KP = population.theta_KP
        with torch.cuda.graph(self.graph):
            self._step_counted()
        if population.theta_KP.data_ptr() != theta_KP.data_ptr():
            raise RuntimeError("the update is not in place, so a replay would repeat one step")
        self.step = WARM_UP

    def _fill(self) -> None:
        x_KBF, y_KB, _ = next(self.batches)
        self.x_KBF.copy_(x_KBF)
        self.y_KB.copy_(y_KB)

    def _step_counted(self) -> None:
        self.step_K1.add_(1)
        self._update((self.x_KBF, self.y_KB, None), self.step_K1)

    def __call__(self) -> None:
        self.step += 1
        self._fill()
        self.graph.replay()


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def microseconds(step: Callable[[], None], device: str, seconds: float, rounds: int) -> float:
    """The median time of one step; a round takes about `seconds`."""
    for _ in range(WARM_UP):
        step()
    synchronize(device)
    start = time.perf_counter()
    step()
    synchronize(device)
    num_steps = max(3, int(seconds / (time.perf_counter() - start)))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(num_steps):
            step()
        synchronize(device)
        times.append((time.perf_counter() - start) / num_steps)
    return statistics.median(times) * 1e6


def difference(network: Network, num_members: int) -> float:
    """The largest difference of a weight between eager and captured after COMPARED_STEPS steps."""
    eager = Eager(population_of(network, num_members, "cuda"))
    captured = Captured(population_of(network, num_members, "cuda"))
    for _ in range(COMPARED_STEPS):
        eager()
    while captured.step < COMPARED_STEPS:
        captured()
    return float((eager.population.theta_KP - captured.population.theta_KP).abs().max())


@torch.no_grad()
def measure(
    network: Network, num_members: int, cuda: bool, seconds: float, rounds: int
) -> dict[str, Any]:
    """One row of the table: microseconds per step, and per step and network."""
    row: dict[str, Any] = {"network": network.name, "num_members": num_members}
    cpu = Eager(population_of(network, num_members, "cpu"))
    sizes = [entry.size for entry in cpu.population.network.layout.entries]
    # the number of threads that the training loop uses
    with limit_threads(num_members * network.batch_size * max(sizes)):
        row["cpu"] = microseconds(cpu, "cpu", seconds, rounds)
    if cuda:
        eager = Eager(population_of(network, num_members, "cuda"))
        row["eager"] = microseconds(eager, "cuda", seconds, rounds)
        try:
            captured = Captured(population_of(network, num_members, "cuda"))
            row["graph"] = microseconds(captured, "cuda", seconds, rounds)
            row["difference"] = difference(network, num_members)
        except RuntimeError as error:  # if the experiment fails, the other numbers are still valid
            row["graph_error"] = str(error).splitlines()[0]
    for name in ("cpu", "eager", "graph"):
        if name in row:
            row[f"{name}_per_network"] = row[name] / num_members
    return row


COLUMNS = (
    ("CPU", "cpu"),
    ("a network", "cpu_per_network"),
    ("eager", "eager"),
    ("a network", "eager_per_network"),
    ("graph", "graph"),
    ("a network", "graph_per_network"),
)


def header() -> str:
    names = "".join(f"{title:>12s}" for title, _ in COLUMNS)
    ratios = f"{'CPU/eager':>11s}{'eager/graph':>12s}"
    return f"{'network':16s}{'members':>8s}{names}{ratios}  difference"


def line(row: dict[str, Any]) -> str:
    def cell(key: str) -> str:
        return f"{row[key]:12.2f}" if key in row else f"{'-':>12s}"

    def ratio(first: str, second: str, width: int) -> str:
        measured = first in row and second in row
        return f"{row[first] / row[second]:{width}.2f}" if measured else f"{'-':>{width}s}"

    values = "".join(cell(key) for _, key in COLUMNS)
    last = f"{row['difference']:.1e}" if "difference" in row else row.get("graph_error", "-")
    ratios = ratio("cpu", "eager", 11) + ratio("eager", "graph", 12)
    return f"{row['network']:16s}{row['num_members']:8d}{values}{ratios}  {last}"


def circumstances(cuda: bool) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "numpy": np.__version__,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="run for a few seconds, as a check")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu measures no graphs"
    )
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="the result is their median")
    parser.add_argument("--output", type=Path, help="a JSON file for the numbers")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    if cuda and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --device cpu measures the CPU")
    seconds, rounds = (0.01, 1) if arguments.smoke else (arguments.seconds, arguments.rounds)
    about = circumstances(cuda)
    print(f"microseconds of one training step on {about['device']}, torch {about['torch']}")
    print(header())
    rows = []
    for network in SMOKE if arguments.smoke else NETWORKS:
        for num_members in network.num_members:
            rows.append(measure(network, num_members, cuda, seconds, rounds))
            print(line(rows[-1]), flush=True)
            if arguments.output is not None:  # after each row: a time limit may end the program
                arguments.output.parent.mkdir(parents=True, exist_ok=True)
                arguments.output.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

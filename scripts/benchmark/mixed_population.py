"""Compare mixed networks in one session with the same networks one by one in plain torch.

Widths from 1 to 64, one to three hidden layers, five activations, three optimizers; 1,000 points in
2-D, of which 200 validate, batches of 32. Every epoch evaluates both splits and keeps the best
weights. The time of mlplab is that from the settings to the outcomes: preparation, training,
histories and final metrics. Plain torch trains some of the networks (nn.Sequential, torch.optim),
half of them before and half after, on one thread: two are slower for products of this size.
Run: python scripts/benchmark/mixed_population.py [--networks 10000] [--plain 50] [--profile]
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import dataclasses
import itertools
import os
import platform
import pstats
import random
import resource
import statistics
import time

import torch
from torch import nn

from mlplab.config import settings_from_overrides
from mlplab.data.preparation.examples import Prepared
from mlplab.network.activations import ACTIVATIONS
from mlplab.network.layer import Layer
from mlplab.optimizers import OPTIMIZERS
from mlplab.settings import Settings
from mlplab.training import Outcome, Session, prepare_members

BATCH, LR = 32, 0.01
ACTIVATION_MODULES = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
}
TORCH_OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}
OVERRIDES = [
    "dataset=circles",
    "dataset.num_samples=1000",
    "dataset.val=0.2",
    "dataset.test=0",
    f"training.batch_size={BATCH}",
]


def networks(count: int, epochs: int) -> list[Settings]:
    """Settings that differ in everything that has a choice here."""
    base = settings_from_overrides([*OVERRIDES, f"training.epochs={epochs}", "engine=native"])
    draw, initializer = random.Random(0), base.layers[0].initializer
    settings = []
    for seed in range(count):
        activation = ACTIVATIONS[draw.choice(list(ACTIVATION_MODULES))]()
        widths = [draw.randint(1, 64) for _ in range(draw.randint(1, 3))]
        layers = [Layer(units, activation, initializer) for units in widths]
        settings.append(
            dataclasses.replace(
                base,
                seed=seed,
                dataset=dataclasses.replace(base.dataset, seed=0),
                layers=(*layers, base.layers[-1]),
                optimizer=OPTIMIZERS[draw.choice(list(TORCH_OPTIMIZERS))](lr=LR),
            )
        )
    return settings


def ours(settings: list[Settings]) -> list[Outcome]:
    session = Session.of(prepare_members(settings))
    session.run()
    return session.outcomes()


def name_of(component: object, table: dict[str, type]) -> str:
    return next(name for name, kind in table.items() if type(component) is kind)


def plain(settings: Settings, prepared: Prepared) -> None:
    """Train one network with torch alone."""
    splits = [
        (torch.from_numpy(split.x).float(), torch.from_numpy(split.y))
        for split in (prepared.train, prepared.val)
    ]
    widths = [2, *(layer.units for layer in settings.layers[:-1])]
    activation = ACTIVATION_MODULES[name_of(settings.layers[0].activation, ACTIVATIONS)]
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs), activation()]
    model, loss = nn.Sequential(*modules, nn.Linear(widths[-1], 2)), nn.CrossEntropyLoss()
    optimizer = TORCH_OPTIMIZERS[name_of(settings.optimizer, OPTIMIZERS)](model.parameters(), lr=LR)
    best = float("inf")
    (x, y), _ = splits
    for _ in range(settings.training.epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            outputs = [(model(x), y) for x, y in splits]
            measured = [(loss(z, y).item(), (z.argmax(1) == y).float().mean()) for z, y in outputs]
        if measured[1][0] < best:
            best, weights = measured[1][0], copy.deepcopy(model.state_dict())
    assert weights


def plain_seconds(settings: list[Settings], prepared: Prepared) -> list[float]:
    torch.set_num_threads(1)
    seconds = []
    for one in settings:
        start = time.perf_counter()
        plain(one, prepared)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--plain", type=int, default=50, help="networks that torch trains")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--profile", action="store_true", help="print where Python spends time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = networks(args.networks, args.epochs)
    ours(settings[:20])  # compiles and loads
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(ours, settings)
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        return
    prepared = prepare_members(settings[:1])[0].prepared
    chosen = random.Random(1).sample(settings, args.plain)
    torch_seconds = plain_seconds(chosen[::2], prepared)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    ours(settings)
    seconds = (time.perf_counter() - start) / len(settings)
    torch_seconds += plain_seconds(chosen[1::2], prepared)
    torch_mean = statistics.mean(torch_seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{args.networks} networks, {args.epochs} epochs, python {platform.python_version()},"
        f" torch {torch.__version__}, threads: {args.threads}"
    )
    print(f"mlplab {1000 * seconds:.2f} ms a network, peak memory {peak:.2f} GiB")
    print(f"torch {1000 * torch_mean:.1f} ms a network, ratio {torch_mean / seconds:.0f}")


if __name__ == "__main__":
    main()

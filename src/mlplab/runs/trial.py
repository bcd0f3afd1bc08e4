"""A run and a changed version of it, trained side by side with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlplab.config import settings_of_folder
from mlplab.runs.initial_weights import with_initial_weights
from mlplab.terminal.output import digits
from mlplab.training import Session, prepare_members
from mlplab.training.outcome import Outcome

SHOWN = ("accuracy", "balanced_accuracy", "log_loss", "r2", "rmse")


def try_overrides(folder: Path, overrides: Sequence[str], seeds: int) -> list[list[str]]:
    """Train the run in a folder as it is and with overrides, each with its seed and the following
    ones, and return a table: a metric of the validation split (train if there is none), and its
    mean and range in both.

    Runs of one structure train as one population.
    """
    settings = [
        with_initial_weights(settings_of_folder(folder, changes, trains=True)).with_next_seed(k)
        for changes in ((), tuple(overrides))
        for k in range(seeds)
    ]
    session = Session.of(prepare_members(settings))
    session.run()
    outcomes = session.outcomes()
    before, after = outcomes[:seeds], outcomes[seeds:]
    split = "val" if any(name.startswith("val/") for name in before[0].metrics) else "train"
    names = [f"{split}/{name}" for name in SHOWN if f"{split}/{name}" in before[0].metrics]
    rows = [[name, _range(before, name), _range(after, name)] for name in names]
    diverged = [sum(one.status == "diverged" for one in group) for group in (before, after)]
    return [*rows, *([["diverged", *map(str, diverged)]] if any(diverged) else [])]


def _range(outcomes: Sequence[Outcome], name: str) -> str:
    values = np.array([outcome.metrics.get(name, np.nan) for outcome in outcomes])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    low, high = digits(float(finite.min())), digits(float(finite.max()))
    return f"{digits(float(finite.mean()))} [{low}, {high}]"

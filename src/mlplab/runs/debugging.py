"""What a run with debug=overfit shows: whether its network can learn ten rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlplab.data.preparation.examples import Examples
from mlplab.terminal.output import count, digits
from mlplab.training.history import History

MIN_R2 = 0.99
"""The explained share of the variance from which values count as learned."""


def overfit_result(history: History) -> dict[str, Any]:
    """Return the entries of a summary: whether the rows were learned, and the step of the first
    evaluation at which they were.
    """
    step = _learned_at(history)
    return {"learned": step is not None, "learned_at_step": step}


def _learned_at(history: History) -> int | None:
    """The first step at which all classes are right, or the values explained."""
    classifies = "train/accuracy" in history
    values = history["train/accuracy"] if classifies else history["train/r2"]
    reached = np.flatnonzero(values >= (1.0 if classifies else MIN_R2))
    return int(history.step[reached[0]]) if len(reached) else None


def verdict(
    summary: Mapping[str, Any], history: History, rows: Examples, lr: float, is_file: bool
) -> list[str]:
    """Return lines that say whether the rows were learned, with numbers, and what to try if not.
    `is_file`: the rows are of a table whose columns were detected (data_report.md).
    """
    name = "accuracy" if "train/accuracy" in history else "r2"
    values, losses = history[f"train/{name}"], history["train/loss"]
    best = float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")
    numbers = (
        f"train/{name} went from {digits(float(values[0]))} to {digits(best)}, train/loss from"
        f" {digits(float(losses[0]))} to {digits(float(np.nanmin(losses)))}"
    )
    if summary.get("learned"):
        step = int(summary["learned_at_step"])
        return [
            f"debug=overfit: yes, the network learns {len(rows)} rows, by step {step:,}.",
            numbers,
        ]
    steps = count(int(summary["steps"]), "step")
    first = f"debug=overfit: no, the network does not learn {len(rows)} rows in {steps}."
    return [first, numbers, *(f"- {advice}" for advice in _advice(summary, rows, lr, is_file))]


def _advice(summary: Mapping[str, Any], rows: Examples, lr: float, is_file: bool) -> list[str]:
    """What to try, the most likely cause first."""
    conflicts = _conflicts(rows)
    known = []
    if conflicts:
        known.append(
            f"{count(conflicts, 'row')} of them equal another row but for the target, which no"
            " network can learn: are columns missing?"
        )
    if summary["status"] == "diverged":
        known.append(f"It diverged: optimizer.lr={lr / 10:.3g}, or what `mlplab find-lr` suggests.")
    else:
        known.append(
            "The learning rate may be far off: `mlplab find-lr` with the same configuration and"
            " debug=overfit."
        )
    known.append("The network may be too small or saturate: model.hidden=32-32, activation=tanh.")
    if is_file:
        known.append("The target column may be wrong: data_report.md, dataset.target.")
    return known


def _conflicts(rows: Examples) -> int:
    """The number of rows that equal an earlier one in all features, but not in the target."""
    targets: dict[bytes, bytes] = {}
    conflicts = 0
    for x, y in zip(np.ascontiguousarray(rows.x), np.ascontiguousarray(rows.y), strict=True):
        conflicts += targets.setdefault(x.tobytes(), y.tobytes()) != y.tobytes()
    return conflicts

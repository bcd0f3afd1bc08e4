"""Two runs side by side: their configurations, and their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.runs.run_index import flat_config, summary_of
from mlplab.terminal.output import digits
from mlplab.terminal.table import aligned
from mlplab.tracking import read_metrics

CLOSE = 1e-4
"""Relative difference up to which a network that trained alone, and the same one among others, are
taken for equal.
"""


def compare_histories(before: Path, after: Path) -> tuple[bool, list[str]]:
    """Whether every number of metrics.csv and of the summary is the same, and what to say of it."""
    summaries = [summary_of(folder) for folder in (before, after)]
    together = max(int(summary.get("population") or 1) for summary in summaries) > 1
    worst, where, shape = _worst(before, after)
    metrics = [summary.get("metrics") or {} for summary in summaries]
    for name in {**metrics[0], **metrics[1]}:
        worst, where = max(
            (worst, where), (_apart(metrics[0].get(name), metrics[1].get(name)), name)
        )
    lines = [shape] if shape else []
    if not shape and worst == 0:
        lines.append("identical: every metric of every epoch, to the last bit")
    elif not shape:
        lines.append(f"the largest difference is {worst:.3g} of the value, in {where}")
    if together and 0 < worst <= CLOSE:
        lines.append(
            "one of the two trained among others, which is close and not bit-equal: taken for the"
            " same"
        )
    lines += _conditions(before, after)
    return not shape and (worst == 0 or (together and worst <= CLOSE)), lines


def _worst(before: Path, after: Path) -> tuple[float, str, str]:
    """Largest relative difference of the histories, its column, and a text where they cannot be
    compared.
    """
    paths = [folder / "metrics.csv" for folder in (before, after)]
    if not all(path.is_file() for path in paths):
        return 0.0, "", ""
    one, two = (read_metrics(path) for path in paths)
    if list(one) != list(two):
        return np.inf, "", f"different columns: {', '.join(sorted(set(one) ^ set(two)))}"
    if len(one["epoch"]) != len(two["epoch"]):
        return np.inf, "", f"{len(one['epoch'])} rows of metrics.csv against {len(two['epoch'])}"
    found = [(max(map(_apart, one[name], two[name]), default=0.0), name) for name in one]
    return (*max(found), "")


def _apart(a: float | None, b: float | None) -> float:
    """Relative difference; two that are no numbers are equal."""
    x, y = (np.nan if value is None else float(value) for value in (a, b))
    if x == y or (np.isnan(x) and np.isnan(y)):
        return 0.0
    return float(abs(x - y) / max(abs(x), abs(y))) if np.isfinite([x, y]).all() else float("inf")


def _conditions(before: Path, after: Path) -> list[str]:
    """What else differs between the two: data, versions, machine."""
    origins = []
    for folder in (before, after):
        try:
            origins.append(json.loads((folder / "provenance.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return []
    told = []
    for title, *path in (
        ("data", "data_hash"),
        ("versions", "versions"),
        ("commit", "git", "commit"),
        ("machine", "machine"),
    ):
        values = [_inside(origin, path) for origin in origins]
        if values[0] != values[1]:
            told.append(f"different {title}: {_short(values[0], values[1])}")
    return told


def _inside(tree: Any, path: list[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _short(a: Any, b: Any) -> str:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return ", ".join(
            f"{key} {a.get(key)} -> {b.get(key)}" for key in {**a, **b} if a.get(key) != b.get(key)
        )
    return f"{str(a)[:12]} -> {str(b)[:12]}"


def beside(before: Path, after: Path) -> list[str]:
    """The keys in which two configurations differ, and all metrics, in three columns."""
    one, two = flat_config(before), flat_config(after)
    lines = [["", before.name, after.name]]
    lines += [
        [key, str(one.get(key, "-")), str(two.get(key, "-"))]
        for key in {**one, **two}
        if one.get(key) != two.get(key)
    ]
    numbers = [summary_of(folder) for folder in (before, after)]
    lines += [
        [key, str(numbers[0].get(key, "-")), str(numbers[1].get(key, "-"))]
        for key in ("status", "epochs", "best_epoch", "num_parameters", "seconds")
    ]
    metrics = [summary.get("metrics") or {} for summary in numbers]
    for name in {**metrics[0], **metrics[1]}:
        a, b = (values.get(name) for values in metrics)
        change = (
            f"{b - a:+.4g}" if isinstance(a, (int, float)) and isinstance(b, (int, float)) else ""
        )
        lines.append([name, _shown(a), _shown(b), change])
    return aligned(lines)


def _shown(value: Any) -> str:
    return digits(float(value)) if isinstance(value, (int, float)) else "-"

"""Comparison of two runs: their configurations and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlplab.runs.flat_config import flat_config
from mlplab.runs.history_file import recorded_columns
from mlplab.runs.run_index import json_or_empty, summary_of
from mlplab.terminal.output import digits
from mlplab.terminal.table import aligned

_CONDITIONS = {
    "data": "data_hash",
    "versions": "versions",
    "commit": "git.commit",
    "machine": "machine",
}
"""Titles, and keys of provenance.json."""

MAX_RELATIVE_DIFFERENCE = 1e-4
"""Relative difference up to which a network trained singly and the same network trained in a
population count as equal.
"""


def compare_histories(before: Path, after: Path) -> tuple[bool, list[str]]:
    """Return whether all numbers of metrics.csv and summary.json agree, and explaining lines."""
    summaries = [summary_of(folder) for folder in (before, after)]
    batched = max(int(summary.get("population") or 1) for summary in summaries) > 1
    worst, column, mismatch = _largest_difference(before, after)
    metrics = [summary.get("metrics") or {} for summary in summaries]
    for name in {**metrics[0], **metrics[1]}:
        difference = _relative_difference(metrics[0].get(name), metrics[1].get(name))
        worst, column = max((worst, column), (difference, name))
    identical = "identical: every metric of every epoch, to the last bit"
    different = f"the largest difference is {worst:.3g} of the value, in {column}"
    lines = [mismatch or (different if worst else identical)]
    is_close = batched and worst <= MAX_RELATIVE_DIFFERENCE
    if is_close and worst > 0:
        lines.append(
            "one of the two trained in a population, which is close but not bit-identical: counted"
            " as equal"
        )
    return not mismatch and (worst == 0 or is_close), [*lines, *_conditions(before, after)]


def _largest_difference(before: Path, after: Path) -> tuple[float, str, str]:
    """The largest relative difference of the histories, its column, and a message if they cannot be
    compared.
    """
    paths = [folder / "metrics.csv" for folder in (before, after)]
    if not all(path.is_file() for path in paths):
        return 0.0, "", ""
    first, second = (recorded_columns(path) for path in paths)
    if list(first) != list(second):
        return np.inf, "", f"different columns: {', '.join(sorted(set(first) ^ set(second)))}"
    if len(first["epoch"]) != len(second["epoch"]):
        return (
            np.inf,
            "",
            f"{len(first['epoch'])} rows of metrics.csv against {len(second['epoch'])}",
        )
    differences = [
        (max(map(_relative_difference, first[name], second[name]), default=0.0), name)
        for name in first
    ]
    return (*max(differences), "")


def _relative_difference(a: float | None, b: float | None) -> float:
    """The relative difference; two missing values or NaNs are equal."""
    x, y = (np.nan if value is None else float(value) for value in (a, b))
    if x == y or (np.isnan(x) and np.isnan(y)):
        return 0.0
    return float(abs(x - y) / max(abs(x), abs(y))) if np.isfinite([x, y]).all() else float("inf")


def _conditions(before: Path, after: Path) -> list[str]:
    """Lines about differences in data, versions, commit and machine."""
    origins = [json_or_empty(folder / "provenance.json") for folder in (before, after)]
    if not all(origins):
        return []
    values = {
        title: [_nested_value(origin, path.split(".")) for origin in origins]
        for title, path in _CONDITIONS.items()
    }
    return [
        f"different {title}: {_format_change(a, b)}" for title, (a, b) in values.items() if a != b
    ]


def _nested_value(tree: object, path: list[str]) -> object:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _format_change(a: object, b: object) -> str:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return ", ".join(
            f"{key} {a.get(key)} -> {b.get(key)}" for key in {**a, **b} if a.get(key) != b.get(key)
        )
    return f"{str(a)[:12]} -> {str(b)[:12]}"


def side_by_side(before: Path, after: Path) -> list[str]:
    """Return the lines of a table with the configuration keys that differ, and all metrics."""
    first, second = flat_config(before), flat_config(after)
    changed = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    numbers = [summary_of(folder) for folder in (before, after)]
    facts = ("status", "epochs", "best_epoch", "num_parameters", "seconds")
    lines = [
        ["", before.name, after.name],
        *([key, str(first.get(key, "-")), str(second.get(key, "-"))] for key in changed),
        *([key, *(str(summary.get(key, "-")) for summary in numbers)] for key in facts),
    ]
    metrics = [summary.get("metrics") or {} for summary in numbers]
    for name in {**metrics[0], **metrics[1]}:
        a, b = (values.get(name) for values in metrics)
        change = (
            f"{b - a:+.4g}" if isinstance(a, (int, float)) and isinstance(b, (int, float)) else ""
        )
        lines.append([name, _format_metric(a), _format_metric(b), change])
    return aligned(lines)


def _format_metric(value: object) -> str:
    return digits(float(value)) if isinstance(value, (int, float)) else "-"

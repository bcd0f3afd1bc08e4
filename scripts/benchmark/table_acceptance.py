"""The figures of tables.py by which the defaults of mlplab are accepted, as Markdown: ranks by
half, paired errors, processor seconds, and how often `ensemble=32` is better than the single
default.

The comparison with scikit-learn on 19 tables is over those on which the 6-6 network was weak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from table_list import HALVES
from table_report import (
    Floats,
    Results,
    header,
    loss_of,
    mean_ranks,
    newest,
    paired_difference,
    row,
    shared_seeds,
)

SINGLE, ENSEMBLE, REALMLP = "mlplab", "mlplab_ensemble", "realmlp"
BASELINES = ("sklearn_mlp", "boosting")
FAMILIAR = (
    *("concrete", "bikeshare", "car_prices", "college", "segment", "scat", "phishing", "ames"),
    *("mlc_churn", "wage", "hitters", "oj", "attrition", "credit_data", "cells", "stackoverflow"),
    *("caravan", "shuttle", "sacramento"),
)
LEVEL, COVERAGE = 0.9, (0.885, 0.915)


class Measured:
    """The results of some methods on some tables."""

    def __init__(self, lines: Sequence[Mapping[str, Any]], folder: Path) -> None:
        self.results: Results = newest(lines)
        self.folder = folder

    def losses(self, name: str, method: str, seeds: Sequence[int]) -> list[Floats]:
        """The losses of the test rows, by seed."""
        by_seed = self.results[name, method]
        return [np.load(self.folder / by_seed[seed]["losses"]).astype(float) for seed in seeds]

    def score(self, name: str, method: str, seeds: Sequence[int]) -> float:
        return float(np.mean([loss_of(self.results[name, method][seed]) for seed in seeds]))

    def errors(self, name: str, method: str, other: str) -> float | None:
        """The loss of a method minus that of another one in paired standard errors, over the seeds
        that both have; None if there is none.
        """
        seeds = shared_seeds(self.results, name, (method, other))
        if not seeds:
            return None
        pair = [self.losses(name, m, seeds) for m in (method, other)]
        mean, error = paired_difference(*pair)
        return mean / error if error > 0 else 0.0

    def better_baseline(self, name: str, method: str) -> str | None:
        """The better one of scikit-learn's two methods, by the seeds that all three have."""
        seeds = shared_seeds(self.results, name, (method, *BASELINES))
        return min(BASELINES, key=lambda m: self.score(name, m, seeds)) if seeds else None


def acceptance(lines: Sequence[Mapping[str, Any]], folder: Path, halves: Mapping[str, str]) -> str:
    """Markdown; `halves` maps each table to its half."""
    measured = Measured(lines, folder)
    out: list[str] = []
    for half in HALVES[:2]:
        names = [name for name in halves if halves[name] == half]
        out += [f"### {half}", "", *_ranks(measured, names), ""]
    for method in (SINGLE, ENSEMBLE):
        out += [*_errors(measured, list(halves), method), ""]
        out += [*_familiar(measured, [n for n in FAMILIAR if n in halves], method), ""]
    out += _ensemble_against_single(measured, halves)
    for method in (SINGLE, ENSEMBLE):
        out += ["", *_uncertainty(measured, list(halves), method)]
    return "\n".join(out)


def _ranks(measured: Measured, names: Sequence[str]) -> list[str]:
    """Mean ranks and processor seconds: of the single default among methods that train one model,
    and with the ensemble among all.
    """
    single = (SINGLE, REALMLP, *BASELINES)
    return [
        *_rank_table(measured, names, single),
        "",
        *_rank_table(measured, names, (ENSEMBLE, *single)),
    ]


def _rank_table(measured: Measured, names: Sequence[str], methods: Sequence[str]) -> list[str]:
    seeds = {name: shared_seeds(measured.results, name, methods) for name in names}
    used = [name for name in names if seeds[name]]
    missing = [name for name in names if not seeds[name]]
    if not used:
        return [f"No table has results of {', '.join(methods)}."]
    ranks = mean_ranks({m: {n: measured.score(n, m, seeds[n]) for n in used} for m in methods})
    fewest = min(len(seeds[name]) for name in used)
    out = [f"{len(used)} tables, {fewest} or more seeds, processor seconds of a fit:", ""]
    out += header(["method", "mean rank", "median s", "mean s"])
    for method in sorted(methods, key=lambda m: ranks[m]):
        seconds = [
            measured.results[n, method][seed]["cpu_seconds"] for n in used for seed in seeds[n]
        ]
        cells = [f"{np.median(seconds):.1f}", f"{np.mean(seconds):.1f}"]
        out.append(row([method, f"{ranks[method]:.2f}", *cells]))
    return [*out, *(["", f"Not measured: {', '.join(missing)}."] if missing else [])]


def _errors(measured: Measured, names: Sequence[str], method: str) -> list[str]:
    """Differences from each other method in paired standard errors, and the largest."""
    others = [REALMLP, *BASELINES]
    out = [f"Loss of {method} minus that of the other, in paired standard errors:", ""]
    out += header(["table", *others])
    worst: dict[str, tuple[float, str]] = {}
    for name in names:
        values = {other: measured.errors(name, method, other) for other in others}
        if all(value is None for value in values.values()):
            continue
        out.append(row([name, *("" if v is None else f"{v:+.1f}" for v in values.values())]))
        for other, value in values.items():
            if value is not None:
                worst[other] = max(worst.get(other, (value, name)), (value, name))
    texts = [f"{value:+.1f} against {other} ({name})" for other, (value, name) in worst.items()]
    return [*out, "", f"Largest: {', '.join(texts)}."] if worst else [f"{method}: not measured."]


def _familiar(measured: Measured, names: Sequence[str], method: str) -> list[str]:
    """On how many of the 19 tables a method loses at most one standard error to the better one of
    scikit-learn's MLP and boosting.
    """
    behind = {}
    for name in names:
        baseline = measured.better_baseline(name, method)
        errors = None if baseline is None else measured.errors(name, method, baseline)
        if errors is not None:
            behind[name] = errors
    within = sum(errors <= 1 for errors in behind.values())
    by_errors = sorted(behind.items(), key=lambda item: -item[1])
    texts = [f"{name} {errors:+.1f}" for name, errors in by_errors if errors > 1]
    missing = sorted(set(names) - set(behind))
    out = (
        f"{method} is at most 1 standard error behind the better one of {' and '.join(BASELINES)}"
        f" on {within} of {len(behind)} tables ({len(FAMILIAR)} are listed)."
    )
    out += f" Behind by more: {', '.join(texts)}." if texts else ""
    return [out + (f" Not measured: {', '.join(missing)}." if missing else "")]


def _ensemble_against_single(measured: Measured, halves: Mapping[str, str]) -> list[str]:
    """The share of tables where the ensemble has a lower loss, and the ratio of the times."""
    out = []
    for half in HALVES[:2]:
        better, ratios = [], []
        for name in (name for name in halves if halves[name] == half):
            seeds = shared_seeds(measured.results, name, (SINGLE, ENSEMBLE))
            if not seeds:
                continue
            scores = [measured.score(name, m, seeds) for m in (ENSEMBLE, SINGLE)]
            better.append(scores[0] < scores[1])
            times = [
                np.mean([measured.results[name, m][seed]["cpu_seconds"] for seed in seeds])
                for m in (ENSEMBLE, SINGLE)
            ]
            ratios.append(times[0] / times[1])
        if better:
            out.append(
                f"{ENSEMBLE} is better than {SINGLE} on {sum(better)} of {len(better)} tables of"
                f" {half} ({100 * np.mean(better):.0f} %), at {np.median(ratios):.1f} (median) to"
                f" {max(ratios):.1f} times the processor time."
            )
    return out or [f"{ENSEMBLE}: not measured."]


def _uncertainty(measured: Measured, names: Sequence[str], method: str) -> list[str]:
    """The coverage of 90 % intervals, and the calibration error of probabilities beside the 95th
    percentile of what labels drawn from them give, by table.
    """
    coverages, errors = {}, {}
    for name in names:
        measured_lines = list(measured.results.get((name, method), {}).values())
        if measured_lines and all("coverage" in line for line in measured_lines):
            rows = sum(line["test_rows"] for line in measured_lines)
            share = sum(line["coverage"] * line["test_rows"] for line in measured_lines) / rows
            deviation = (LEVEL * (1 - LEVEL) / rows) ** 0.5
            coverages[name] = share, (share - LEVEL) / deviation
        if measured_lines and all("ece" in line for line in measured_lines):
            errors[name] = [line["ece"] <= line["ece_95"] for line in measured_lines]
    out = []
    if coverages:
        mean = np.mean([share for share, _ in coverages.values()])
        far = [f"{n} {100 * s:.1f} % ({d:+.1f})" for n, (s, d) in coverages.items() if abs(d) > 3]
        outliers = ", ".join(far) or "none"
        out.append(
            f"{method}: 90 % intervals contain {100 * mean:.1f} % of the test rows, the mean of"
            f" {len(coverages)} tables (accepted: {100 * COVERAGE[0]:.1f} to"
            f" {100 * COVERAGE[1]:.1f}); more than 3 standard errors from 90 %: {outliers}."
        )
    if errors:
        above = [f"{n} ({v.count(False)} of {len(v)})" for n, v in errors.items() if not all(v)]
        out.append(
            f"{method}: the calibration error is above the 95th percentile of calibrated"
            f" predictions on: {', '.join(above) or 'no table'} (of {len(errors)}; seeds in"
            " parentheses)."
        )
    return out

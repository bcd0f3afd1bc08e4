"""The report of tables.py: scores, ranks and paired errors, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats: TypeAlias = NDArray[np.floating[Any]]
Results: TypeAlias = Mapping[tuple[str, str], Mapping[int, Mapping[str, Any]]]
STAND_INS = {"realmlp_ce": "realmlp"}  # the same for regression, where it is not run again


def paired_difference(losses: Sequence[Floats], reference: Sequence[Floats]) -> tuple[float, float]:
    """The mean difference of two methods' losses per test row and its standard error.

    Both are lists with the losses [N] of each seed. The error is the larger one of that over the
    rows within the seeds, and that over the seeds, whose test rows and starts differ.
    """
    differences = [a - b for a, b in zip(losses, reference, strict=True)]
    means = np.array([d.mean() for d in differences])
    count = len(means)
    rows = np.sqrt(sum(d.var(ddof=1) / len(d) for d in differences)) / count
    seeds = means.std(ddof=1) / np.sqrt(count) if count > 1 else 0.0
    return float(means.mean()), float(max(rows, seeds))


def mean_ranks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean rank of each method over the tables that all have; the best score, the lowest, has
    rank 1, and equal scores share theirs.

    `scores` maps a method to its scores by table.
    """
    common = sorted(set.intersection(*(set(by_table) for by_table in scores.values())))
    if not common:
        return {}
    ranks = np.array([rankdata([scores[m][t] for m in scores]) for t in common])
    return dict(zip(scores, (float(r) for r in ranks.mean(0)), strict=True))


def newest(lines: Sequence[Mapping[str, Any]]) -> Results:
    """The results by (table, method) and seed: those of the digest that was measured last."""
    digests: dict[tuple[str, str], str] = {}
    for line in sorted(lines, key=lambda line: line["date"]):
        digests[line["table"], line["method"]] = line["digest"]
    results: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for line in lines:
        key = (line["table"], line["method"])
        if line["digest"] == digests[key]:
            results.setdefault(key, {})[line["seed"]] = line
    return results


def report(
    lines: Sequence[Mapping[str, Any]], folder: Path, names: Sequence[str], methods: Sequence[str]
) -> str:
    """Markdown: the score of each table and method, mean ranks, and paired differences.

    A table counts with the seeds that all methods have, and is left out if there is none.
    """
    results = dict(newest(lines))
    for name, stand_in in STAND_INS.items():
        for (table, method), by_seed in list(results.items()):
            if method == stand_in and next(iter(by_seed.values()))["task"] == "regression":
                results.setdefault((table, name), by_seed)
    methods = [m for m in methods if any((name, m) in results for name in names)]
    shared = {name: shared_seeds(results, name, methods) for name in names}
    results = {
        (name, m): {seed: results[name, m][seed] for seed in shared[name]}
        for name in names
        for m in methods
        if shared[name]
    }
    left_out = [name for name in names if not shared[name]]
    names = [name for name in names if shared[name]]
    if not names:
        return "No table has results of all methods."
    missing = [f"Not measured with all methods: {', '.join(left_out)}.", ""] if left_out else []
    return "\n".join(
        [
            *_scores(results, names, methods),
            "",
            *missing,
            *_ranks(results, names, methods),
            "",
            *_differences(results, folder, names, methods),
        ]
    )


def shared_seeds(results: Results, name: str, methods: Sequence[str]) -> list[int]:
    """The seeds with which all of the methods were measured on a table."""
    return sorted(set.intersection(*(set(results.get((name, m), {})) for m in methods)))


def loss_of(line: Mapping[str, Any]) -> float:
    """The score that ranks: rmse or log loss, the first one."""
    return float(next(iter(line["scores"].values())))


def _mean(by_seed: Mapping[int, Mapping[str, Any]]) -> float:
    return float(np.mean([loss_of(line) for line in by_seed.values()]))


def row(cells: Sequence[object]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def header(cells: Sequence[object]) -> list[str]:
    """The first two lines of a table in Markdown."""
    return [row(cells), f"|{'---|' * len(cells)}"]


def _scores(results: Results, names: Sequence[str], methods: Sequence[str]) -> list[str]:
    out = header(["table", "rows", "seeds", "score", *methods])
    for name in names:
        some = results[name, methods[0]]
        line = next(iter(some.values()))
        means = [_mean(results[name, m]) for m in methods]
        texts = [f"{mean:,.4g}" if mean < 1000 else f"{mean:,.0f}" for mean in means]
        cells = [
            f"**{text}**" if mean == min(means) else text
            for text, mean in zip(texts, means, strict=True)
        ]
        about = [name, f"{line['rows']:,}", len(some), next(iter(line["scores"]))]
        out.append(row([*about, *cells]))
    return out


def _ranks(results: Results, names: Sequence[str], methods: Sequence[str]) -> list[str]:
    ranks = mean_ranks({m: {name: _mean(results[name, m]) for name in names} for m in methods})
    out = [f"Mean rank over {len(names)} tables, and processor seconds of a fit:", ""]
    out += header(["method", "mean rank", "median s", "mean s"])
    for method in sorted(methods, key=lambda m: ranks[m]):
        seconds = [line["cpu_seconds"] for n in names for line in results[n, method].values()]
        times = [f"{np.median(seconds):.1f}", f"{np.mean(seconds):.1f}"]
        out.append(row([method, f"{ranks[method]:.2f}", *times]))
    return out


def _differences(
    results: Results, folder: Path, names: Sequence[str], methods: Sequence[str]
) -> list[str]:
    """Differences from the first method in paired standard errors."""
    first, *others = methods
    if not others:
        return []
    out = [
        f"Loss of {first} minus that of the other, in paired standard errors (negative: {first}"
        " is better):",
        "",
        *header(["table", *others]),
    ]
    for name in names:
        cells = []
        for method in others:
            pair = [
                [np.load(folder / line["losses"]).astype(float) for line in by_seed.values()]
                for by_seed in (results[name, first], results[name, method])
            ]
            mean, error = paired_difference(*pair)
            cells.append(f"{mean / error:+.1f}" if error > 0 else "0")
        out.append(row([name, *cells]))
    return out

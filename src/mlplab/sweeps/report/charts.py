"""The curves of the report: means with bands over seeds.

Shapes: N jobs of a configuration, E evaluations.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlplab.errors import DamagedFileError
from mlplab.io.reading import reading
from mlplab.metrics import bounds
from mlplab.sweeps.report.conclusions import label
from mlplab.sweeps.report.intervals import mean_interval, student
from mlplab.sweeps.report.results import Group, JobResult, Results
from mlplab.terminal.output import note

MAX_CURVES = 8
MAX_POINTS = 200
MAX_JOBS = 200
"""Jobs of a configuration whose curves are read: reading the files of all of them would take longer
than everything else."""

Floats = NDArray[np.float64]


def curves(results: Results) -> dict[str, object]:
    """Return the curves of the best configurations: mean and 95 % band over seeds by epoch.

    The metrics are the headline metric and its counterparts and the loss on train and val.
    """
    best = [group for group in results.groups if group.statistics(results.headline).n][:MAX_CURVES]
    metric = results.headline.partition("/")[2]
    names = list(
        dict.fromkeys(
            [results.headline, *(f"{s}/{m}" for m in ("loss", metric) for s in ("val", "train"))]
        )
    )
    drawn = [(group, curves) for group in best if (curves := _group_curves(results, group, names))]
    scope = (
        "every configuration"
        if len(drawn) == len(results.groups)
        else f"the {len(drawn)} best of {len(results.groups)} configurations"
    )
    return {
        "metrics": [name for name in names if any(name in curves for _, curves in drawn)],
        "groups": [
            {
                "name": label(group, results),
                "curves": curves,
            }
            for group, curves in drawn
        ],
        "said": f"Mean over seeds with its 95 % band, for {scope}. A curve ends when fewer than"
        " half of its jobs continue."
        f"{_limit_text(group for group, _ in drawn)}"
        if drawn
        else "No curves: at this level of tracking the jobs write no metrics.csv, or no job was"
        " trained to its end.",
    }


def _limit_text(groups: Iterable[Group]) -> str:
    most = max(sum(job.counts for job in group.jobs) for group in groups)
    return f" Over the first {MAX_JOBS} jobs of at most {most:,}." if most > MAX_JOBS else ""


def _group_curves(results: Results, group: Group, names: Sequence[str]) -> dict[str, object]:
    jobs = [job for job in group.jobs if job.counts][:MAX_JOBS]
    tables = [table for job in jobs if (table := _columns(results, job, names))]
    return {
        name: curve
        for name in names
        if (
            curve := band(
                [(table["epoch"], table[name]) for table in tables if name in table], bounds(name)
            )
        )
    }


def _columns(results: Results, job: JobResult, names: Sequence[str]) -> dict[str, Floats] | None:
    if results.packed_history is None:
        return read_columns(job.folder / "metrics.csv", names)
    history = results.packed_history(job.number)
    return {name: np.asarray(history[name]) for name in ("epoch", *names) if name in history}


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Floats] | None:
    """Return columns of a metrics.csv, `epoch` among them, each [E]; None if the file is missing.

    A damaged file counts as missing, with a note: the results of its job are in summary.json.
    These columns contain no quoted cells.
    """
    if not path.is_file():
        return None
    try:
        with reading(path, "report.html has no curve of this job."):
            lines = path.read_text(encoding="utf-8").splitlines()
            head = lines[0].split(",") if lines else []
            indices = {
                name: head.index(name) for name in ("epoch", *names) if name in ("epoch", *head)
            }
            cells = [line.split(",") for line in lines[1:]]
            return {
                name: np.array([float(row[index] or "nan") for row in cells])
                for name, index in indices.items()
            }
    except DamagedFileError as error:
        note(str(error))
        return None


def band(
    series: Sequence[tuple[Floats, Floats]], limits: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, list[float | None]] | None:
    """Return x, the mean and its 95 % interval over the jobs that continue; None without series.

    `series` holds (epochs [E], values [E]) of each job. The interval stays within `limits`. At most
    MAX_POINTS points are returned.
    """
    if not series:
        return None
    epochs_E = np.unique(np.concatenate([epoch for epoch, _ in series]))
    values_NE = np.full((len(series), len(epochs_E)), np.nan)
    for row, (epoch, value) in zip(values_NE, series, strict=True):
        row[np.searchsorted(epochs_E, epoch)] = value
    values_NE[~np.isfinite(values_NE)] = np.nan
    count_E = np.isfinite(values_NE).sum(0)
    drawable = np.flatnonzero((2 * count_E >= len(series)) & (count_E > 0))
    num_points = min(len(drawable), MAX_POINTS)
    selected = drawable[np.linspace(0, len(drawable) - 1, num_points).round().astype(int)]
    values_NE, count_E = values_NE[:, selected], count_E[selected]
    # a single job has no spread
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        mean_E, std_E = np.nanmean(values_NE, 0), np.nanstd(values_NE, 0, ddof=1)
    curve: dict[str, list[float | None]] = {
        "x": epochs_E[selected].tolist(),
        "mean": _short(mean_E),
    }
    if len(series) > 1:
        quantile_E = np.array([student(int(n) - 1) if n > 1 else np.nan for n in count_E])
        low_E, high_E = mean_interval(
            *(mean_E, std_E**2, quantile_E, 1 / count_E, _at_bound(values_NE, limits), limits)
        )
        curve |= {"low": _short(low_E), "high": _short(high_E)}
    return curve


def _at_bound(values_NE: Floats, limits: tuple[float, float]) -> Floats:
    """The fraction of the values that equal a bound, or 1 where all are equal, [E]."""
    present_NE = np.isfinite(values_NE)
    first_E = np.nanmax(values_NE, 0)
    equal_E = ((values_NE == first_E) | ~present_NE).all(0)
    at_bound_E = (np.isin(values_NE, limits) & present_NE).sum(0) / present_NE.sum(0)
    return np.where(equal_E, 1.0, at_bound_E)


def _short(values_E: Floats) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values_E.tolist()]

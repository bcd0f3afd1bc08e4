"""TensorBoard for many jobs: one run for each group of jobs, with statistics over them.

Shapes: E evaluations of a job, T evaluations that are written, J jobs of a group, M metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlplab.tracking.events import EventWriter

MAX_GROUPS = 280
"""Groups that get a run: TensorBoard shows some hundred runs without delay, not thousands."""

MAX_EVALUATIONS = 100
"""Evaluations of a group that are written, at even distances, the first and the last included."""

QUANTILES = {"quantile_0.1": 0.1, "median": 0.5, "quantile_0.9": 0.9, "min": 0.0, "max": 1.0}
CATEGORY = "within"
"""The category of all tags but the means: TensorBoard sorts categories by name, and those of the
metrics, such as train and val, come first.
"""

IN_TRAINING = f"{CATEGORY}/jobs_in_training"
MAX_NAME = 100


@dataclass(frozen=True)
class History:
    """The evaluations of one job.

    `epoch` and `step` [E] increase; `values` [E, M] has a column for each metric of the sweep, NaN
    where it was not measured. `is_done` says whether the job was trained to its end, which may be
    earlier than that of others, by patience: its last values then count at all later steps.
    """

    epoch: NDArray[np.int64]
    step: NDArray[np.int64]
    values: NDArray[np.floating]
    is_done: bool = True


@dataclass(frozen=True)
class JobGroup:
    """Jobs that differ only in their seeds: a row of the HParams table.

    `hparams` are the cells of the row, and `final` its metrics, tag -> value.
    """

    name: str
    hparams: Mapping[str, object]
    histories: Sequence[History]
    final: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics over the jobs of a group: of each metric, [T, M], and how many train, [T].

    They are of the finite values; NaN where there is none.
    """

    step: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float64]]
    in_training: NDArray[np.int64]


def aggregate(
    histories: Sequence[History], max_evaluations: int = MAX_EVALUATIONS
) -> GroupStatistics:
    """Return mean, quantiles, minimum and maximum over jobs, at the epochs of the longest history.

    Jobs are compared at equal epochs, since the number of updates of an epoch may differ with the
    seed; the steps are those of the longest history. A job that has not evaluated at an epoch
    counts with its last value before. After its end, a job that was trained to its end keeps its
    last value, and one that diverged or was pruned leaves the statistics.
    """
    longest = max(histories, key=lambda history: (int(history.epoch[-1]), len(history.epoch)))
    chosen = np.unique(
        np.linspace(0, len(longest.epoch) - 1, min(len(longest.epoch), max_evaluations))
        .round()
        .astype(np.int64)
    )
    epoch_T = longest.epoch[chosen]
    values_JTM = np.stack([_carried(history, epoch_T) for history in histories])
    last_J = np.array([history.epoch[-1] for history in histories])
    # metric by metric, since copies of all values of thousands of jobs would fill the memory
    of_metrics = [
        _statistics(np.sort(values_JT, axis=0)) for values_JT in values_JTM.T.swapaxes(1, 2)
    ]
    statistics = {
        name: np.stack([of_metric[name] for of_metric in of_metrics], axis=1)
        for name in ("mean", *QUANTILES)
    }
    return GroupStatistics(
        longest.step[chosen],
        statistics,
        (last_J[:, None] >= epoch_T).sum(axis=0),
    )


def _statistics(sorted_JT: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Mean and quantiles [T] over jobs of the finite values of a metric; NaN is last."""
    count_T = np.isfinite(sorted_JT).sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no job has a value
        mean_T = np.nansum(sorted_JT, axis=0, dtype=np.float64) / count_T
    return {
        "mean": mean_T,
        **{name: _quantile(sorted_JT, count_T, q) for name, q in QUANTILES.items()},
    }


def _quantile(
    sorted_JT: NDArray[np.float32], count_T: NDArray[np.int64], quantile: float
) -> NDArray[np.float64]:
    """The quantile [T] of the first `count_T` values, linear between neighbors as numpy's; NaN
    where there is none. numpy.nanquantile takes a hundred times as long.
    """
    position_T = np.maximum(quantile * (count_T - 1), 0.0)
    below_T = position_T.astype(np.int64)
    above_T = np.minimum(below_T + 1, np.maximum(count_T - 1, 0))
    low_T, high_T = (
        np.take_along_axis(sorted_JT, index_T[None], axis=0)[0].astype(np.float64)
        for index_T in (below_T, above_T)
    )
    between_T: NDArray[np.float64] = low_T + (high_T - low_T) * (position_T - below_T)
    return between_T


def _carried(history: History, epoch_T: NDArray[np.int64]) -> NDArray[np.float32]:
    """The last finite values [T, M] up to each epoch; NaN before the first."""
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        values_EM = history.values.astype(np.float32)
    values_EM[~np.isfinite(values_EM)] = np.nan
    index_T = np.searchsorted(history.epoch, epoch_T, side="right") - 1
    carried_TM = values_EM[np.maximum(index_T, 0)]
    carried_TM[index_T < 0] = np.nan
    if not history.is_done:
        carried_TM[epoch_T > history.epoch[-1]] = np.nan
    return carried_TM


def write_groups(
    folder: Path,
    metrics: Sequence[str],
    groups: Iterable[JobGroup],
    choices: Mapping[str, Sequence[object]],
    final_tags: Sequence[str],
) -> list[str]:
    """Write one run for each group, in folders that are numbered in this order, and return their
    names.

    The tag of a metric is its mean, so that the curves of jobs are in the same chart, and
    `within/<statistic>/<metric>` are the others. `choices` are the values that each hyperparameter
    takes, `final_tags` the tags of the final metrics of all groups.
    """
    dashboards = _dashboards()
    names = []
    for number, group in enumerate(groups):
        names.append(f"{number:03d}-{_file_name(group.name)}")
        (folder / names[-1]).mkdir()
        with EventWriter(folder / names[-1]) as events:
            events.hparams(group.hparams, final_tags, choices)
            if number == 0:
                events.add(dashboards.margin_charts("mean and 80 % of the jobs", _margins(metrics)))
            last_step = _write_statistics(events, metrics, group.histories)
            events.scalars(last_step, group.final)
            events.hparams_end("done" if group.final else "failed")
    return names


def _write_statistics(
    events: EventWriter, metrics: Sequence[str], histories: Sequence[History]
) -> int:
    """Write the statistics of a group; return the last step."""
    histories = [history for history in histories if len(history.epoch)]
    if not histories:
        return 0
    group = aggregate(histories)
    columns: dict[bytes, dict[str, NDArray[np.float64]]] = {}  # by the steps with a value
    for name, values_TM in group.statistics.items():
        for metric, values_T in zip(metrics, values_TM.T, strict=True):
            tag = metric if name == "mean" else f"{CATEGORY}/{name}/{metric}"
            columns.setdefault(np.isfinite(values_T).tobytes(), {})[tag] = values_T
    columns[b""] = {IN_TRAINING: group.in_training.astype(np.float64)}
    for tags in columns.values():
        measured = np.isfinite(next(iter(tags.values())))
        if measured.any():
            values = {tag: values_T[measured] for tag, values_T in tags.items()}
            events.history(group.step[measured].tolist(), values)
    return int(group.step[-1])


def _margins(metrics: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Title of a chart -> the tags of its line, and of the lower and upper end of its band."""
    low, high = f"{CATEGORY}/quantile_0.1", f"{CATEGORY}/quantile_0.9"
    return {metric: (metric, f"{low}/{metric}", f"{high}/{metric}") for metric in metrics}


def _dashboards() -> Any:
    """The module imports TensorBoard's protobufs."""
    return import_module("mlplab.tracking.dashboards")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", name, flags=re.ASCII)[:MAX_NAME].strip("_") or "jobs"

"""The folder `tensorboard` of a large sweep: a run for each configuration, and the best jobs."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mlplab.runs.hparams import final_scalars, to_cell
from mlplab.sweeps.execution.job_store import Columns, JobStore
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.plan.tracked import PACKED
from mlplab.sweeps.report.results import Group, JobResult, Results, value_text
from mlplab.terminal.output import note
from mlplab.tracking import EventWriter
from mlplab.tracking.group_events import MAX_GROUPS, History, JobGroup, write_groups

FOLDER = "tensorboard"

MAX_BYTES = 256 << 20
"""Size of the histories that are in memory at a time, unless those of one group are larger."""

MANY_JOBS, MAX_GROUPS_OF_MANY_JOBS = 1 << 14, 110
"""A sweep of more jobs has many packs, and therefore fewer runs: 65,536 jobs leave less than 200
files."""

BEST_JOBS = 10
"""Jobs that get a run of their own with every evaluation."""


def write_tensorboard(plan: Plan, results: Results, job_store: JobStore | None = None) -> None:
    """Write the event files of configurations if jobs are in packs, where they have none, unless
    `tracking` leaves event files out.
    """
    levels = {job.settings.tracking.level for job in plan.jobs}
    if plan.options.jobs == PACKED and levels & {"scalars", "full"}:
        write_group_events(results, job_store or open_store(plan, results.folder))


def write_group_events(results: Results, job_store: JobStore) -> Path:
    """Write the event files of the best configurations and of the best jobs, replacing earlier
    ones, and return their folder.

    Histories are read pack by pack for as many groups as fit in `MAX_BYTES`, at least one.
    """
    target = results.folder / FOLDER
    with job_store.staging_dir() as staging:
        new = staging / FOLDER
        (new / "groups").mkdir(parents=True)
        (new / "jobs").mkdir()
        _write_groups(new / "groups", results, job_store)
        for job in best_jobs(results)[:BEST_JOBS]:
            _write_job(new / "jobs", job, job_store.history(job.number))
        if os.path.lexists(target):
            os.rename(target, staging / "before")
        os.rename(new, target)
    if len(results.groups) > (shown := _max_groups(results)):
        note(
            f"TensorBoard shows the {shown} best of {len(results.groups):,} configurations by"
            f" {results.headline}"
        )
    return target


def _max_groups(results: Results) -> int:
    """The number of configurations that get a run, which is a file."""
    return MAX_GROUPS if len(results.jobs) <= MANY_JOBS else MAX_GROUPS_OF_MANY_JOBS


def best_jobs(results: Results) -> list[JobResult]:
    """Return the jobs that are done and have the metric that ranks configurations, best first."""
    sign = -1 if results.higher_is_better else 1
    done = [job for job in results.jobs if job.counts and results.headline in job.metrics]
    return sorted(done, key=lambda job: (sign * job.metrics[results.headline], job.number))


def _write_groups(folder: Path, results: Results, job_store: JobStore) -> None:
    """Write the runs of the best configurations."""
    groups = results.groups[: _max_groups(results)]
    metrics = _history_metrics(results, job_store)
    hparams = [_hparams(results, group) for group in groups]
    finals = [_final(results, group) for group in groups]
    choices = {
        key: list(dict.fromkeys(one[key] for one in hparams)) for key in (hparams or [{}])[0]
    }

    def read() -> Iterator[JobGroup]:
        rest = zip(groups, hparams, finals, strict=True)
        for together in _batches(groups, len(metrics)):
            histories = _read_histories(together, metrics, job_store)
            for group, values, final in itertools.islice(rest, len(together)):
                of_group = [
                    histories.pop(job.number) for job in group.jobs if job.number in histories
                ]
                yield JobGroup(_name(results, group), values, of_group, final)

    tags = list(dict.fromkeys(tag for final in finals for tag in final))
    write_groups(folder, metrics, read(), choices, tags)


def _batches(groups: Sequence[Group], num_metrics: int) -> Iterator[list[Group]]:
    """Groups whose histories are read together, since a pack has jobs of many groups."""
    batch: list[Group] = []
    num_bytes = 0
    for group in groups:
        evaluations = sum(int(job.facts.get("epochs") or 0) + 1 for job in group.jobs)
        size = evaluations * num_metrics * np.dtype(np.float32).itemsize
        if batch and num_bytes + size > MAX_BYTES:
            yield batch
            batch, num_bytes = [], 0
        batch.append(group)
        num_bytes += size
    if batch:
        yield batch


def _read_histories(
    groups: Sequence[Group], metrics: Sequence[str], job_store: JobStore
) -> dict[int, History]:
    """The histories of the jobs of some groups that have evaluations, by number."""
    is_done = {job.number: job.counts for group in groups for job in group.jobs}
    return {
        number: _history(columns, metrics, is_done[number])
        for number, columns in job_store.histories(sorted(is_done))
        if len(columns.get("epoch", ()))
    }


def _history_metrics(results: Results, job_store: JobStore) -> tuple[str, ...]:
    """The metrics of the history of the best job that has one, which all jobs measure."""
    for job in (*best_jobs(results), *results.jobs):
        names = tuple(
            name for name in job_store.history(job.number) if name not in ("epoch", "step")
        )
        if names:
            return names
    return ()


def _history(columns: Columns, metrics: Sequence[str], is_done: bool) -> History:
    values_EM = np.full((len(columns["epoch"]), len(metrics)), np.nan, np.float32)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        for i, name in enumerate(metrics):
            if name in columns:
                values_EM[:, i] = columns[name]
    return History(
        np.asarray(columns["epoch"], np.int64),
        np.asarray(columns["step"], np.int64),
        values_EM,
        is_done,
    )


def _hparams(results: Results, group: Group) -> dict[str, object]:
    """The cells of a configuration; its name if the sweep varies nothing but seeds."""
    cells = {key: to_cell(group.values[key]) for key in results.axes}
    return dict(cells) or {"experiment": results.name}


def _name(results: Results, group: Group) -> str:
    values = [f"{key}={value_text(group.values[key])}" for key in results.axes]
    return "-".join(values) or results.name


def _final(results: Results, group: Group) -> dict[str, float]:
    """The metrics of a configuration in the HParams table: mean and standard deviation over jobs
    of the split that ranks, and how many jobs ended in each way.
    """
    split = results.headline.partition("/")[0]
    category = split if split == "test" else f"{split}_best"
    final: dict[str, float] = {}
    names = [name for name in results.metric_names if name.startswith(f"{split}/")]
    for name in sorted(names, key=lambda name: name != results.headline):
        statistics = group.statistics(name)
        tag = f"{category}/{name.partition('/')[2]}"
        if statistics.mean is not None:
            final[tag] = statistics.mean
        if statistics.std is not None:
            final[f"{tag}_std"] = statistics.std
    statuses = Counter(job.status for job in group.jobs)
    counts = {f"{category}/n": statuses["done"], f"{category}/diverged": statuses["diverged"]}
    return {**final, **counts}


def _write_job(folder: Path, job: JobResult, columns: Columns) -> None:
    """Write the run of a job with every evaluation, without a row in the HParams table."""
    (folder / str(job.number)).mkdir()
    steps = [int(step) for step in columns.get("step", ())]
    epochs = list(columns.get("epoch", ()))
    columns = {name: column for name, column in columns.items() if name not in ("epoch", "step")}
    with EventWriter(folder / str(job.number)) as events:
        events.text("overrides", "\n".join(f"    {override}" for override in job.overrides))
        events.history(steps, columns)
        best = job.facts.get("best_epoch")
        best_step = next((s for s, e in zip(steps, epochs, strict=True) if e == best), 0)
        last_step = steps[-1] if steps else 0
        names = tuple(columns) or tuple(job.metrics)
        for step, values in final_scalars(names, job.metrics, best_step or last_step, last_step):
            events.scalars(step, values)

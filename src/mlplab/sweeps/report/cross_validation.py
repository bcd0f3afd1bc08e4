"""The cross-validation of one configuration: its metrics over the folds next to simple baselines,
and the predictions of each fold for its held-out rows.

Shapes: N rows of a fold's test split, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import NotFiniteError
from mlplab.io.files import write_bytes_atomic, write_json
from mlplab.runs.evaluate import Rows, baselines, compute_metrics, metric_labels
from mlplab.runs.run import Run
from mlplab.sweeps.execution.loaded_jobs import load_jobs
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.statistics import Statistics
from mlplab.terminal.output import digits, note
from mlplab.terminal.table import aligned
from mlplab.tracking.metrics_file import table_bytes
from mlplab.training import DataCache
from mlplab.validation import KFold

MAX_BASELINE_CELLS = 50_000_000
"""Train cells of all folds together up to which baselines are fitted; beyond it they would take
longer than the networks.
"""


def conclude(plan: Plan, results: Results, cache: DataCache) -> list[str]:
    """Measure the folds, write predictions.csv and cross_validation.json; return the table's lines.

    Empty if the sweep is not a finished cross-validation of a single configuration.
    """
    first = plan.jobs[0].settings.validation
    if (
        not isinstance(first, KFold)
        or results.axes
        or any(job.status != "done" for job in results.jobs)
    ):
        return []
    fold_metrics: list[dict[str, float]] = []
    fold_baselines: list[Mapping[str, Mapping[str, float]]] = []
    predictions: list[Sequence[object]] = []
    store = open_store(plan, results.folder)
    store.refresh()
    runs = load_jobs(plan, store, [job.number for job in plan.jobs])
    for job, run in zip(plan.jobs, runs, strict=True):
        prepared = cache.prepared(job.settings)
        try:
            rows, scores = _held_out(prepared, run)
        except NotFiniteError as error:
            note(f"no cross-validation: {error}")
            return []
        fold_metrics.append(compute_metrics(scores, rows.y, rows.task))
        if len(plan.jobs) * prepared.train.x.size <= MAX_BASELINE_CELLS:
            fold_baselines.append(baselines(prepared, rows))
        predictions += _predictions(job, prepared, rows, scores)
    overlap = 1 / (first.folds - 1)
    statistics = {
        name: Statistics.of([metrics[name] for metrics in fold_metrics], name, overlap)
        for name in fold_metrics[0]
    }
    baseline_means = {
        model: {
            name: float(np.mean([models[model][name] for models in fold_baselines]))
            for name in fold_metrics[0]
        }
        for model in (fold_baselines[0] if fold_baselines else {})
    }
    write_bytes_atomic(
        results.folder / "predictions.csv", table_bytes([_header(prepared), *predictions])
    )
    write_json(
        results.folder / "cross_validation.json",
        {
            "folds": len(fold_metrics),
            "metrics": {name: vars(stats) for name, stats in statistics.items()},
            "baselines": baseline_means,
            "classes": prepared.class_names,
        },
    )
    labels = metric_labels(prepared.class_names)
    return _lines(f"{len(fold_metrics)} folds", statistics, baseline_means, labels)


def _lines(
    title: str,
    statistics: Mapping[str, Statistics],
    baselines: Mapping[str, Mapping[str, float]],
    labels: Mapping[str, str],
) -> list[str]:
    """Return the lines of the table: one metric per row, named by `labels` if they have it."""
    header = [title, "mean [95 %]", "std", "lowest", "highest", *baselines]
    rows = [
        [
            labels.get(name, name),
            stats.interval,
            stats.spread,
            *("-" if n is None else digits(n) for n in (stats.low, stats.high)),
            *(digits(scores[name]) for scores in baselines.values()),
        ]
        for name, stats in statistics.items()
    ]
    return aligned([header, *rows])


def _held_out(prepared: Prepared, run: Run) -> tuple[Rows, np.ndarray]:
    """Return the held-out rows of a fold, and its network's scores [N, C or T] for them.

    Raises NotFiniteError.
    """
    assert prepared.test is not None
    rows = Rows.of_split(prepared, "test", run.folder)
    return rows, run.scores(rows.x_NF, rows.source, first=1)


def _header(prepared: Prepared) -> list[str]:
    outputs = (
        ["prediction", *(f"P({name})" for name in prepared.class_names)]
        if prepared.task.classifies
        else [f"{name} predicted" for name in prepared.target_names]
    )
    return ["row", "seed", "repeat", "fold", *prepared.target_names, *outputs]


def _predictions(
    job: Job, prepared: Prepared, rows: Rows, scores: np.ndarray
) -> list[list[object]]:
    """Return one line per held-out row; rows are numbered from 1."""
    kfold, indices = job.settings.validation, prepared.test_rows
    assert isinstance(kfold, KFold)
    assert indices is not None
    head = [job.settings.seed, *divmod(kfold.fold or 0, kfold.folds)]
    targets, outputs = rows.y.tolist(), scores.tolist()
    if prepared.task.classifies:
        names = prepared.class_names
        targets = [[names[y]] for y in targets]
        outputs = [[names[np.argmax(row)], *row] for row in scores.tolist()]
    return [
        [int(index) + 1, *head, *y, *output]
        for index, y, output in zip(indices, targets, outputs, strict=True)
    ]

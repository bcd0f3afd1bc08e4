"""The cross-validation of one configuration: its metrics over the folds beside plain baselines, and
what each fold predicts for rows it never saw.

Shapes: N rows of a fold's test part, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import NotFiniteError
from mlplab.finite import check_finite_outputs
from mlplab.io.files import write_bytes_atomic, write_json
from mlplab.runs.evaluate import Rows, baselines, compute_metrics
from mlplab.runs.run import load
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.statistics import Statistics
from mlplab.terminal.output import note
from mlplab.terminal.table import aligned
from mlplab.tracking.metrics_file import table_bytes
from mlplab.training import DataCache
from mlplab.validation import KFold

# of all folds together: beyond it the baselines would take longer than the networks
MOST_CELLS = 50_000_000


@dataclass(frozen=True)
class CrossValidation:
    """Metric -> statistics over the folds: of the networks, and the mean of each baseline."""

    metrics: Mapping[str, Statistics]
    baselines: Mapping[str, Mapping[str, float]]
    folds: int
    classes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The table that a person reads."""
        shown = {f"f1_class_{c}": f"f1 of {name}" for c, name in enumerate(self.classes)}
        rows = [
            [f"{self.folds} folds", "mean", "± 95 %", "std", "lowest", "highest", *self.baselines]
        ]
        for name, found in self.metrics.items():
            numbers = (found.mean, found.half_width, found.std, found.low, found.high)
            plain = [f"{own[name]:.4g}" for own in self.baselines.values()]
            rows.append(
                [
                    shown.get(name, name),
                    *("-" if number is None else f"{number:.4g}" for number in numbers),
                    *plain,
                ]
            )
        return aligned(rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folds": self.folds,
            "metrics": {name: vars(found) for name, found in self.metrics.items()},
            "baselines": self.baselines,
            "classes": self.classes,
        }


def conclude(plan: Plan, results: Results, cache: DataCache) -> list[str]:
    """Measure and write; the table's lines. Nothing where the sweep is no cross-validation of one
    configuration, or not at its end.
    """
    first = plan.jobs[0].settings.validation
    if (
        not isinstance(first, KFold)
        or results.axes
        or any(job.status != "done" for job in results.jobs)
    ):
        return []
    found: list[dict[str, float]] = []
    plain: list[Mapping[str, Mapping[str, float]]] = []
    table: list[list[Any]] = []
    names: tuple[str, ...] = ()
    for job, result in zip(plan.jobs, results.jobs, strict=True):
        prepared = cache.prepared(job.settings)
        try:
            rows, scores = _held_out(prepared, result.folder)
        except NotFiniteError as error:
            note(f"no cross-validation: {error}")
            return []
        found.append(compute_metrics(scores, rows.y, rows.task))
        if len(plan.jobs) * prepared.train.x.size <= MOST_CELLS:
            plain.append(baselines(prepared, rows))
        table = table or [_header(prepared)]
        table += _predictions(job, prepared, rows, scores)
        names = prepared.class_names
    overlap = 1 / (first.folds - 1)
    cross = CrossValidation(
        {name: Statistics.of([own[name] for own in found], overlap) for name in found[0]},
        {
            model: {name: float(np.mean([own[model][name] for own in plain])) for name in found[0]}
            for model in (plain[0] if plain else {})
        },
        len(found),
        names,
    )
    write_bytes_atomic(results.folder / "predictions.csv", table_bytes(table))
    write_json(results.folder / "cross_validation.json", cross.to_json())
    return cross.lines()


def _held_out(prepared: Prepared, folder: Path) -> tuple[Rows, np.ndarray]:
    """The rows that the fold tests on, and what its network says of them. Raises
    NotFiniteError.
    """
    assert prepared.test is not None
    test = prepared.test.real()
    y = (
        test.y
        if prepared.task.classifies
        else prepared.target_scaler.invert(np.asarray(test.y, np.float64))
    )
    scores = load(folder).scores(test.x)
    check_finite_outputs(scores, f"the test part of {folder}")
    return Rows(test.x, y, prepared.task), scores


def _header(prepared: Prepared) -> list[str]:
    own = [*(f"P({name})" for name in prepared.class_names)] if prepared.task.classifies else []
    predicted = (
        ["prediction"]
        if prepared.task.classifies
        else [f"{name} predicted" for name in prepared.target_names]
    )
    return ["row", "seed", "repeat", "fold", *prepared.target_names, *predicted, *own]


def _predictions(job: Job, prepared: Prepared, rows: Rows, scores: np.ndarray) -> list[list[Any]]:
    """A line a row, which the table numbers from 1."""
    kfold, places = job.settings.validation, prepared.test_rows
    assert isinstance(kfold, KFold)
    assert places is not None
    repeat, fold = divmod(kfold.fold or 0, kfold.folds)
    head = [job.settings.seed, repeat, fold]
    if not prepared.task.classifies:
        return [
            [int(place) + 1, *head, *y, *own]
            for place, y, own in zip(places, rows.y.tolist(), scores.tolist(), strict=True)
        ]
    words, chosen = prepared.class_names, scores.argmax(1)
    return [
        [int(place) + 1, *head, words[y], words[c], *own]
        for place, y, c, own in zip(
            places, rows.y.tolist(), chosen.tolist(), scores.tolist(), strict=True
        )
    ]

"""`mlplab evaluate RUN [FILE]`: metrics of a run with intervals, next to simple baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import (
    FORMAT_OPTIONS,
    JSON_OPTION,
    Options,
    later_format,
    load_plugins,
    parse,
    require_run,
)
from mlplab.commands.table_output import print_document
from mlplab.commands.threshold_option import THRESHOLD_OPTION, chosen_threshold
from mlplab.errors import DataError, NotFiniteError

MAX_TRAIN_CELLS = 2_000_000
"""Size of the train split up to which `mlplab train` evaluates without being asked."""

if TYPE_CHECKING:
    from mlplab.data.preparation.examples import Prepared
    from mlplab.data.tabular.sniffing import Format
    from mlplab.runs.evaluate import Rows
    from mlplab.runs.run import Run
    from mlplab.training import DataCache


OPTIONS: Options = {
    "file": {
        "metavar": "FILE",
        "type": Path,
        "nargs": "?",
        "help": (
            "rows with the target, or - for CSV from a pipe; without it, a split of the run's data"
            " is measured"
        ),
    },
    "--part": {
        "dest": "split",
        "choices": ("test", "val", "train"),
        "default": "test",
        "help": "the split of the run's data to measure (default: test)",
    },
    **THRESHOLD_OPTION,
    **FORMAT_OPTIONS,
    **JSON_OPTION,
}


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run on some rows, as in evaluation.json and as lines of a table."""

    document: Mapping[str, object]
    lines: tuple[str, ...]


def evaluate(arguments: Sequence[str]) -> int:
    """Measure a run on its test split, or on a file with the target: metrics with bootstrap
    intervals, next to those of simple baselines.

    Writes evaluation.json into the run's folder.
    """
    args = parse("evaluate", evaluate.__doc__ or "", arguments, OPTIONS)
    require_run(args.folder, "evaluate")
    load_plugins(args.folder, args.plugin)
    from mlplab.runs.run import load
    from mlplab.training import prepare_members

    run = load(args.folder)
    prepared = prepare_members([run.settings])[0].prepared
    rows, description = (
        _split_rows(run, prepared, args.split)
        if args.file is None
        else _file_rows(run, args.file, later_format(args, run))
    )
    threshold = chosen_threshold(args.threshold, [run], prepared)
    rows = replace(rows, threshold=threshold)
    evaluation = measure(run, prepared, rows, description)
    if args.json:
        print_document("evaluation", {"folder": str(args.folder), **evaluation.document})
        return 0
    print(*evaluation.lines, args.folder, sep="\n")
    return 0


def measure(run: Run, prepared: Prepared, rows: Rows, description: str) -> Evaluation:
    """Measure a run and store the result in its folder. Raises NotFiniteError."""
    from mlplab.commands.uncertainty import uncertainty
    from mlplab.io.files import write_json
    from mlplab.runs.evaluate import baselines, bootstrap_intervals, metric_labels
    from mlplab.runs.intervals import quantile_of
    from mlplab.terminal.output import digits, rounded
    from mlplab.terminal.table import aligned

    rows = replace(rows, tau=quantile_of(run.model.loss))
    scores = run.scores(rows.x_NF, rows.source, first=1)
    metrics = bootstrap_intervals(
        scores, rows.y, rows.task, seed=0, tau=rows.tau, threshold=rows.threshold
    )
    baseline_metrics = baselines(prepared, rows)
    names = metric_labels(run.preprocessing.class_names)
    rows_of_metrics = [
        [
            names.get(name, name),
            rounded(score.value, (score.high - score.low) / 2),
            " to ".join(
                rounded(end, (score.high - score.low) / 2) for end in (score.low, score.high)
            ),
            *(digits(values[name]) for values in baseline_metrics.values()),
        ]
        for name, score in metrics.items()
    ]
    header = ["", "this run", "95 % interval", *baseline_metrics]
    remarks, details = uncertainty(run, prepared, rows, scores)
    if rows.threshold is not None:
        details = {**details, "threshold": rows.threshold}
        remarks = [
            f"'{run.preprocessing.class_names[1]}' is predicted from a probability of"
            f" {rows.threshold:.4g}; log_loss, brier, auroc and average_precision do not depend on"
            " it",
            *remarks,
        ]
    document = {
        "rows": description,
        "metrics": {name: vars(score) for name, score in metrics.items()},
        "baselines": baseline_metrics,
        "classes": list(run.preprocessing.class_names),
        **details,
    }
    write_json(run.folder / "evaluation.json", document)
    return Evaluation(document, (description, *aligned([header, *rows_of_metrics]), *remarks))


def evaluate_test_split(run: Run, cache: DataCache) -> Evaluation | None:
    """Evaluate a run on the user's table when it ends; its data is in the cache if it was trained.

    None for other datasets, for tables that would take long, and for a run that was not trained now
    and has its evaluation.
    """
    from mlplab.data.tabular.table_options import TabularDataset

    if (
        not isinstance(run.settings.dataset, TabularDataset)
        or run.status != "done"
        or run.settings.tracking.level == "off"
    ):
        return None
    if cache.size == 0 and (run.folder / "evaluation.json").is_file():  # it was finished before
        return None
    from mlplab.terminal.output import note
    from mlplab.training import prepare_members

    try:
        prepared = prepare_members([run.settings], cache)[0].prepared
        if prepared.test is not None and prepared.train.x.size <= MAX_TRAIN_CELLS:
            return measure(run, prepared, *_split_rows(run, prepared, "test"))
    except (NotFiniteError, DataError) as error:  # the training itself succeeded
        note(f"no evaluation: {error}")
    return None


def _split_rows(run: Run, prepared: Prepared, split: str) -> tuple[Rows, str]:
    """Return the rows of a split as training used them, and their description.

    Raises DataError if the data changed since the training.
    """
    from mlplab.runs.evaluate import Rows
    from mlplab.runs.provenance import is_data_of_training

    if getattr(prepared, split) is None:
        raise DataError(
            f"{run.folder} has no {split} split: measure --part train, or a file with the target."
        )
    if not is_data_of_training(run.folder, prepared.data_hash):
        raise DataError(
            f"The data of {run.folder} changed since it was trained: its {split} split may contain"
            " rows that it was trained on. Name a file with rows to measure."
        )
    rows = Rows.of_split(prepared, split, run.folder)
    return rows, f"{len(rows.y)} rows of the {split} split"


def _file_rows(run: Run, path: Path, form: Format) -> tuple[Rows, str]:
    """Return the rows of a file, checked like those of the training, and their description.

    Raises DataError.
    """
    from mlplab.commands.labeled_file import read_labeled
    from mlplab.data.tabular.streaming import source_name
    from mlplab.runs.evaluate import Rows

    frame, y = read_labeled(run.preprocessing, path, form)
    source = source_name(path)
    x_NF = run.preprocessing.features(frame, source)
    return Rows(x_NF, y, run.preprocessing.task, source), f"{len(frame)} rows of {source}"

"""`mlplab explain DIR [FILE]`: which columns matter, how, and where the network errs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.explain_row import print_attributions, unlabeled_rows
from mlplab.commands.folder_arguments import (
    FORMAT_OPTIONS,
    JSON_OPTION,
    Options,
    kind,
    later_format,
    load_plugins,
    parse,
)
from mlplab.commands.table_output import print_document
from mlplab.errors import ConfigError
from mlplab.explain.stored import DARK_PICTURE, EXPLAIN_FILE, LIGHT_PICTURE, slice_lines
from mlplab.terminal.output import note

if TYPE_CHECKING:
    from mlplab.data.preparation.raw_rows import RawRows
    from mlplab.explain.explanation import Explanation
    from mlplab.explain.importance import Importance
    from mlplab.runs.run import Run

MAX_LINES = 20

OPTIONS: Options = {
    "file": {
        "metavar": "FILE",
        "type": Path,
        "nargs": "?",
        "help": "rows with the target; without it, a split of the run's data",
    },
    "--part": {
        "dest": "split",
        "choices": ("test", "val", "train"),
        "default": "test",
        "help": "the split of the run's data (default: test)",
    },
    "--metric": {
        "metavar": "METRIC",
        "help": "log_loss (default), accuracy or brier; of values rmse (default) or mae",
    },
    "--repeats": {
        "metavar": "N",
        "type": int,
        "default": 10,
        "help": "how often each column is permuted (default: 10)",
    },
    "--group": {
        "metavar": "A,B",
        "action": "append",
        "default": [],
        "help": "columns to permute together, besides correlated ones; may be repeated",
    },
    "--curves": {
        "metavar": "N",
        "type": int,
        "default": 6,
        "help": "columns whose partial dependence is computed, the most important (default: 6)",
    },
    "--row": {
        "metavar": "N",
        "type": int,
        "help": "instead: what moves the prediction of this row of the rows, counted from 1",
    },
    "--seed": {"metavar": "N", "type": int, "default": 0, "help": "of the permutations"},
    "--best": {
        "metavar": "N",
        "type": int,
        "help": "for a sweep: only the N best jobs by validation loss",
    },
    "--dark": {"action": "store_true", "help": "draw on a dark ground"},
    **FORMAT_OPTIONS,
    **JSON_OPTION,
}


def explain(arguments: Sequence[str]) -> int:
    """Explain a run, or the mean of a sweep's jobs: the importance of each column, with intervals;
    the prediction as a function of the most important ones; and the slices of the rows in which it
    errs most.

    Writes explain.json and pictures/explain.png into the folder.
    """
    args = parse("explain", explain.__doc__ or "", arguments, OPTIONS)
    _check(args)
    load_plugins(args.folder, args.plugin)
    from mlplab.explain import explanation as module
    from mlplab.io.files import write_json
    from mlplab.runs.raw_split import described_rows
    from mlplab.sweeps.open_job import predictor
    from mlplab.terminal.progress import Progress

    runs = predictor(args.folder, args.best).runs
    if args.row is not None:
        return _explain_row(runs, args)
    rows, description = (
        described_rows(runs[0].folder, runs[0].settings, args.split)
        if args.file is None
        else _file_rows(runs[0], args)
    )
    with Progress(0, "explain", quiet=args.json, unit="steps") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        result = module.explain(
            [run.model for run in runs],
            rows,
            description,
            args.metric,
            args.repeats,
            args.curves,
            [text.split(",") for text in args.group],
            args.seed,
            show,
        )
    write_json(args.folder / EXPLAIN_FILE, result.to_json())
    title = f"What the network of {_data_name(runs[0])} uses, and where it errs"
    picture = _draw(args.folder, result, title, args.dark)
    if args.json:
        print_document("explain", {"folder": str(args.folder), **result.to_json()})
        return 0
    print("\n".join(text_lines(result)))
    print(picture or args.folder / EXPLAIN_FILE)
    return 0


def _explain_row(runs: Sequence[Run], args: argparse.Namespace) -> int:
    from mlplab.explain.attribution import attribute
    from mlplab.runs.raw_split import described_rows

    if args.file is None:
        rows, description = described_rows(runs[0].folder, runs[0].settings, args.split)
    else:
        form = later_format(args, runs[0])
        rows = unlabeled_rows(runs[0].preprocessing, args.file, form)
        description = f"{len(rows):,} rows of {args.file}"
    models = [run.model for run in runs]
    results = attribute(models, rows, args.row, description, args.seed)
    print_attributions(args.folder, results, args.json)
    return 0


def _data_name(run: Run) -> str:
    """The name of the user's file, or that of the run."""
    path = getattr(run.settings.dataset, "path", None)
    return Path(path).stem if path and run.settings.name == "file" else run.settings.name


def _check(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that contradict the folder, or are out of range."""
    if kind(args.folder) == "sweep" and args.file is None:
        raise ConfigError(
            f"{args.folder} holds a sweep, whose jobs may have been trained on the test rows of"
            f" others: name a file with rows and targets, or one job, such as {args.folder}:0."
        )
    for name, lowest in (("repeats", 1), ("curves", 0)):
        if getattr(args, name) < lowest:
            raise ConfigError(f"--{name} {getattr(args, name)}: at least {lowest} is needed.")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: a seed is not negative.")


def _file_rows(run: Run, args: argparse.Namespace) -> tuple[RawRows, str]:
    from mlplab.commands.labeled_file import raw_rows, read_labeled

    frame, y = read_labeled(run.preprocessing, args.file, later_format(args, run))
    rows = raw_rows(run.preprocessing, frame, y, str(args.file))
    return rows, f"{len(rows):,} rows of {args.file}"


def _draw(folder: Path, result: Explanation, title: str, dark: bool) -> Path | None:
    """Draw the figure, and return its file; None without matplotlib."""
    from mlplab.errors import MissingExtraError
    from mlplab.extras import require
    from mlplab.io.files import write_bytes_atomic
    from mlplab.io.links import make_folder

    try:
        require("Drawing", "pictures", "matplotlib")
    except MissingExtraError as error:
        note(str(error))
        return None
    from mlplab.pictures.explanation import explanation_figure
    from mlplab.pictures.style import darken, png, style

    pictures = make_folder(folder / "pictures", folder)
    path = pictures / (DARK_PICTURE if dark else LIGHT_PICTURE)
    with style():
        fig = explanation_figure(result, title)
        write_bytes_atomic(path, png(darken(fig) if dark else fig))
    return path


def text_lines(result: Explanation) -> list[str]:
    """Return an explanation as lines for a terminal."""
    from mlplab.terminal.output import digits, rounded
    from mlplab.terminal.table import aligned

    worse = "decrease" if result.metric == "accuracy" else "increase"

    def row(one: Importance) -> list[str]:
        half = (one.high - one.low) / 2
        ends = f"{rounded(one.low, half)} to {rounded(one.high, half)}"
        return [one.name, rounded(one.value, half), ends]

    shown = result.importances[:MAX_LINES]
    lines = [
        f"{result.description}, {result.metric} {digits(result.score)}",
        *aligned(
            [["permuted column", worse, "95 % interval"], *map(row, shown)],
            left=[0],
        ),
    ]
    if (rest := len(result.importances) - len(shown)) > 0:
        lines.append(f"... and {rest} more of less importance, in {EXPLAIN_FILE}")
    if result.correlated:
        lines += [
            "",
            "Columns that can stand in for each other, permuted together:",
            *aligned([["", worse, "95 % interval"], *map(row, result.correlated)], left=[0]),
        ]
    return [*lines, "", *slice_lines(result.to_json())]

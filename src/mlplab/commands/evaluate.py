"""`mlplab evaluate RUN [FILE]`: how good a run is, with intervals and beside plain baselines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError

MOST_CELLS = 2_000_000  # of the train part, for what is measured unasked

if TYPE_CHECKING:
    from mlplab.data.preparation.examples import Prepared
    from mlplab.runs.evaluate import Rows
    from mlplab.runs.run import Run
    from mlplab.training import DataCache


def evaluate(arguments: Sequence[str]) -> int:
    """Measure a run on its test part, or on a file with the target: metrics with bootstrap
    intervals, beside those of plain models.

    Writes evaluation.json into the run's folder.
    """
    given = parse("evaluate", evaluate.__doc__ or "", arguments, _options)
    if kind(given.folder) != "run":
        raise ConfigError(
            f"{given.folder} holds a sweep: evaluate takes a run, such as {given.folder}/jobs/0."
        )
    load_plugins(given.folder, given.plugin)
    from mlplab.runs.run import load
    from mlplab.training import prepare_members

    run = load(given.folder)
    prepared = prepare_members([run.settings])[0].prepared
    rows, what = (
        _own_part(run, prepared, given.part) if given.file is None else _file(run, given.file)
    )
    tell(run, prepared, rows, what)
    print(given.folder)
    return 0


def tell(run: Run, prepared: Prepared, rows: Rows, what: str) -> None:
    """Measure, print the table, and keep it in the run's folder. Raises NotFiniteError."""
    from mlplab.finite import check_finite_outputs
    from mlplab.io.files import write_json
    from mlplab.runs.evaluate import baselines, with_intervals
    from mlplab.terminal.table import aligned

    scores = run.scores(rows.x_NF)
    check_finite_outputs(scores, rows.source)
    found = with_intervals(scores, rows.y, rows.task, seed=0)
    plain = baselines(prepared, rows)
    names = _shown_names(run)
    lines = [["", "this run", "95 % interval", *plain]]
    for name, score in found.items():
        interval = f"{score.low:.4g} to {score.high:.4g}"
        lines.append(
            [
                names.get(name, name),
                f"{score.value:.4g}",
                interval,
                *(f"{own[name]:.4g}" for own in plain.values()),
            ]
        )
    print(what)
    print("\n".join(aligned(lines)))
    write_json(
        run.folder / "evaluation.json",
        {
            "rows": what,
            "metrics": {name: vars(score) for name, score in found.items()},
            "baselines": plain,
            "classes": list(run.preprocessing.class_names),
        },
    )


def print_test_metrics(run: Run, cache: DataCache) -> None:
    """After a training on somebody's own table, whose data are in the cache: its test part, with
    intervals and beside plain models.

    Left out where that would take long.
    """
    from mlplab.data.tabular.table_options import TabularDataset

    if (
        not isinstance(run.settings.dataset, TabularDataset)
        or run.status != "done"
        or run.settings.tracking.level == "off"
    ):
        return
    from mlplab.errors import NotFiniteError
    from mlplab.terminal.output import note
    from mlplab.training import prepare_members

    prepared = prepare_members([run.settings], cache)[0].prepared
    if prepared.test is not None and prepared.train.x.size <= MOST_CELLS:
        try:
            tell(run, prepared, *_own_part(run, prepared, "test"))
        except NotFiniteError as error:  # of a training that is done
            note(f"no evaluation: {error}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        help="rows with the target; without it, a part of the run's own data",
    )
    parser.add_argument(
        "--part",
        choices=("test", "val", "train"),
        default="test",
        help="which part of its own data (test)",
    )


def _shown_names(run: Run) -> dict[str, str]:
    return {
        f"f1_class_{c}": f"f1 of {name}" for c, name in enumerate(run.preprocessing.class_names)
    }


def _own_part(run: Run, prepared: Prepared, part: str) -> tuple[Rows, str]:
    """The part as training made it. Data that were made again must be those of the run."""
    import json

    from mlplab.errors import DataError
    from mlplab.runs.evaluate import Rows

    examples = getattr(prepared, part)
    if examples is None:
        raise DataError(
            f"{run.folder} has no {part} part; --part train or a file with the target can be"
            " measured."
        )
    examples = examples.real()
    known = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8")).get(
        "data_hash"
    )
    if known != prepared.data_hash:
        raise DataError(
            f"The data of {run.folder} changed since it was trained: its {part} part is not the one"
            " that it was kept from. Name a file with rows to measure."
        )
    y = examples.y if prepared.task.classifies else prepared.target_scaler.invert(examples.y)
    source = f"the {part} part of {run.folder}"
    return Rows(examples.x, y, prepared.task, source), f"{len(examples)} rows of the {part} part"


def _file(run: Run, path: Path) -> tuple[Rows, str]:
    """Rows of a file, checked as those of the training were."""
    import numpy as np

    from mlplab.data.tabular import roles
    from mlplab.data.tabular.columns import require_column
    from mlplab.data.tabular.encoder import category_text
    from mlplab.data.tabular.readers import read
    from mlplab.errors import DataError
    from mlplab.runs.ensemble import plain_features
    from mlplab.runs.evaluate import Rows

    own = run.preprocessing
    frame = read(path).frame
    frame.columns = [str(name) for name in frame.columns]
    for name in own.target_names:
        require_column(name, list(frame.columns), str(path), "target")
    raw = (
        own.encoder.apply(frame, str(path))
        if own.encoder is not None
        else plain_features(frame, own.feature_names, str(path))
    )
    x_NF = own.feature_scaler.apply(raw)
    if not own.task.classifies:
        return (
            Rows(
                x_NF,
                roles.regression_targets(frame, own.target_names, str(path)),
                own.task,
                str(path),
            ),
            f"{len(frame)} rows of {path}",
        )
    words = frame[own.target_names[0]].map(category_text)
    unknown = ~words.isin(own.class_names).to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{path}, target '{own.target_names[0]}', row {row + 1}: '{words.iloc[row]}' is no"
            f" class of this run ({', '.join(own.class_names)}); {int(unknown.sum())} such cell(s)."
        )
    y = words.map({name: c for c, name in enumerate(own.class_names)}).to_numpy(np.int64)
    return Rows(x_NF, y, own.task, str(path)), f"{len(frame)} rows of {path}"

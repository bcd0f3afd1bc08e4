"""Train one network from a composed configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.cli import exit_code
from mlplab.config.composition import Composed
from mlplab.config.run_dir import check_folder
from mlplab.terminal import modes

if TYPE_CHECKING:
    from mlplab.runs.run import Run
    from mlplab.training import DataCache


def train_one(composed: Composed, as_json: bool = False) -> int:
    """Train one run, print its result and its folder as the last line; return the exit code.

    Raises ConfigError if the folder is in use or the configuration is invalid.
    """
    folder = Path(composed.run_dir) if composed.run_dir else None
    if folder is not None:
        check_folder(folder)
    from mlplab.config.builder import build

    settings = build(composed)
    from mlplab import experiment
    from mlplab.sweeps.source_job import open_source
    from mlplab.terminal.output import note
    from mlplab.training import DataCache

    for layer in settings.layers:
        if layer.activation is not None and (warning := layer.activation.warning()):
            note(warning)
            break
    open_source(settings)
    cache = DataCache()
    on_result = partial(conclude, cache=cache, as_json=as_json)
    run = experiment.run(settings, folder, cache=cache, on_result=on_result)
    return exit_code(run.summary)


def conclude(
    run: Run, cache: DataCache, as_json: bool = False, more: Mapping[str, object] | None = None
) -> None:
    """Print the result of a run, its metrics on a user's table, how to continue it if it was
    interrupted, and its folder. `cache` has its data if it was trained.

    With --quiet only the folder, and with `as_json` a document, which also has `more`. The result
    may have no reader: the run is complete without one.
    """
    try:
        _print_result(run, cache, as_json, more)
    except BrokenPipeError:
        modes.discard_output()
        if not as_json:  # of which the document comes last
            _print_result(run, cache, as_json, more)


def _print_result(
    run: Run, cache: DataCache, as_json: bool, more: Mapping[str, object] | None
) -> None:
    from mlplab.commands.evaluate import evaluate_test_split
    from mlplab.commands.table_output import print_document
    from mlplab.runs.longer_training import longer_lines
    from mlplab.runs.provenance import command_to_resume
    from mlplab.terminal.health import health_lines
    from mlplab.terminal.results import print_result

    is_quiet = modes.is_quiet()
    if not is_quiet:
        print_result(run.summary)
        for line in [*health_lines(run.summary, run.folder), *longer_lines(run)]:
            print(line)
    evaluation = None if run.settings.debug else evaluate_test_split(run, cache)
    if evaluation is not None and not is_quiet:
        print(*evaluation.lines, sep="\n")
    if not is_quiet and run.settings.debug == "overfit" and run.status in ("done", "diverged"):
        print(*_verdict(run, cache), sep="\n")
    resume_with = command_to_resume(run.folder) if run.status == "interrupted" else None
    if as_json:
        document = {"folder": str(run.folder), **run.summary, "resume_with": resume_with}
        if evaluation is not None:
            document["evaluation"] = evaluation.document
        print_document("run", {**document, **(more or {})})
        return
    if resume_with and not is_quiet:
        print(f"continue with: {resume_with}")
    print(run.folder, flush=True)


def _verdict(run: Run, cache: DataCache) -> Sequence[str]:
    """Say whether the network of a run with debug=overfit has learned its rows."""
    from mlplab.runs.debugging import verdict
    from mlplab.training import prepare_members

    rows = prepare_members([run.settings], cache)[0].prepared.train
    lr = float(run.settings.optimizer.lr)
    is_file = (run.folder / "data_report.md").is_file()
    return verdict(run.summary, run.history, rows, lr, is_file)

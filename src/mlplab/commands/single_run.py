"""Train one network from a composed configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.cli import exit_code
from mlplab.config.composition import Composed
from mlplab.config.run_dir import check_folder

if TYPE_CHECKING:
    from mlplab.runs.run import Run
    from mlplab.training import DataCache


def train_one(composed: Composed) -> int:
    """Train one run, print its result and its folder as the last line; return the exit code.

    Raises ConfigError if the folder is in use or the configuration is invalid.
    """
    folder = Path(composed.run_dir) if composed.run_dir else None
    if folder is not None:
        check_folder(folder)
    from mlplab.config.builder import build

    settings = build(composed)
    from mlplab import experiment
    from mlplab.terminal.output import note
    from mlplab.training import DataCache

    for layer in settings.layers:
        if layer.activation is not None and (warning := layer.activation.warning()):
            note(warning)
            break
    if settings.init_from is not None:
        from mlplab.sweeps.open_job import with_opened_source

        settings = with_opened_source(settings)
    cache = DataCache()
    run = experiment.run(settings, folder, cache=cache, on_result=partial(conclude, cache=cache))
    return exit_code(run.summary) or int(run.summary.get("learned") is False)


def conclude(run: Run, cache: DataCache) -> None:
    """Print the result of a run, its metrics on a user's table, how to continue it if it was
    interrupted, and its folder. `cache` has its data if it was trained.
    """
    from mlplab.commands.evaluate import print_test_metrics
    from mlplab.runs.provenance import command_to_resume
    from mlplab.terminal.results import print_result

    print_result(run.summary)
    if run.settings.debug is None:
        print_test_metrics(run, cache)
    elif run.settings.debug == "overfit" and run.status in ("done", "diverged"):
        _print_verdict(run, cache)
    if run.status == "interrupted":
        print(f"continue with: {command_to_resume(run.folder)}")
    print(run.folder, flush=True)


def _print_verdict(run: Run, cache: DataCache) -> None:
    """Print whether the network of a run with debug=overfit has learned its rows."""
    from mlplab.runs.debugging import verdict
    from mlplab.training import prepare_members

    rows = prepare_members([run.settings], cache)[0].prepared.train
    lr = float(run.settings.optimizer.lr)
    print(*verdict(run.summary, run.history, rows, lr), sep="\n")

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
    cache = DataCache()
    run = experiment.run(settings, folder, cache=cache, on_result=partial(conclude, cache=cache))
    return exit_code(run.summary)


def conclude(run: Run, cache: DataCache) -> None:
    """Print the result of a run, its metrics on a user's table, how to continue it if it was
    interrupted, and its folder. `cache` has its data if it was trained.
    """
    from mlplab.commands.evaluate import print_test_metrics
    from mlplab.runs.provenance import command_to_resume
    from mlplab.terminal.health import health_lines
    from mlplab.terminal.results import print_result

    print_result(run.summary)
    for line in health_lines(run.summary, run.folder):
        print(line)
    print_test_metrics(run, cache)
    if run.status == "interrupted":
        print(f"continue with: {command_to_resume(run.folder)}")
    print(run.folder, flush=True)

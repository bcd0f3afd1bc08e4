"""`mlplab train -m`: all jobs are composed and checked before any folder is created."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mlplab.cli import exit_code
from mlplab.commands.table_output import print_document
from mlplab.config.composer import Composer
from mlplab.config.composition import Composed
from mlplab.config.run_dir import check_folder
from mlplab.errors import ConfigError
from mlplab.io.reading import read_json
from mlplab.runs.recipe_text import note_recipe
from mlplab.sweeps import hydra_task
from mlplab.sweeps.folder import can_join
from mlplab.sweeps.python_sweep import print_results
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.configuration_table import document
from mlplab.sweeps.report.status import time_spent
from mlplab.sweeps.run_sweep import Sweep, SweepRequest
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.search import run_search
from mlplab.terminal import modes
from mlplab.terminal.output import say
from mlplab.terminal.suggested import resume_command


def run(
    composer: Composer,
    plugins: Sequence[str],
    allow_single_run: bool = False,
    as_json: bool = False,
) -> int:
    """Train every job of a sweep or search, and return the exit code.

    The last line printed is the sweep's folder. With `allow_single_run`, a sweep of one job becomes
    a plain run: an experiment requested the sweep, and the user's overrides left one job of it.
    Raises ConfigError for invalid jobs.
    """
    from mlplab.training.distributed import read_rank

    if read_rank() is not None:
        raise ConfigError(
            "torchrun, or srun with several tasks, trains one network in several processes. To"
            " distribute a sweep, set sweep.workers=N."
        )
    if composer.is_search():
        search = Search(composer, plugins)
        folder = _checked_folder(search.first)
        note_recipe(search.settings([{}])[0][0])
        return conclude_search(run_search(search, folder), folder, as_json)
    request = SweepRequest(composer, plugins)
    if allow_single_run and len(request.jobs) == 1:
        from mlplab.commands.single_run import train_one

        return train_one(request.first, as_json)
    folder = _checked_folder(request.first)
    run_all = hydra_task.run if hydra_task.is_needed(request) else SweepRequest.run
    return conclude(run_all(request, folder), folder, as_json)


def _checked_folder(first: Composed) -> Path:
    folder = Path(str(first.sweep_dir))
    if not can_join(folder):
        check_folder(folder, "hydra.sweep.dir")
    return folder


def conclude_search(sweep: Sweep, folder: Path, as_json: bool = False) -> int:
    """Print search.md and return the exit code.

    A search succeeds if any trial is done; failed or diverged trials do not matter.
    """
    done = any(job.status == "done" for job in sweep.results.jobs)
    status = sweep.status if sweep.status == "interrupted" else "done" if done else "failed"
    if not modes.is_quiet():
        for line in (folder / "search.md").read_text(encoding="utf-8").splitlines()[1:-1]:
            say(line, sys.stdout, strict=True)
        if spent := time_spent(folder):
            print(spent)
        if sweep.status == "interrupted":
            print(f"continue with: {resume_command(folder, sweep.plan.plugins)}")
    if as_json:
        print_document("sweep", _document(sweep, folder, status))
    else:
        print(folder)
    return exit_code({"status": status, "signal": sweep.signal})


def _document(sweep: Sweep, folder: Path, status: str) -> dict[str, object]:
    """What --json prints of a sweep or search."""
    unfinished = status == "interrupted" or "missing" in sweep.counts
    resume_with = resume_command(sweep.folder, sweep.plan.plugins) if unfinished else None
    folds = folder / "cross_validation.json"
    return {
        "folder": str(folder),
        "status": status,
        "jobs": len(sweep.results.jobs),
        "counts": sweep.counts,
        "resume_with": resume_with,
        "results": (
            document(sweep.conclusions or Conclusions(sweep.results))
            if sweep.results.metric_names
            else None
        ),
        "cross_validation": read_json(folds) if folds.is_file() else None,
    }


def conclude(sweep: Sweep, folder: Path, as_json: bool = False) -> int:
    """Print the results of a sweep and return the exit code."""
    if not modes.is_quiet():
        _print_summary(sweep, folder)
    if as_json:
        print_document("sweep", _document(sweep, folder, sweep.status))
    else:
        print(folder)
    return exit_code({"status": sweep.status, "signal": sweep.signal})


def _print_summary(sweep: Sweep, folder: Path) -> None:
    print_results(sweep)
    if spent := time_spent(folder):
        print(spent)
    print(
        ", ".join(
            [
                f"{len(sweep.results.jobs)} jobs",
                *(f"{number} {status}" for status, number in sweep.counts.items()),
            ]
        )
    )
    if sweep.status == "interrupted" or "missing" in sweep.counts:
        print(f"finish it with: {resume_command(sweep.folder, sweep.plan.plugins)}")

"""`mlplab train -m`: all jobs are composed and checked before any folder is created."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mlplab.cli import exit_code
from mlplab.config.composer import Composer
from mlplab.config.composition import Composed
from mlplab.config.run_dir import check_folder
from mlplab.errors import ConfigError
from mlplab.sweeps import hydra_task, run_sweep
from mlplab.sweeps.python_sweep import print_results
from mlplab.sweeps.report.status import time_spent
from mlplab.sweeps.run_sweep import Sweep, SweepRequest
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.search import run_search
from mlplab.terminal.output import say
from mlplab.terminal.suggested import resume_command


def run(composer: Composer, plugins: Sequence[str], allow_single_run: bool = False) -> int:
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
        return conclude_search(run_search(search, folder), folder)
    request = SweepRequest(composer, plugins)
    if allow_single_run and len(request.jobs) == 1:
        from mlplab.commands.single_run import train_one

        return train_one(request.first)
    folder = _checked_folder(request.first)
    run_all = hydra_task.run if hydra_task.is_needed(request) else SweepRequest.run
    return conclude(run_all(request, folder), folder)


def _checked_folder(first: Composed) -> Path:
    folder = Path(str(first.sweep_dir))
    if not run_sweep.can_join(folder):
        check_folder(folder, "hydra.sweep.dir")
    return folder


def conclude_search(sweep: Sweep, folder: Path) -> int:
    """Print search.md and return the exit code.

    A search succeeds if any trial is done; failed or diverged trials do not matter.
    """
    for line in (folder / "search.md").read_text(encoding="utf-8").splitlines()[1:-1]:
        say(line, sys.stdout, strict=True)
    if spent := time_spent(folder):
        print(spent)
    if sweep.status == "interrupted":
        print(f"continue with: {resume_command(folder, sweep.plan.plugins)}")
    print(folder)
    done = any(job.status == "done" for job in sweep.results.jobs)
    return exit_code(
        {
            "status": (
                sweep.status if sweep.status == "interrupted" else "done" if done else "failed"
            ),
            "signal": sweep.signal,
        }
    )


def conclude(sweep: Sweep, folder: Path) -> int:
    """Print the results of a sweep and return the exit code."""
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
    print(folder)
    return exit_code({"status": sweep.status, "signal": sweep.signal})

"""`mlplab train -m`: Hydra's multirun with mlplab's task. All jobs are composed and checked before
any folder is created.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mlplab.cli import exit_code
from mlplab.commands.flags import Flags
from mlplab.config.composition import hydra_search_path, prepare, split_search_path
from mlplab.config.overrides import parse_overrides, to_hydra
from mlplab.config.run_dir import check_folder
from mlplab.errors import ConfigError
from mlplab.sweeps import run_sweep
from mlplab.sweeps.hydra_task import Task
from mlplab.sweeps.report.text_table import print_table
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search import search
from mlplab.sweeps.search.definition import Search
from mlplab.terminal.output import note, say


def run(flags: Flags, allow_single_run: bool = False) -> int:
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
    overrides, dirs = split_search_path(flags.overrides, flags.config_dirs)
    if search.is_search(overrides, dirs):
        requested = Search(overrides, dirs, flags.plugins)
        folder = _launch(requested)
        assert requested.ended is not None
        return conclude_search(requested.ended, folder)
    task = Task(overrides, dirs, flags.plugins)
    if allow_single_run and len(task.jobs) == 1:
        from mlplab.commands.single_run import train_one

        return train_one(task.first)
    folder = _launch(task)
    return conclude(
        task.ended
        or run_sweep.plan_from_existing(
            task.settings(task.jobs), folder, task.options, task.overrides
        ),
        folder,
    )


def conclude_search(sweep: Sweep, folder: Path) -> int:
    """Print search.md and return the exit code.

    A search succeeds if any trial is done; failed or diverged trials do not matter.
    """
    for line in (folder / "search.md").read_text(encoding="utf-8").splitlines()[1:-1]:
        say(line, sys.stdout, strict=True)
    if sweep.status == "interrupted":
        print(f"continue with: mlplab resume {folder}")
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


def _launch(task: Any) -> Path:
    """Run Hydra's multirun with the sweeper and launcher that the command line chooses; return the
    folder of the sweep.

    The result is in `task.ended`, its status `interrupted` after Ctrl-C. Every configuration that
    Hydra composes, those of jobs included, is checked before it is used.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from mlplab.config.guarded_loader import GuardedLoader

    folder = Path(str(task.first.sweep_dir))
    if not run_sweep.can_join(folder):
        check_folder(folder, "hydra.sweep.dir")
    prepare()
    # The folder's name contains the time and random digits, so it is fixed here for all later
    # compositions.
    sweep_dir = (
        os.path.abspath(folder) if isinstance(task, Task) and task.foreign_launcher else str(folder)
    )
    quoted = sweep_dir.replace("\\", "\\\\").replace("'", "\\'")
    overrides = [
        override
        for override in parse_overrides(task.overrides)
        if override.key_or_group not in ("hydra.sweep.dir", "hydra.mode")
    ]
    if isinstance(task, Search):
        overrides = [
            override for override in overrides if override.key_or_group != "hydra/sweeper"
        ] + list(parse_overrides(["hydra/sweeper=mlplab_search"]))
    fixed = [f"hydra.sweep.dir='{quoted}'", "hydra.mode=MULTIRUN", *hydra_search_path(task.where)]
    with initialize_config_dir(
        config_dir=str(task.where[0]), job_name="mlplab", version_base="1.3"
    ):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = GuardedLoader(
            hydra.config_loader.get_search_path(), hydra_search_path(task.where)
        )
        try:
            hydra.multirun(
                config_name="config",
                task_function=task,
                overrides=[*to_hydra(overrides), *fixed],
            )
        except KeyboardInterrupt:
            if task.ended is None:
                raise
        except ConfigError:
            raise
        # from another launcher: one of its processes died, or the cluster accepts no jobs
        except Exception as error:
            if task.ended is None:
                raise
            note(f"the launcher failed: {' '.join(f'{type(error).__name__}: {error}'.split())}")
    return folder


def conclude(sweep: Sweep, folder: Path) -> int:
    """Print the results of a sweep and return the exit code."""
    for line in sweep.cross_validation_lines:
        say(line, sys.stdout, strict=True)
    if not sweep.cross_validation_lines:
        print_table(sweep.results)
    print(
        ", ".join(
            [
                f"{len(sweep.results.jobs)} jobs",
                *(f"{number} {status}" for status, number in sweep.counts.items()),
            ]
        )
    )
    if sweep.status == "interrupted" or "missing" in sweep.counts:
        print(f"finish it with: mlplab resume {sweep.folder}")
    print(folder)
    return exit_code({"status": sweep.status, "signal": sweep.signal})

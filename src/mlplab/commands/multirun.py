"""`mlplab train -m`: Hydra's multirun around our task. All jobs are composed and checked before
anything is made.
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


def run(flags: Flags, one_is_a_run: bool = False) -> int:
    """Train every job of a sweep; the exit code. The last line printed is the sweep's folder.

    `one_is_a_run`: an experiment asked for the sweep, not the user, and words that leave one job of
    it mean a plain run.
    """
    from mlplab.training.distributed import read_rank as among

    if among() is not None:
        raise ConfigError(
            "torchrun, or srun with several tasks, trains one network by several processes. A sweep"
            " is shared out with sweep.workers=N."
        )
    typed, dirs = split_search_path(flags.overrides, flags.config_dirs)
    if search.is_search(typed, dirs):
        return _search(Search(typed, dirs, flags.plugins))
    task = Task(typed, dirs, flags.plugins)
    if one_is_a_run and len(task.jobs) == 1:
        from mlplab.commands.single_run import train_one

        return train_one(task.first)
    folder = Path(str(task.first.sweep_dir))
    if not run_sweep.can_join(folder):
        check_folder(folder, "hydra.sweep.dir")
    launch(task, folder)
    return conclude(
        task.ended
        or run_sweep.plan_from_existing(
            task.settings(task.jobs), folder, task.options, task.overrides
        ),
        folder,
    )


def _search(task: Search) -> int:
    """The same for a search, whose jobs are not known before."""
    folder = Path(str(task.first.sweep_dir))
    if not run_sweep.can_join(folder):
        check_folder(folder, "hydra.sweep.dir")
    launch(task, folder)
    assert task.ended is not None
    return conclude_search(task.ended, folder)


def conclude_search(ended: Sweep, folder: Path) -> int:
    """Print what was found; the exit code. A trial that failed or diverged fails no search."""
    for line in (folder / "search.md").read_text(encoding="utf-8").splitlines()[1:-1]:
        say(line, sys.stdout, strict=True)
    if ended.status == "interrupted":
        print(f"go on with: mlplab resume {folder}")
    print(folder)
    done = any(job.status == "done" for job in ended.results.jobs)
    return exit_code(
        {
            "status": (
                ended.status if ended.status == "interrupted" else "done" if done else "failed"
            ),
            "signal": ended.signal,
        }
    )


def launch(task: Any, folder: Path) -> None:
    """Hydra's multirun, its sweeper and launcher as the command line chooses them; Ctrl-C ends in
    the task's own status.

    Every configuration that Hydra composes, the jobs' among them, is checked before anything is
    made of it.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from mlplab.config.guarded_loader import GuardedLoader

    prepare()
    # The folder's name holds a time and random digits, so it is fixed here for whoever composes
    # again.
    place = os.path.abspath(folder) if isinstance(task, Task) and task.alone else str(folder)
    quoted = place.replace("\\", "\\\\").replace("'", "\\'")
    typed = [
        word
        for word in parse_overrides(task.overrides)
        if word.key_or_group not in ("hydra.sweep.dir", "hydra.mode")
    ]
    if isinstance(task, Search):
        typed = [word for word in typed if word.key_or_group != "hydra/sweeper"] + list(
            parse_overrides(["hydra/sweeper=mlplab_search"])
        )
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
                overrides=[*to_hydra(typed), *fixed],
            )
        except KeyboardInterrupt:
            if task.ended is None:
                raise
        except ConfigError:
            raise
        # of another launcher: a process of it that died, a cluster that takes no jobs
        except Exception as error:
            if task.ended is None:
                raise
            note(f"the launcher failed: {' '.join(f'{type(error).__name__}: {error}'.split())}")


def conclude(ended: Sweep, folder: Path) -> int:
    """Print the results; the exit code."""
    for line in ended.told:
        say(line, sys.stdout, strict=True)
    if not ended.told:
        print_table(ended.results)
    print(
        ", ".join(
            [
                f"{len(ended.results.jobs)} jobs",
                *(f"{number} {status}" for status, number in ended.counts.items()),
            ]
        )
    )
    if ended.status == "interrupted" or "missing" in ended.counts:
        print(f"finish it with: mlplab resume {ended.folder}")
    print(folder)
    return exit_code({"status": ended.status, "signal": ended.signal})

"""What Hydra's multirun calls: the task with the jobs of a command line, the sweep over them, and
the launch of a batch of them.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import plugins
from mlplab.config.batch_compose import build_many, compose_many
from mlplab.config.builder import build
from mlplab.config.composition import compose, resolve_tree, split_search_path
from mlplab.config.expand import expand
from mlplab.config.overrides import parse_overrides, to_hydra
from mlplab.config.search_path import config_folders
from mlplab.errors import ConfigError
from mlplab.extras import require
from mlplab.python_command import safe_path
from mlplab.sweeps import run_sweep
from mlplab.sweeps.plan.plan import Options, job_hash
from mlplab.sweeps.report import results as reporting
from mlplab.sweeps.run_sweep import Sweep

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig
    from pandas import DataFrame

    from mlplab.settings import Settings

OURS = "MlplabLauncher"


def to_frame(overrides: Sequence[str], folder: Path | None, quiet: bool) -> DataFrame:
    """The sweep of these words as a table. Its launcher is ours: Hydra is not asked."""
    require("mlplab.sweep, which returns a DataFrame,", "sweep", "pandas")  # before hours of work
    typed, dirs = split_search_path(overrides, ())
    task = Task(typed, dirs, (), quiet)
    place = folder or Path(str(task.first.sweep_dir))
    plan = run_sweep.write_sweep_plan(place, task.settings(task.jobs), task.options, task.overrides)
    ended = run_sweep.train(plan, place, quiet)
    if ended.status == "interrupted":
        raise KeyboardInterrupt
    table = reporting.to_frame(ended.results)
    table.attrs["folder"] = str(place)
    return table


class Task:
    """The jobs of a command line, composed and checked; and for launchers that start them one by
    one, the function that trains one.

    Raises ConfigError for whatever is wrong with any job.
    """

    def __init__(
        self,
        typed: Sequence[str],
        dirs: Sequence[str | Path],
        plugin_files: Sequence[str],
        quiet: bool = False,
    ) -> None:
        self.overrides, self.dirs, self.plugin_files, self.quiet = (
            tuple(typed),
            tuple(dirs),
            tuple(plugin_files),
            quiet,
        )
        self.where, self.cwd = tuple(config_folders(dirs)), os.getcwd()
        self.jobs = expand(self.overrides, self.dirs)
        composed = compose_many(self.jobs, self.dirs)
        beside = [
            word
            for word in self.overrides
            if word.lstrip("+~").startswith(("hydra.", "hydra/", "sweep.", "seeds="))
        ]
        # which are words of the sweep, not of a job
        self.first = compose([*self.jobs[0], *beside], self.dirs)
        self.options = Options.of(self.first.sweep)
        self._settings = dict(zip(self.jobs, build_many(composed), strict=True))
        self.ended: Sweep | None = None

    @property
    def alone(self) -> bool:
        """Whether the launcher is not ours: one that starts the jobs one by one, perhaps in other
        processes and from other folders.
        """
        return self.first.sources.choices.get("hydra/launcher") != "mlplab"

    def settings(self, jobs: Sequence[Sequence[str]]) -> list[Settings]:
        """The settings of these jobs: those of the command line, or what another sweeper has made
        up.
        """
        new = [tuple(job) for job in jobs if tuple(job) not in self._settings]
        self._settings |= dict(zip(new, build_many(compose_many(new, self.dirs)), strict=True))
        return [self._settings[tuple(job)] for job in jobs]

    def __getstate__(self) -> dict[str, Any]:
        """A launcher may start its jobs in other processes, which need none of the others'
        settings.
        """
        return {**self.__dict__, "_settings": {}, "jobs": [], "first": None, "ended": None}

    def __call__(self, config: DictConfig) -> float:
        """Train one job by itself; its metric. What it raises ends it alone."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import open_dict

        os.chdir(self.cwd)  # a launcher may have started another process, which may stand elsewhere
        plugins.load(self.plugin_files)
        node = HydraConfig.get()
        tree = copy.deepcopy(config)
        with open_dict(tree):
            tree.hydra = copy.deepcopy(node)
        typed = tuple(str(word) for word in node.overrides.task)
        status, value = self._train(
            build(resolve_tree(tree, typed, self.where)),
            Path(os.path.relpath(node.runtime.output_dir)),
        )
        if not self.quiet:
            print(f"job {node.job.num}: {status}  {' '.join(typed)}", flush=True)
        if status == "interrupted":
            raise KeyboardInterrupt
        return value

    def _train(self, settings: Settings, place: Path) -> tuple[str, float]:
        from mlplab import experiment

        try:
            run = experiment.run(settings, place, quiet=True)
        except (Exception, SystemExit) as error:
            print(
                f"mlplab: {' '.join(f'{type(error).__name__}: {error}'.split())}", file=sys.stderr
            )
            return "failed", float("nan")
        return run.status, float("nan")


def sweep(task: Any, config: DictConfig, launcher: Launcher) -> Sequence[JobReturn]:
    """All jobs of the command line through any launcher, with the plan before and the report after
    them.
    """
    known = _ours(task)
    if type(launcher).__name__ == OURS:
        return launcher.launch(known.jobs, initial_job_idx=0)
    folder = Path(str(known.first.sweep_dir))
    if (folder / "plan.yaml").exists():
        raise ConfigError(
            f"{folder} holds a sweep already, and this launcher starts every job anew. `mlplab"
            f" resume {folder}` finishes it."
        )
    plan = run_sweep.write_sweep_plan(
        folder, known.settings(known.jobs), known.options, known.overrides, known.plugin_files
    )
    drawn = [
        f"seed={job.settings.seed}" if known.first.config["seed"] is None else ""
        for job in plan.jobs
    ]
    parsed = [
        to_hydra(parse_overrides([*job.overrides, *filter(None, [seed])]))
        for job, seed in zip(plan.jobs, drawn, strict=True)
    ]
    _mend_ray(launcher)
    try:
        with safe_path():  # for the processes that the launcher starts
            return launcher.launch(parsed, initial_job_idx=0)
    except KeyboardInterrupt:
        known.ended = run_sweep.write_reports(plan, folder, interrupted=True)
        raise
    finally:
        if (ray := sys.modules.get("ray")) is not None:
            # its workers' lines come late, and the last line of the command is the folder
            ray.shutdown()
        known.ended = known.ended or run_sweep.write_reports(plan, folder)


def _mend_ray(launcher: Any) -> None:
    """hydra-ray-launcher fills in a size of the object store, which Ray refuses where there is a
    cluster to connect to.
    """
    from omegaconf import open_dict

    own = getattr(launcher, "ray_cfg", None)
    if own is not None and own.get("init") and own.init.get("address"):
        with open_dict(own):
            own.init.setdefault("object_store_memory", None)


def launch(
    task: Any, config: DictConfig, jobs: Sequence[Sequence[str]], first: int
) -> Sequence[JobReturn]:
    """Train these jobs together. A sweeper that comes again with more of them (`first` > 0) finds
    them in the same folder.
    """
    from hydra.core.utils import JobReturn, JobStatus

    known = _ours(task)
    folder = Path(str(config.hydra.sweep.dir))
    settings = known.settings(jobs)
    plan = run_sweep.write_sweep_plan(
        folder, settings, known.options, known.overrides, known.plugin_files, extend=first > 0
    )
    known.ended = run_sweep.train(plan, folder, known.quiet)
    if known.ended.status == "interrupted":
        raise KeyboardInterrupt
    results = known.ended.results
    values = {
        job.hash: result.metrics.get(results.headline, float("nan"))
        for job, result in zip(plan.jobs, results.jobs, strict=True)
    }
    returned = []
    for words_of_job, s in zip(jobs, settings, strict=True):
        one = JobReturn(overrides=list(words_of_job), status=JobStatus.COMPLETED)
        one.return_value = values.get(job_hash(s), float("nan"))
        returned.append(one)
    return returned


def _ours(task: Any) -> Task:
    if isinstance(task, Task):
        return task
    raise ConfigError(
        "hydra/launcher=mlplab and hydra/sweeper=mlplab train mlplab's own configurations; another"
        " application takes hydra/launcher=basic."
    )

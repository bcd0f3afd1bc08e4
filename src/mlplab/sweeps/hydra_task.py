"""Entry points of Hydra's multirun: the task with the jobs of a command line, the sweep over them,
and the launch of a batch of jobs.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config import plugins
from mlplab.config.batch_compose import build_many, compose_many
from mlplab.config.builder import build
from mlplab.config.composition import compose, resolve_tree, split_search_path
from mlplab.config.expand import expand
from mlplab.config.overrides import parse_overrides, to_hydra
from mlplab.config.search_path import config_folders
from mlplab.errors import ConfigError
from mlplab.extras import require
from mlplab.python_command import SAFE_PATH, environment
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
    from mlplab.training import Callback

LAUNCHER = "MlplabLauncher"


def to_frame(
    overrides: Sequence[str],
    folder: Path | None,
    quiet: bool,
    callbacks: Sequence[Callback] = (),
) -> DataFrame:
    """Train the sweep of these overrides and return its results as a table, without going through
    Hydra's launchers. Raises KeyboardInterrupt if the sweep was interrupted.
    """
    # before hours of training
    require("mlplab.sweep, which returns a DataFrame,", "sweep", "pandas")
    overrides, dirs = split_search_path(overrides, ())
    task = Task(overrides, dirs, (), quiet)
    run_sweep.check_callbacks(task.options, callbacks)
    sweep_dir = folder or Path(str(task.first.sweep_dir))
    plan = run_sweep.write_sweep_plan(
        sweep_dir, task.settings(task.jobs), task.options, task.overrides
    )
    ended = run_sweep.train(plan, sweep_dir, quiet, callbacks)
    if ended.status == "interrupted":
        raise KeyboardInterrupt
    table = reporting.to_frame(ended.results)
    table.attrs["folder"] = str(sweep_dir)
    return table


class Task:
    """The jobs of a command line, composed and checked. For launchers that start jobs one by one it
    is also the function that trains one job.

    Raises ConfigError if anything is wrong with any job.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        dirs: Sequence[str | Path],
        plugin_files: Sequence[str],
        quiet: bool = False,
    ) -> None:
        self.overrides, self.dirs, self.plugin_files, self.quiet = (
            tuple(overrides),
            tuple(dirs),
            tuple(plugin_files),
            quiet,
        )
        self.where, self.cwd = tuple(config_folders(dirs)), os.getcwd()
        self.jobs = expand(self.overrides, self.dirs)
        composed = compose_many(self.jobs, self.dirs)
        # overrides of the sweep, not of a job
        sweep_overrides = [
            override
            for override in self.overrides
            if override.lstrip("+~").startswith(("hydra.", "hydra/", "sweep.", "seeds="))
        ]
        self.first = compose([*self.jobs[0], *sweep_overrides], self.dirs)
        self.options = Options.of(self.first.sweep)
        self._settings = dict(zip(self.jobs, build_many(composed), strict=True))
        self.ended: Sweep | None = None

    @property
    def foreign_launcher(self) -> bool:
        """Whether the launcher is not mlplab's: such a launcher starts jobs one by one, perhaps in
        other processes and from other folders.
        """
        return self.first.sources.choices.get("hydra/launcher") != "mlplab"

    def settings(self, jobs: Sequence[Sequence[str]]) -> list[Settings]:
        """The settings of jobs given by their overrides: those of the command line, or ones that
        another sweeper has generated.
        """
        new = [tuple(job) for job in jobs if tuple(job) not in self._settings]
        self._settings |= dict(zip(new, build_many(compose_many(new, self.dirs)), strict=True))
        return [self._settings[tuple(job)] for job in jobs]

    def __getstate__(self) -> dict[str, object]:
        """State for other processes, which a launcher may start for jobs: without the settings of
        all jobs.
        """
        return {**self.__dict__, "_settings": {}, "jobs": [], "first": None, "ended": None}

    def __call__(self, config: DictConfig) -> float:
        """Train the job of a Hydra configuration. Always returns nan, since results are read from
        the job's folder. Raises KeyboardInterrupt if the job was interrupted.
        """
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import open_dict

        os.chdir(self.cwd)  # a launcher may have started this process in another folder
        plugins.load(self.plugin_files)
        node = HydraConfig.get()
        tree = copy.deepcopy(config)
        with open_dict(tree):
            tree.hydra = copy.deepcopy(node)
        overrides = tuple(str(override) for override in node.overrides.task)
        status, value = self._train(
            build(resolve_tree(tree, overrides, self.where)),
            Path(os.path.relpath(node.runtime.output_dir)),
        )
        if not self.quiet:
            print(f"job {node.job.num}: {status}  {' '.join(overrides)}", flush=True)
        if status == "interrupted":
            raise KeyboardInterrupt
        return value

    def _train(self, settings: Settings, folder: Path) -> tuple[str, float]:
        from mlplab import experiment

        try:
            run = experiment.run(settings, folder, quiet=True)
        except (Exception, SystemExit) as error:
            print(
                f"mlplab: {' '.join(f'{type(error).__name__}: {error}'.split())}", file=sys.stderr
            )
            return "failed", float("nan")
        return run.status, float("nan")


def sweep(task: object, config: DictConfig, launcher: Launcher) -> Sequence[JobReturn]:
    """Run all jobs of the command line with any launcher, writing the plan before them and the
    reports after them.

    Raises ConfigError if the folder already contains a sweep that this launcher would not resume.
    """
    mlplab_task = _require_task(task)
    if type(launcher).__name__ == LAUNCHER:
        return launcher.launch(mlplab_task.jobs, initial_job_idx=0)
    folder = Path(str(mlplab_task.first.sweep_dir))
    if (folder / "plan.yaml").exists():
        raise ConfigError(
            f"{folder} already contains a sweep, and this launcher would train every job again."
            f" `mlplab resume {folder}` finishes it."
        )
    plan = run_sweep.write_sweep_plan(
        folder,
        mlplab_task.settings(mlplab_task.jobs),
        mlplab_task.options,
        mlplab_task.overrides,
        mlplab_task.plugin_files,
    )
    seeds = [
        f"seed={job.settings.seed}" if mlplab_task.first.config["seed"] is None else ""
        for job in plan.jobs
    ]
    parsed = [
        to_hydra(parse_overrides([*job.overrides, *filter(None, [seed])]))
        for job, seed in zip(plan.jobs, seeds, strict=True)
    ]
    _fix_ray_config(launcher)
    try:
        with environment(SAFE_PATH):  # for the processes that the launcher starts
            return launcher.launch(parsed, initial_job_idx=0)
    except KeyboardInterrupt:
        mlplab_task.ended = run_sweep.write_reports(plan, folder, interrupted=True)
        raise
    finally:
        if (ray := sys.modules.get("ray")) is not None:
            # its workers' output may arrive late, and the folder must be the last line printed
            ray.shutdown()
        mlplab_task.ended = mlplab_task.ended or run_sweep.write_reports(plan, folder)


def _fix_ray_config(launcher: object) -> None:
    """Keep hydra-ray-launcher from setting a default size of the object store, which Ray rejects
    when it connects to a cluster.
    """
    from omegaconf import open_dict

    ray_config = getattr(launcher, "ray_cfg", None)
    if ray_config is not None and ray_config.get("init") and ray_config.init.get("address"):
        with open_dict(ray_config):
            ray_config.init.setdefault("object_store_memory", None)


def launch(
    task: object, config: DictConfig, jobs: Sequence[Sequence[str]], first: int
) -> Sequence[JobReturn]:
    """Train these jobs as populations and return their results in order; the return value of each
    is the metric that ranks configurations, nan if the job failed.

    A sweeper may call this again with more jobs (`first` > 0), which are added to the same folder.
    Raises KeyboardInterrupt if the sweep was interrupted.
    """
    from hydra.core.utils import JobReturn, JobStatus

    mlplab_task = _require_task(task)
    folder = Path(str(config.hydra.sweep.dir))
    settings = mlplab_task.settings(jobs)
    plan = run_sweep.write_sweep_plan(
        folder,
        settings,
        mlplab_task.options,
        mlplab_task.overrides,
        mlplab_task.plugin_files,
        extend=first > 0,
    )
    mlplab_task.ended = run_sweep.train(plan, folder, mlplab_task.quiet)
    if mlplab_task.ended.status == "interrupted":
        raise KeyboardInterrupt
    results = mlplab_task.ended.results
    values = {
        job.hash: result.metrics.get(results.headline, float("nan"))
        for job, result in zip(plan.jobs, results.jobs, strict=True)
    }
    returned = []
    for overrides, s in zip(jobs, settings, strict=True):
        job_return = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
        job_return.return_value = values.get(job_hash(s), float("nan"))
        returned.append(job_return)
    return returned


def _require_task(task: object) -> Task:
    if isinstance(task, Task):
        return task
    raise ConfigError(
        "hydra/launcher=mlplab and hydra/sweeper=mlplab train only configurations of mlplab; use"
        " hydra/launcher=basic for another application."
    )

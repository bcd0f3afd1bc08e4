"""Sweeps with a launcher or sweeper of another package, which run through Hydra's multirun."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import plugins, security
from mlplab.config.builder import Builder, build
from mlplab.config.composition import compose, hydra_search_path, initialized, plain_tree
from mlplab.config.expand import override_value
from mlplab.config.overrides import check_hydra_override, parse_overrides, to_hydra
from mlplab.errors import ConfigError
from mlplab.mirroring.process import checked_trackers, mirrored
from mlplab.python_command import SAFE_PATH, environment
from mlplab.sweeps import run_sweep
from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.hashing import job_hash
from mlplab.sweeps.plan.tracked import FOLDERS, PACKED
from mlplab.sweeps.report.results import JobResult, Results
from mlplab.sweeps.run_sweep import Sweep, SweepRequest
from mlplab.terminal.output import note
from mlplab.terminal.suggested import resume_command
from mlplab.validation import KFold

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

    from mlplab.settings import Settings
    from mlplab.sweeps.plan.plan import Plan

NAME = "mlplab"
"""The choice of hydra/launcher and hydra/sweeper that needs no multirun of Hydra."""

FAILED = float("nan")


def is_needed(request: SweepRequest) -> bool:
    """Return whether the launcher or the sweeper is not mlplab's."""
    choices = request.first.sources.choices
    return any(choices.get(f"hydra/{kind}") != NAME for kind in ("launcher", "sweeper"))


def run(request: SweepRequest, folder: Path) -> Sweep:
    """Run a sweep through Hydra's multirun, whose launcher may start jobs one by one, perhaps in
    other processes and from other folders.

    Every configuration that Hydra composes, those of jobs included, is checked before it is used.
    Raises ConfigError, before there is a folder, if the jobs were to be packed.
    """
    _refuse_packs(request)
    task = Task(request, folder)
    composer = request.composer
    search_path = hydra_search_path(composer.folders)
    overrides = to_hydra(
        override
        for override in parse_overrides(composer.overrides)
        if override.key_or_group not in ("hydra.sweep.dir", "hydra.mode")
    )
    fixed = [
        f"hydra.sweep.dir={override_value(os.path.abspath(folder))}",
        "hydra.mode=MULTIRUN",
        *search_path,
    ]
    with initialized(composer.folders[0]) as hydra:
        _guard(hydra.config_loader, search_path)
        try:
            hydra.multirun(config_name="config", task_function=task, overrides=[*overrides, *fixed])
        except (KeyboardInterrupt, Exception) as error:
            if task.ended is None or isinstance(error, ConfigError):
                raise
            # one of the launcher's processes died, or the cluster accepts no jobs
            if not isinstance(error, KeyboardInterrupt):
                note(f"the launcher failed: {' '.join(f'{type(error).__name__}: {error}'.split())}")
    if task.ended is not None:
        return task.ended
    with mirrored(folder, checked_trackers(request.settings)):
        return run_sweep.plan_from_existing(
            request.settings, folder, request.options, composer.overrides
        )


def _refuse_packs(request: SweepRequest) -> None:
    launcher = request.first.sources.choices.get("hydra/launcher")
    if launcher != NAME and request.settings[0].tracking.jobs == PACKED:
        raise ConfigError(
            f"`tracking.jobs={PACKED}`: hydra/launcher={launcher} trains each job as a run in a"
            f" folder of its own. Set tracking.jobs={FOLDERS}, or leave out hydra/launcher: mlplab"
            " trains the jobs together, with sweep.workers=N in several processes, and on a cluster"
            " with sweep.engine=slurm or ray."
        )


def _guard(loader: ConfigLoader, trusted: Sequence[str]) -> None:
    """Make the loader raise ConfigError for unsafe configurations and overrides, in this process
    and in those of a launcher.

    A sweep may compose user files that set up logging or environment variables, which Hydra would
    apply before a job starts. The overrides in `trusted`, which mlplab adds, are not checked.
    """
    load = partial(_load, partial(type(loader).load_configuration, loader), tuple(trusted))
    loader.load_configuration = load  # type: ignore[method-assign]


def _load(
    load: Callable[..., DictConfig],
    trusted: tuple[str, ...],
    config_name: str | None,
    overrides: list[str],
    *args: Any,
    **kwargs: Any,
) -> DictConfig:
    hydra_overrides = [
        override
        for override in parse_overrides(line for line in overrides if line not in trusted)
        if override.is_hydra_override()
    ]
    for override in hydra_overrides:
        check_hydra_override(override.key_or_group, override.input_line or "")
    tree = load(config_name, overrides, *args, **kwargs)
    plain = plain_tree(tree)
    node = plain.pop("hydra")
    security.check_hydra(node)
    keys = [override.key_or_group for override in hydra_overrides]
    security.refuse_unsafe_launcher_values(node, keys)
    security.refuse_code(plain)
    return tree


class Task:
    """A sweep as Hydra runs it, and the function that trains one job for its launchers."""

    def __init__(self, request: SweepRequest, folder: Path) -> None:
        self.request: SweepRequest | None = request
        self.folder, self.cwd = folder, os.getcwd()
        self.dirs, self.plugin_files = request.composer.dirs, request.plugin_files
        self.metric = request.options.metric
        self.ended: Sweep | None = None

    def __getstate__(self) -> dict[str, object]:
        """State for other processes, which a launcher may start for jobs: without all jobs."""
        return {**self.__dict__, "request": None, "ended": None}

    def __call__(self, config: DictConfig) -> float:
        """Train the job of a Hydra configuration and return the metric that ranks configurations,
        nan if the job failed.

        Raises KeyboardInterrupt if the job was interrupted.
        """
        from hydra.core.hydra_config import HydraConfig

        os.chdir(self.cwd)  # a launcher may have started this process in another folder
        plugins.load(self.plugin_files)
        node = HydraConfig.get()
        overrides = [str(override) for override in node.overrides.task]
        settings = build(compose(overrides, self.dirs))
        status, value = self._train(settings, Path(os.path.relpath(node.runtime.output_dir)))
        print(f"job {node.job.num}: {status}  {' '.join(overrides)}", flush=True)
        if status == "interrupted":
            raise KeyboardInterrupt
        return value

    def _train(self, settings: Settings, folder: Path) -> tuple[str, float]:
        from mlplab import experiment

        try:
            # the process that runs the sweep mirrors all of its jobs
            tracking = dataclasses.replace(settings.tracking, mirror=[])
            settings = dataclasses.replace(settings, tracking=tracking)
            run = experiment.run(settings, folder, quiet=True)
        except (Exception, SystemExit) as error:
            print(
                f"mlplab: {' '.join(f'{type(error).__name__}: {error}'.split())}", file=sys.stderr
            )
            return "failed", FAILED
        folds = settings.validation.folds if isinstance(settings.validation, KFold) else None
        job = JobResult(
            0, run.status, "", {}, run.metrics, settings.overrides, folder, {"folds": folds}
        )
        headline = Results(settings.name, folder, [job], self.metric).headline
        return run.status, run.metrics.get(headline, FAILED)


def sweep(task: object, launcher: Launcher) -> Sequence[JobReturn]:
    """Run all jobs of the command line with a launcher of another package, writing the plan before
    them and the reports after them.

    Raises ConfigError if the folder already contains a sweep.
    """
    mlplab_task, request = _require_task(task)
    folder = mlplab_task.folder
    if (folder / "plan.yaml").exists():
        raise ConfigError(
            f"{folder} already contains a sweep, and this launcher would train every job again."
            f" `{resume_command(folder, mlplab_task.plugin_files)}` finishes it."
        )
    # it trains each job as a run in its folder
    request.options = dataclasses.replace(request.options, jobs=FOLDERS)
    plan = request.write_plan(folder)
    # a drawn seed must be that of the plan
    draws_seeds = request.first.config["seed"] is None
    jobs = [
        to_hydra(parse_overrides(job.overrides))
        + ([f"seed={job.settings.seed}"] if draws_seeds else [])
        for job in plan.jobs
    ]
    _fix_ray_config(launcher)
    with mirrored(folder, checked_trackers(request.settings)):
        return _launch(launcher, jobs, mlplab_task, plan)


def _launch(
    launcher: Launcher, jobs: Sequence[Sequence[str]], mlplab_task: Task, plan: Plan
) -> Sequence[JobReturn]:
    folder = mlplab_task.folder
    try:
        with environment(SAFE_PATH):  # for the processes that the launcher starts
            return launcher.launch(jobs, initial_job_idx=0)
    except KeyboardInterrupt:
        mlplab_task.ended = run_sweep.conclude(plan, folder, interrupted=True)
        raise
    finally:
        if (ray := sys.modules.get("ray")) is not None:
            # its workers' output may arrive late, and the folder must be the last line printed
            ray.shutdown()
        mlplab_task.ended = mlplab_task.ended or run_sweep.conclude(plan, folder)


def _fix_ray_config(launcher: object) -> None:
    """Keep hydra-ray-launcher from setting a default size of the object store, which Ray rejects
    when it connects to a cluster.
    """
    from omegaconf import open_dict

    ray_config = getattr(launcher, "ray_cfg", None)
    if ray_config is not None and ray_config.get("init") and ray_config.init.get("address"):
        with open_dict(ray_config):
            ray_config.init.setdefault("object_store_memory", None)


def launch(task: object, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Train jobs of a sweeper of another package as populations and return their results in order;
    the return value of each is the metric that ranks configurations, nan if the job failed.

    A sweeper may call this again with more jobs (`first` > 0), which are added to the same folder.
    Raises KeyboardInterrupt if the sweep was interrupted.
    """
    from hydra.core.utils import JobReturn, JobStatus

    mlplab_task, request = _require_task(task)
    folder = mlplab_task.folder
    builder = Builder()
    settings = Representatives().with_auto_values(
        [builder.build(request.composer.compose(tuple(job))) for job in jobs]
    )
    plan = run_sweep.write_sweep_plan(
        folder,
        settings,
        request.options,
        request.composer.overrides,
        request.plugin_files,
        extend=first > 0,
        config_dirs=mlplab_task.dirs,
    )
    mlplab_task.ended = run_sweep.train(plan, folder)
    if mlplab_task.ended.status == "interrupted":
        raise KeyboardInterrupt
    results = mlplab_task.ended.results
    values = {
        job.hash: result.metrics.get(results.headline, FAILED)
        for job, result in zip(plan.jobs, results.jobs, strict=True)
    }
    return [
        JobReturn(
            list(overrides),
            status=JobStatus.COMPLETED,
            _return_value=values.get(job_hash(s), FAILED),
        )
        for overrides, s in zip(jobs, settings, strict=True)
    ]


def _require_task(task: object) -> tuple[Task, SweepRequest]:
    if isinstance(task, Task) and task.request is not None:
        return task, task.request
    raise ConfigError(
        "hydra/launcher=mlplab and hydra/sweeper=mlplab train only configurations of mlplab; use"
        " hydra/launcher=basic for another application."
    )

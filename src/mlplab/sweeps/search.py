"""A search: trials proposed by a study, trained as populations, wave by wave, in the folder of a sweep.

What is known of a search lies in that folder: search.yaml (what was asked), study.db (what was proposed and told), plan.yaml and jobs/ (what was trained). A
trial that was proposed and not told when the process ended is trained, or read from its job's folder, when the search goes on.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config import folders, words
from mlplab.config.compose import compose, split_search_path
from mlplab.config.errors import ConfigError
from mlplab.config.many import build_many, compose_many
from mlplab.runs import RunFolder
from mlplab.settings import Settings
from mlplab.sweeps import drive, halving
from mlplab.sweeps.display import Display
from mlplab.sweeps.drive import Sweep
from mlplab.sweeps.plan import Options, Plan, job_hash
from mlplab.sweeps.planfile import NAME, read_plan
from mlplab.sweeps.results import JobResult
from mlplab.sweeps.runner import Runner
from mlplab.sweeps.search_page import write_search
from mlplab.sweeps.space import dimensions, overrides
from mlplab.sweeps.study import Study, need
from mlplab.tracking import note
from mlplab.tracking.files import parse_yaml, write_yaml
from mlplab.training import ready

FILE = "search.yaml"
TRIALS = 64
FACTS = ("num_parameters", "steps", "epochs", "seconds")
"""What an objective may be beside a metric."""


def wanted(typed: Sequence[str], dirs: Sequence[str | Path]) -> bool:
    """Whether the words ask for a search: the sweeper by name, or a number of trials, typed or in an experiment's file."""
    keys = {word.lstrip("+").partition("=")[0]: word.partition("=")[2] for word in typed}
    if keys.get("hydra/sweeper") == "mlplab_search" or "sweep.trials" in keys:
        return keys.get("hydra/sweeper", "mlplab_search") == "mlplab_search" and keys.get("sweep.trials") != "null"
    if "experiment" not in keys or "," in keys["experiment"]:
        return False
    return compose([f"experiment={keys['experiment']}"], dirs, complete=False).sweep.trials is not None


class Search:
    """What a command line asks for. It is the task that Hydra's multirun carries to its sweeper. Raises ConfigError."""

    def __init__(self, typed: Sequence[str], dirs: Sequence[str | Path], plugin_files: Sequence[str], quiet: bool = False) -> None:
        need()
        self.typed, self.dirs, self.plugin_files, self.quiet = tuple(typed), tuple(dirs), tuple(plugin_files), quiet
        self.where = tuple(folders.search(dirs))
        parsed = words.parse(self.typed)
        words.check(parsed, self.where, multirun=True)
        own = [word for word in parsed if not word.is_hydra_override()]
        self.base = tuple(word.input_line or "" for word in own if not _of_sweep(word) and not word.is_sweep_override())
        beside = [word.input_line or "" for word in parsed if _of_sweep(word) or word.is_hydra_override()]
        self.first = compose([*self.base, *(line for line in beside if not line.startswith("hydra/sweeper="))], self.dirs)
        self.sweep = self.first.sweep
        self.space = dimensions([word for word in own if not _of_sweep(word)], self.sweep.space)
        self.trials = self.sweep.trials or TRIALS
        self.options = dataclasses.replace(Options.of(self.sweep), detach=False)
        self.jobs: list[tuple[str, ...]] = []
        self.ended: Sweep | None = None
        self.objectives = _objectives(self.sweep, self._settings([self._words({})])[0])
        self._check()

    def _check(self) -> None:
        if self.sweep.seeds is not None or self.sweep.grid or self.sweep.zip or self.sweep.blocks:
            raise ConfigError(
                "A search chooses its jobs by itself: sweep.grid, zip, blocks and seeds are for sweeps; give sweep.space and sweep.trials."
            )
        if self.sweep.pruning != "none" and len(self.objectives) > 1:
            raise ConfigError("sweep.pruning compares trials by one metric, and this search has several objectives.")
        if self.sweep.pruning != "none" and self.objectives[0].partition("/")[2] not in ("loss", "accuracy", "mae", "rmse", "r2"):
            raise ConfigError(
                f"sweep.pruning needs a metric that is measured after each epoch, such as val/loss or val/accuracy, and not {self.objectives[0]}."
            )

    def _words(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """The words of a job; for the check before anything is made, those of the configuration itself."""
        return (*self.base, *overrides(chosen))

    def _settings(self, jobs: Sequence[tuple[str, ...]]) -> list[Settings]:
        return build_many(compose_many(jobs, self.dirs))

    def run(self, folder: Path) -> Sweep:
        """Until the study has its trials. May be called again on the same folder."""
        drive.create_or_join(folder)
        hidden = folder / ".search"
        hidden.mkdir(exist_ok=True)
        with RunFolder(hidden) as owner:
            owner.lock()  # two processes would propose twice
            if not (folder / FILE).is_file():
                write_yaml(
                    folder / FILE,
                    {
                        "typed": list(self.typed),
                        "dirs": [str(Path(one).resolve()) for one in self.dirs],
                        "plugins": list(self.plugin_files),
                    },
                )
            study = Study(folder, self.objectives, self.space, self.sweep.sampler, int(self.first.config.get("seed") or 0))
            self.ended = self._waves(folder, study)
            write_search(folder, study, self.ended.results)
        return self.ended

    def _waves(self, folder: Path, study: Study) -> Sweep:
        plan = read_plan(folder) if (folder / NAME).is_file() else None
        display = None
        try:
            for wave in itertools.count():
                asked = study.in_flight()
                room = min(self.sweep.parallel, self.trials - len(study.trials()))
                if not asked and room > 0:
                    asked = study.ask(room)
                if not asked:
                    break
                settings = dict(zip(asked, self._settings([self._words(chosen) for chosen in asked.values()]), strict=True))
                plan = drive.place(
                    folder, list(settings.values()), self.options, self.typed, self.plugin_files, extend=plan is not None, quiet=True
                )
                display = display or _Trials(plan, self.quiet, self.trials, len(study.trials()) - len(asked))
                display.plan = plan
                runner = Runner(plan, folder, display)
                self._train(runner, list(settings.values()), wave)
                ended = drive.state(plan, folder, runner.status == "interrupted")
                self._tell(study, settings, plan, ended.results.jobs)
                if runner.status == "interrupted":
                    return dataclasses.replace(drive.report(plan, folder, True), signal=runner.signals.received or 0)
                if self.options.fail_fast and any(job.fails for job in ended.results.jobs):
                    break
        finally:
            if display is not None:
                display.close()
        assert plan is not None
        return drive.report(plan, folder)

    def _train(self, runner: Runner, settings: Sequence[Settings], wave: int) -> None:
        """The wave's jobs that have no folder yet."""
        if self.sweep.pruning == "none":
            runner.run()
            return
        hashes = {job_hash(one) for one in settings}
        jobs = [job for job in runner.plan.jobs if job.hash in hashes and not runner.ledger.finished(job.number)]
        if jobs:
            runner.wave(jobs, self._rungs([job.settings for job in jobs], wave))

    def _rungs(self, settings: Sequence[Settings], wave: int) -> halving.Rungs:
        if any(one.training.steps is not None for one in settings):
            raise ConfigError("sweep.pruning counts epochs: give training.epochs instead of training.steps.")
        last, reduction = max(one.training.epochs for one in settings), self.sweep.reduction
        depth = 3 if self.sweep.pruning == "hyperband" else 2  # halving has one bracket, which must not judge too early
        least = self.sweep.least or max(1, round(last / reduction**depth))
        rungs = halving.Rungs.of(last, least, reduction, self.objectives[0])
        return rungs.from_rung(wave % (len(rungs.epochs) + 1)) if self.sweep.pruning == "hyperband" else rungs

    def _tell(self, study: Study, settings: Mapping[int, Settings], plan: Plan, results: Sequence[JobResult]) -> None:
        """A trial whose job has an end is told it. Two trials of the same words have one job."""
        by_hash = {job.hash: result for job, result in zip(plan.jobs, results, strict=True)}
        for number, one in settings.items():
            result = by_hash[job_hash(one)]
            if result.status in ("missing", "interrupted"):
                continue
            found = {**result.facts, **result.metrics}
            values = [float(found.get(objective, float("nan"))) for objective in self.objectives]
            study.tell(number, result.status, values, result.reason, int(result.facts.get("epochs", 0)))


class _Trials(Display):
    """One bar for all waves."""

    def __init__(self, plan: Plan, quiet: bool, total: int, done: int) -> None:
        super().__init__(plan, quiet)
        from mlplab.tracking import Progress

        self.bar = Progress(total - done, plan.name, quiet=quiet, unit="trials")
        if done and not quiet:
            note(f"{done} of {total} trials are done already")

    def start(self, done: int) -> None:
        """The bar goes on."""


def _of_sweep(word: Any) -> bool:
    key = str(word.key_or_group)
    return key == "seeds" or key.partition(".")[0] == "sweep"


def _objectives(sweep: Any, first: Settings) -> tuple[str, ...]:
    """What was named; else the metric that ranks a sweep."""
    named = sweep.objectives
    if named in (None, "auto", []):
        named = [sweep.metric] if sweep.metric != "auto" else None
    if named is None:
        prepared = ready([first])[0].prepared
        split = "val" if prepared.val is not None else "train"
        named = [f"{split}/{'accuracy' if prepared.task.classifies else 'rmse'}"]
    named = [named] if isinstance(named, str) else list(named)
    for one in named:
        if "/" not in one and one not in FACTS:
            raise ConfigError(f"`sweep.objectives`: {one!r} is no metric such as val/accuracy, and none of {', '.join(FACTS)}.")
    return tuple(named)


def sweep(task: Any, config: Any) -> list[Any]:
    """What Hydra's sweeper calls."""
    if not isinstance(task, Search):
        raise ConfigError("hydra/sweeper=mlplab_search trains mlplab's own configurations; another application takes its own sweeper.")
    task.run(Path(str(config.hydra.sweep.dir)))
    if task.ended is not None and task.ended.status == "interrupted":
        raise KeyboardInterrupt
    return []


def resume(folder: Path, quiet: bool = False) -> Sweep:
    """Go on with the search in a folder, to the number of trials that it was started with."""
    raw = parse_yaml((folder / FILE).read_text(encoding="utf-8"))
    try:
        typed, dirs, files = ([str(one) for one in raw[key]] for key in ("typed", "dirs", "plugins"))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / FILE} is damaged and cannot be read: {error}") from error
    plain, more = split_search_path(typed, dirs)
    return Search(plain, more, files, quiet).run(folder)

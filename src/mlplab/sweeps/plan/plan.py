"""The plan of a sweep: all jobs composed and checked before the first one starts, numbered, hashed
and grouped into populations.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlplab.config.debugging import several_jobs
from mlplab.config.override_lines import split
from mlplab.config.run_dir import typed_outputs
from mlplab.config.sweep_options import Sweep
from mlplab.errors import ConfigError
from mlplab.network.layer import hidden_widths
from mlplab.runs.hparams import HParams
from mlplab.settings import Settings
from mlplab.sweeps.plan import memory
from mlplab.sweeps.plan.grouping import (
    MAX_ON_CPU,
    MAX_PACKED_ON_CPU,
    Group,
    Representatives,
    describe_differences,
    group_members,
    split_by_memory,
    split_work,
)
from mlplab.sweeps.plan.hashing import job_hashes
from mlplab.sweeps.plan.metric_check import check_metric
from mlplab.sweeps.plan.tracked import PACKED, job_format, limit_tracking
from mlplab.training import PreparedMember

MIN_SHARED = 4
"""Populations of the eager engine are not split into smaller work units than this to occupy several
workers: fewer members cost about as much.
"""


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `hash` identifies its configuration; `number` is its folder in jobs/."""

    number: int
    hash: str
    settings: Settings

    @property
    def overrides(self) -> tuple[str, ...]:
        return self.settings.overrides


@dataclass(frozen=True)
class RemovedJob:
    """A job of an earlier plan, whose results are kept and count again if it is swept again."""

    number: int
    overrides: tuple[str, ...]
    config: Mapping[str, Any]

    @classmethod
    def of(cls, job: Job) -> RemovedJob:
        """The job as one that was removed."""
        return cls(job.number, job.overrides, job.settings.config)


@dataclass(frozen=True)
class WorkUnit:
    """Jobs that train together: those of a group, or a chunk of it if it is too large."""

    number: int
    population: int
    jobs: tuple[int, ...]  # numbers


@dataclass(frozen=True)
class Population:
    """Summary of a group of jobs: its size, and how it differs from the other groups (`apart`).

    Jobs of the native engine form one group, whatever their structures; the numbers are those of
    the largest network and of the longest run. `alone` is the reason why its jobs train one by
    one, or empty. The fields are keys of plan.yaml.
    """

    number: int
    jobs: int
    apart: str
    alone: str
    num_parameters: int
    num_steps: int


@dataclass(frozen=True)
class Options:
    """How a sweep runs its jobs: the node `sweep` of the configuration, with the same keys, and how
    it stores them: `jobs` is that of `job_format`, and empty until the plan is made.
    """

    fail_fast: bool = False
    retries: int = 0
    metric: str = "auto"
    diverged: str = "worst"
    threshold: float | None = None
    workers: int = 1
    engine: str = "local"
    cluster: Mapping[str, Any] = field(default_factory=dict)
    detach: bool = False
    jobs: str = ""

    @classmethod
    def of(cls, sweep: Sweep) -> Options:
        """The options in the node `sweep`."""
        names = [key.name for key in dataclasses.fields(cls) if key.name != "jobs"]
        return cls(**{name: getattr(sweep, name) for name in names})

    @property
    def single_process(self) -> bool:
        """Whether this process trains every job itself. A time limit needs a driver that watches a
        separate worker.
        """
        return self.workers == 1 and self.engine == "local" and self.cluster.get("minutes") is None

    @property
    def on_this_machine(self) -> Options:
        """These options with one process on this machine, and its time limit if there is one."""
        cluster = self.cluster if self.engine == "local" else {}
        return dataclasses.replace(self, workers=1, engine="local", cluster=cluster, detach=False)


@dataclass(frozen=True)
class Plan:
    """The contents of plan.yaml.

    `keys` are the swept keys; `overrides`, `plugins` and `config_dirs` those of the command line;
    `removed_jobs` are the jobs of an earlier plan that are no longer in this one, by their hashes.
    """

    name: str
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]
    work_units: tuple[WorkUnit, ...]
    populations: tuple[Population, ...]
    options: Options = field(default_factory=Options)
    overrides: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    config_dirs: tuple[str, ...] = ()
    removed_jobs: Mapping[str, RemovedJob] = field(default_factory=dict)

    @property
    def flags(self) -> tuple[str, ...]:
        """What a command line needs beside a job's overrides, to train it below the same folder."""
        pairs = [("--plugin", path) for path in self.plugins]
        pairs += [("--config-dir", folder) for folder in self.config_dirs]
        flags = [argument for pair in pairs for argument in pair]
        return (*flags, *typed_outputs(self.overrides))

    def job(self, number: int) -> Job:
        return self._by_number[number]

    def has_job(self, number: int) -> bool:
        return number in self._by_number

    def swept_values(self, job: Job) -> dict[str, object]:
        """The values of the swept keys of a job, but for the experiment."""
        return {key: value_of(job, key) for key in self.keys if key != "experiment"}

    @property
    def all_jobs(self) -> dict[str, RemovedJob]:
        """The jobs of this plan and the removed ones, by their hashes."""
        return {**self.removed_jobs, **{job.hash: RemovedJob.of(job) for job in self.jobs}}

    @cached_property
    def cell_choices(self) -> dict[str, list[object]]:
        """The distinct values of each column of HParams, in the order of the jobs."""
        rows = [
            HParams.of_run(job.settings, (), self.swept_values(job)).values for job in self.jobs
        ]
        keys = dict.fromkeys(key for row in rows for key in row)
        return {key: list(dict.fromkeys(row[key] for row in rows if key in row)) for key in keys}

    @cached_property
    def _by_number(self) -> dict[int, Job]:
        return {job.number: job for job in self.jobs}


def make_plan(
    settings: Sequence[Settings],
    options: Options | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    old: Plan | None = None,
    config_dirs: Iterable[str | Path] = (),
) -> Plan:
    """Number, hash and group the jobs. Data is prepared once for each shape.

    `old` is the plan that the folder already has: its jobs keep their numbers and work units, and
    new jobs get the numbers after them.

    Raises ConfigError if there are no jobs or none measures `sweep.metric`, and DataError or
    IncompatibleSettingsError, naming the job, if settings do not fit together.
    """
    if not settings:
        raise ConfigError("This sweep has no jobs: nothing would be trained.")
    if len(settings) > 1 and (modes := {s.debug for s in settings} - {None}):
        raise several_jobs(modes.pop(), f"{len(settings)} jobs")
    if any(one.ensemble is not None for one in settings):
        raise ConfigError("A sweep cannot train `ensemble=N`: train each as a run of its own.")
    settings, options = limit_tracking(settings), options or Options()
    chosen = old.options.jobs if old else options.jobs or job_format(settings)
    options = dataclasses.replace(options, jobs=chosen)
    old_jobs = old.all_jobs if old else {}
    unused_numbers = itertools.count(max((job.number for job in old_jobs.values()), default=-1) + 1)
    known = {id(job.settings): job.hash for job in (old.jobs if old else ())}
    jobs = [
        Job(old_jobs[h].number if h in old_jobs else next(unused_numbers), h, s)
        for h, s in zip(job_hashes(settings, known), settings, strict=True)
    ]
    jobs.sort(key=lambda job: job.number)
    hashes = {job.hash for job in jobs}
    members = _prepare_members(jobs)
    _check_metric(options, members)
    groups = group_members(members)
    return Plan(
        name=settings[0].name,
        keys=swept_keys([job.overrides for job in jobs]),
        jobs=tuple(jobs),
        work_units=tuple(_work_units(groups, jobs, members, old, options)),
        populations=tuple(_populations(groups, jobs, members)),
        options=options,
        overrides=tuple(overrides),
        plugins=tuple(plugins),
        config_dirs=tuple(map(str, config_dirs)),
        removed_jobs={h: job for h, job in old_jobs.items() if h not in hashes},
    )


def _prepare_members(jobs: Sequence[Job]) -> list[PreparedMember | None]:
    """Return the jobs with representative data; those that differ in their seeds share a member."""
    representatives = Representatives()
    members: dict[Hashable, PreparedMember | None] = {}
    keys = [_components(job.settings) for job in jobs]
    for job, key in zip(jobs, keys, strict=True):
        if key in members:
            continue
        try:
            members[key] = representatives.prepare_member(job.settings)
        except ValueError as error:
            overrides = " ".join(job.overrides)
            raise type(error)(
                f"{error} This is job {job.number}{f': {overrides}' if overrides else ''}."
            ) from error
    return [members[key] for key in keys]


def _components(settings: Settings) -> Hashable:
    """Everything that a representative depends on: the objects that jobs share, and the choice of
    the engine.
    """
    names = ("dataset", "embedding", "layers", "loss", "optimizer", "schedule", "training")
    ids = tuple([id(getattr(settings, name)) for name in (*names, "validation")])
    return ids, settings.device, settings.dtype, settings.engine, settings.config.get("engine")


def _check_metric(options: Options, members: Sequence[PreparedMember | None]) -> None:
    """Raise ConfigError if no job measures `sweep.metric`; unknown if no data could be prepared."""
    datasets = {id(member.prepared): member.prepared for member in _distinct(members)}
    if options.metric != "auto" and datasets:
        check_metric("sweep.metric", options.metric, datasets.values())


def _work_units(
    groups: Sequence[Group],
    jobs: Sequence[Job],
    members: Sequence[PreparedMember | None],
    old: Plan | None,
    options: Options,
) -> list[WorkUnit]:
    """The work units of the old plan, then those of new jobs: enough to occupy all workers."""
    numbers = [[jobs[position].number for position in group.positions] for group in groups]
    group_of = {number: i for i, of_group in enumerate(numbers) for number in of_group}
    old_units = old.work_units if old else ()
    remaining = [tuple(n for n in unit.jobs if n in group_of) for unit in old_units]
    units = [(group_of[unit[0]], unit) for unit in remaining if unit]
    assigned = {number for _, unit in units for number in unit}
    for i, group in enumerate(groups):
        if new := [number for number in numbers[i] if number not in assigned]:
            num_bytes = dict(zip(numbers[i], _num_bytes(group, jobs, members), strict=True))
            units += [(i, unit) for unit in _split(group, new, num_bytes, members, options)]
    return [WorkUnit(number, i, unit) for number, (i, unit) in enumerate(units)]


def _split(
    group: Group,
    numbers: Sequence[int],
    num_bytes: Mapping[int, int],
    members: Sequence[PreparedMember | None],
    options: Options,
) -> list[tuple[int, ...]]:
    """Split jobs of a group into the chunks that train at once."""
    first = members[group.positions[0]]
    if group.single_reason or first is None:
        return [(number,) for number in numbers]
    device = memory.device_of(first.settings)
    min_size = 1 if first.settings.engine == "native" else MIN_SHARED
    ceiling = MAX_PACKED_ON_CPU if options.jobs == PACKED else MAX_ON_CPU
    max_size = memory.max_population([num_bytes[number] for number in numbers], device, ceiling)
    return [
        chunk
        for even in split_work(numbers, max_size, options.workers, min_size)
        for chunk in split_by_memory(even, num_bytes, memory.usable(device))
    ]


def _num_bytes(
    group: Group, jobs: Sequence[Job], members: Sequence[PreparedMember | None]
) -> list[int]:
    """The memory of each job while it trains; 0 if its data could not be prepared."""
    first = jobs[group.positions[0]].settings
    shares_data = all(_same_data(jobs[position].settings, first) for position in group.positions)
    chosen = [members[position] for position in group.positions]
    num_bytes = {
        id(member): memory.bytes_per_member(member, shares_data) for member in _distinct(chosen)
    }
    return [num_bytes.get(id(member), 0) for member in chosen]


def _same_data(one: Settings, other: Settings) -> bool:
    return one.seed == other.seed and (
        one.dataset is other.dataset or repr(one.dataset) == repr(other.dataset)
    )


def _distinct(members: Iterable[PreparedMember | None]) -> list[PreparedMember]:
    """Return the members that have data, each once."""
    return list({id(member): member for member in members if member is not None}.values())


def _populations(
    groups: Sequence[Group], jobs: Sequence[Job], members: Sequence[PreparedMember | None]
) -> list[Population]:
    all_differences = describe_differences(
        groups, lambda label, position: _as_override(label, jobs[position].settings)
    )
    return [
        Population(
            i,
            len(group.positions),
            differences,
            group.single_reason,
            *_size([members[position] for position in group.positions]),
        )
        for i, (group, differences) in enumerate(zip(groups, all_differences, strict=True))
    ]


def _size(members: Sequence[PreparedMember | None]) -> tuple[int, int]:
    """Parameters of the largest network and updates of the longest run; zeros if no member has
    data.
    """
    prepared = _distinct(members)
    if not prepared:
        return 0, 0
    return max(map(memory.num_parameters, prepared)), max(map(memory.num_steps, prepared))


def _as_override(label: str, settings: Settings) -> str | None:
    """The override by which a user sets the label's value, or None if there is none."""
    if label == "model.hidden":
        return f"model.hidden={'-'.join(map(str, hidden_widths(settings.layers))) or '[]'}"
    if label in settings.config and isinstance(settings.config[label], dict):
        return f"{label}={settings.choice(label)}"
    if label in ("device", "dtype") or (label == "engine" and settings.engine != "auto"):
        return f"{label}={getattr(settings, label)}"
    return None


def swept_keys(overrides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The keys in which jobs differ, in order of appearance, given the overrides of each job."""
    tables = [dict(map(split, of_job)) for of_job in overrides]
    keys = dict.fromkeys(key for table in tables for key in table)
    return tuple(key for key in keys if len({table.get(key) for table in tables}) > 1)


def value_of(job: Job, key: str) -> object:
    """A job's value for a swept key: the choice of a group, or the value in the configuration; None
    if the job has none.
    """
    node: object = job.settings.config
    if key == "experiment":
        return dict(map(split, job.overrides)).get(key)
    for name in key.replace("/", ".").split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node.get("name") if isinstance(node, dict) and "name" in node else node

"""The plan of a sweep: every job composed and checked before the first starts, numbered, hashed,
and grouped into populations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplab.errors import ConfigError
from mlplab.runs.resume_checks import result_config
from mlplab.settings import Settings, Tracking
from mlplab.sweeps.plan.grouping import (
    Group,
    Representatives,
    describe_differences,
    group,
    split_work,
)
from mlplab.sweeps.plan.memory import device_of, max_population, num_parameters, num_steps
from mlplab.training import PreparedMember

MANY = 100
"""Sweeps of more jobs write no pictures unless tracking is chosen."""


MIN_SHARED = 4
"""Populations are not cut smaller than this for the sake of several workers."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `hash` says what it computes; `number` is its folder below jobs/."""

    number: int
    hash: str
    settings: Settings

    @property
    def overrides(self) -> tuple[str, ...]:
        return self.settings.overrides


@dataclass(frozen=True)
class WorkUnit:
    """Jobs that train together: a population, or a part of one that is too large."""

    number: int
    population: int
    jobs: tuple[int, ...]  # numbers


@dataclass(frozen=True)
class Population:
    """A group of jobs as it is shown: what sets it apart, and its size."""

    number: int
    jobs: int
    describe_differences: str
    alone: str
    num_parameters: int
    num_steps: int


@dataclass(frozen=True)
class Options:
    """How a sweep goes about its jobs: the node `sweep` of the configuration."""

    fail_fast: bool = False
    retries: int = 0
    metric: str = "auto"
    workers: int = 1
    engine: str = "local"
    cluster: Mapping[str, Any] = field(default_factory=dict)
    detach: bool = False

    @classmethod
    def of(cls, sweep: Any) -> Options:
        """From the node `sweep`."""
        return cls(**{key.name: getattr(sweep, key.name) for key in dataclasses.fields(cls)})

    @property
    def alone(self) -> bool:
        """Whether this process does it all. A limit of time needs somebody beside the worker who
        keeps it.
        """
        return self.workers == 1 and self.engine == "local" and self.cluster.get("minutes") is None


@dataclass(frozen=True)
class Plan:
    """What plan.yaml holds.

    `keys` are the swept keys; `removed_jobs` are the jobs of an earlier plan that this one lacks.
    """

    name: str
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]
    pieces: tuple[WorkUnit, ...]
    populations: tuple[Population, ...]
    options: Options = field(default_factory=Options)
    typed: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    removed_jobs: Mapping[str, int] = field(default_factory=dict)  # hash -> number

    def job(self, number: int) -> Job:
        return self._by_number[number]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_number", {job.number: job for job in self.jobs})

    _by_number: dict[int, Job] = field(init=False, repr=False, compare=False, default_factory=dict)


def make(
    settings: Sequence[Settings],
    options: Options | None = None,
    typed: Sequence[str] = (),
    plugins: Sequence[str] = (),
    old: Plan | None = None,
) -> Plan:
    """Number, hash and group the jobs. The data is made once for each shape.

    Raises DataError or IncompatibleSettingsError, with the job, where settings do not fit.

    `old`: the plan that the folder has already. Its jobs keep their numbers and pieces; what is new
    comes behind them.
    """
    if not settings:
        raise ConfigError("This sweep has no jobs: nothing would be trained.")
    settings = _tracked(settings)
    known = {**old.removed_jobs, **{job.hash: job.number for job in old.jobs}} if old else {}
    fresh = iter(range(max(known.values(), default=-1) + 1, 1 << 60))
    jobs = [
        Job(known[h] if h in known else next(fresh), h, s)
        for h, s in zip(_hashes(settings), settings, strict=True)
    ]
    jobs.sort(key=lambda job: job.number)
    ready = _ready(jobs)
    groups = group(ready)
    return Plan(
        name=settings[0].name,
        keys=swept_keys([job.overrides for job in jobs]),
        jobs=tuple(jobs),
        pieces=tuple(_pieces(groups, jobs, ready, old, options.workers if options else 1)),
        populations=tuple(_populations(groups, jobs, ready)),
        options=options or Options(),
        typed=tuple(typed),
        plugins=tuple(plugins),
        removed_jobs={
            h: number for h, number in known.items() if h not in {job.hash for job in jobs}
        },
    )


def _tracked(settings: Sequence[Settings]) -> list[Settings]:
    """Many jobs are tracked by numbers alone, unless somebody asked for more."""
    if len(settings) <= MANY:
        return list(settings)
    return [
        (
            _by_numbers(s)
            if s.tracking.level == "full"
            and not any(word.lstrip("+").startswith("tracking=") for word in s.overrides)
            else s
        )
        for s in settings
    ]


def _by_numbers(settings: Settings) -> Settings:
    written: Any = settings.config.get("tracking")
    node = {key: value for key, value in (written or {}).items() if key.startswith("checkpoint_")}
    tracking = dataclasses.replace(
        settings.tracking, level="scalars", picture_share=Tracking().picture_share
    )
    return dataclasses.replace(
        settings,
        tracking=tracking,
        config={**settings.config, "tracking": {"name": "scalars", **node}},
    )


def _hashes(settings: Iterable[Settings]) -> list[str]:
    """One a job, of everything that decides its numbers; a job that is planned twice has a number
    behind its second hash.
    """
    seen: Counter[str] = Counter()
    hashes = []
    for s in settings:
        text = job_hash(s)
        seen[text] += 1
        hashes.append(text if seen[text] == 1 else f"{text}-{seen[text]}")
    return hashes


def job_hash(settings: Settings) -> str:
    """16 hexadecimal digits of the configuration, but for what changes no number."""
    own = result_config(settings.config)
    return hashlib.sha256(
        json.dumps(own, sort_keys=True, separators=(",", ":"), default=str).encode()
    ).hexdigest()[:16]


def _ready(jobs: Sequence[Job]) -> list[PreparedMember | None]:
    representatives = Representatives()
    found = []
    for job in jobs:
        try:
            found.append(representatives.ready(job.settings))
        except ValueError as error:
            words = " ".join(job.overrides)
            raise type(error)(
                f"{error} This is job {job.number}{f': {words}' if words else ''}."
            ) from error
    return found


def _pieces(
    groups: Sequence[Group],
    jobs: Sequence[Job],
    ready: Sequence[PreparedMember | None],
    old: Plan | None,
    workers: int,
) -> list[WorkUnit]:
    """The old plan's pieces as they were, then those of the jobs that have none; for several
    workers enough of them that all have work.
    """
    present = {job.number for job in jobs}
    group_of = {
        jobs[position].number: i for i, found in enumerate(groups) for position in found.positions
    }
    pieces: list[WorkUnit] = []
    for piece in old.pieces if old else ():
        if left := tuple(number for number in piece.jobs if number in present):
            pieces.append(WorkUnit(len(pieces), group_of[left[0]], left))
    placed = {number for piece in pieces for number in piece.jobs}
    for i, found in enumerate(groups):
        new = [position for position in found.positions if jobs[position].number not in placed]
        for positions in (
            split_work(new, _largest(found, ready), workers, MIN_SHARED) if new else ()
        ):
            pieces.append(
                WorkUnit(len(pieces), i, tuple(jobs[position].number for position in positions))
            )
    return pieces


def _largest(found: Group, ready: Sequence[PreparedMember | None]) -> int:
    member = ready[found.positions[0]]
    if found.alone or member is None:
        return 1
    shared = (
        len(
            {
                repr((other.settings.dataset, other.settings.seed))
                for p in found.positions
                if (other := ready[p])
            }
        )
        == 1
    )
    return max_population(member, device_of(member.settings), shared)


def _populations(
    groups: Sequence[Group], jobs: Sequence[Job], ready: Sequence[PreparedMember | None]
) -> list[Population]:
    def shown(label: str, position: int) -> str | None:
        return _as_typed(label, jobs[position].settings)

    return [
        Population(
            i, len(found.positions), words, found.alone, *_size([ready[p] for p in found.positions])
        )
        for i, (found, words) in enumerate(
            zip(groups, describe_differences(groups, shown), strict=True)
        )
    ]


def _size(members: Sequence[PreparedMember | None]) -> tuple[int, int]:
    """Parameters of a network and updates of the longest run; 0 where nothing is known."""
    known = [member for member in members if member is not None]
    return (num_parameters(known[0]), max(map(num_steps, known))) if known else (0, 0)


def _as_typed(label: str, settings: Settings) -> str | None:
    """The value of a label as the user would write it."""
    if label == "model.hidden":
        return (
            f"model.hidden={'-'.join(str(layer.units) for layer in settings.layers[:-1]) or '[]'}"
        )
    if label in settings.config and isinstance(settings.config[label], dict):
        return f"{label}={settings.choice(label)}"
    if label in ("device", "dtype"):
        return f"{label}={getattr(settings, label)}"
    return None


def swept_keys(overrides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The keys in which the jobs differ, in the order in which they are written."""
    values: dict[str, set[str | None]] = {}
    tables = [dict(_pair(word) for word in words) for words in overrides]
    for key in dict.fromkeys(key for table in tables for key in table):
        values[key] = {table.get(key) for table in tables}
    return tuple(key for key, found in values.items() if len(found) > 1)


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.lstrip("+").partition("=")
    return key, value


def value_of(job: Job, key: str) -> Any:
    """What a job has for a swept key: a group's word, or the value in its configuration; None where
    it has none.
    """
    node: Any = job.settings.config
    if key == "experiment":
        return dict(_pair(word) for word in job.overrides).get(key)
    for piece in key.replace("/", ".").split("."):
        node = node.get(piece) if isinstance(node, dict) else None
    return node.get("name") if isinstance(node, dict) and "name" in node else node

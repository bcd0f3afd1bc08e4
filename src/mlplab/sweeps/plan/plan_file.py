"""plan.yaml: the frozen jobs of a sweep, in the form that `runs.plan_text` describes.

Each job is hashed again when the file is read, so an edited or damaged plan is rejected.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config.builder import Builder
from mlplab.config.composition import Composed
from mlplab.config.provenance import Sources
from mlplab.errors import ConfigError
from mlplab.io.files import write_text_atomic, yaml_line, yaml_text
from mlplab.io.reading import reading
from mlplab.runs.plan_text import FORMAT, NAME, job_line, jobs_block, read_lines, read_tree
from mlplab.settings import Settings
from mlplab.sweeps.plan.changes import Bases, Changed
from mlplab.sweeps.plan.hashing import Hasher
from mlplab.sweeps.plan.plan import Job, Options, Plan, Population, RemovedJob, WorkUnit
from mlplab.sweeps.plan.tracked import FOLDERS, PACKED

_REMEDY = "Restore the file from a copy, or start the sweep in a new folder."


def write_plan(folder: Path, plan: Plan) -> None:
    """Write plan.yaml atomically."""
    write_text_atomic(folder / NAME, plan_text(plan), durable=True)


def plan_text(plan: Plan) -> str:
    """The plan as YAML: a readable summary, then the base configurations, then one line per job."""
    bases = Bases()
    lines = list(_job_lines(plan, bases))
    head = {
        "format": FORMAT,
        "name": plan.name,
        "overrides": list(plan.overrides),
        "plugins": list(plan.plugins),
        "config_dirs": list(plan.config_dirs),
        "swept": list(plan.keys),
        "options": dataclasses.asdict(plan.options),
    }
    return "".join(
        [
            (
                "# The jobs of this sweep, frozen before the first one started. `mlplab resume` on"
                " this folder finishes what is missing.\n"
            ),
            yaml_text(head),
            _block(
                "populations", [dataclasses.asdict(population) for population in plan.populations]
            ),
            _block(
                "work_units",
                [
                    {**dataclasses.asdict(unit), "jobs": ranges_text(unit.jobs)}
                    for unit in plan.work_units
                ],
            ),
            "bases:\n" if bases.configs else "bases: []\n",
            *(
                f"- {yaml_text(base).replace(chr(10), chr(10) + '  ').rstrip(' ')}"
                for base in bases.configs
            ),
            jobs_block(lines),
        ]
    )


def _block(key: str, rows: Sequence[Mapping[str, object]]) -> str:
    return (
        f"{key}:\n" + "".join(f"- {yaml_line(row)}\n" for row in rows) if rows else f"{key}: []\n"
    )


def _job_lines(plan: Plan, bases: Bases) -> Iterator[str]:
    for job in plan.jobs:
        base, changes = bases.changes(job.settings.config)
        yield job_line(job.number, job.hash, job.overrides, base, changes)
    for digest, removed in plan.removed_jobs.items():
        base, changes = bases.changes(removed.config)
        yield job_line(removed.number, digest, removed.overrides, base, changes, removed=True)


def ranges_text(numbers: Sequence[int]) -> str:
    """Return numbers in their order, such as "0-255, 300" for 256 in a row and one more."""
    return ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in ranges_of(numbers)
    )


def ranges_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of consecutive numbers, in their order."""
    runs = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return [(of_run[0][1], of_run[-1][1]) for of_run in (list(pairs) for _, pairs in runs)]


def read_ranges(text: object, known: Collection[int]) -> tuple[int, ...]:
    """Return the numbers that `ranges_text` wrote. Raises ValueError if one is not known."""
    one = r"\d{1,9}(-\d{1,9})?"
    if not isinstance(text, str) or not re.fullmatch(f"{one}(, {one})*", text, re.ASCII):
        raise ValueError(f"{text!r} is no list of jobs")
    numbers: list[int] = []
    for ends in text.split(", "):
        first, _, last = ends.partition("-")
        run = range(int(first), int(last or first) + 1)
        if not run or len(numbers) + len(run) > len(known):
            raise ValueError(f"{ends} is no range of its jobs")
        numbers += [_number(number, known) for number in run]
    return tuple(numbers)


def used_plugins(folder: Path) -> list[str]:
    """Paths of the plugin files that the sweep was started with; they are not loaded.

    Raises ConfigError if the folder has no readable plan.
    """
    path = folder / NAME
    raw = _load(path)
    with reading(path, _REMEDY):
        return list(_texts(raw["plugins"]))


def read_plan(folder: Path) -> Plan:
    """Read the plan of a sweep's folder.

    Raises ConfigError if it is missing or was edited, and DamagedFileError if it cannot be read.
    """
    path = folder / NAME
    raw = _load(path)
    with reading(path, _REMEDY):
        return _build_plan(raw, path)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            f"{path.parent} is not a sweep: it contains no {NAME}. `mlplab train -m` prints the"
            " folder of each sweep as its last line."
        )
    with reading(path, _REMEDY):
        raw = read_tree(path)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a plan of this version of mlplab (`format: {FORMAT}`).")
    return raw


def _build_plan(raw: Mapping[str, Any], path: Path) -> Plan:
    lines = read_lines(raw["jobs"])
    reader = _JobReader(raw["bases"], path)
    jobs = tuple([reader.job(line) for line in lines if not line.get("removed")])
    removed = dict([reader.removed_job(line) for line in lines if line.get("removed")])
    numbers = {job.number for job in jobs}
    return Plan(
        name=str(raw["name"]),
        keys=_texts(raw["swept"]),
        jobs=jobs,
        work_units=tuple(
            WorkUnit(
                _number(unit["number"]),
                _number(unit["population"]),
                read_ranges(unit["jobs"], numbers),
            )
            for unit in raw["work_units"]
        ),
        populations=tuple(map(_population, raw["populations"])),
        options=_options(raw["options"]),
        overrides=_texts(raw["overrides"]),
        plugins=_texts(raw["plugins"]),
        config_dirs=_texts(raw["config_dirs"]),
        removed_jobs=removed,
    )


class _JobReader:
    """Builds the jobs of a plan from their lines. Raises ConfigError if one does not match its
    hash.
    """

    def __init__(self, bases: Sequence[Mapping[str, Any]], path: Path) -> None:
        self._path = path
        self._changed, self._builder, self._hasher = Changed(bases), Builder(), Hasher()
        self._composed = Composed({})
        self._texts: dict[str, str] = {}  # overrides, which jobs share
        self._stored: dict[int, Any] = {}  # data sets as they are read back, by id of the one built

    def job(self, line: Mapping[str, Any]) -> Job:
        """The job of a line."""
        number, overrides, config = self._contents(line)
        settings = self._builder.build(
            dataclasses.replace(self._composed, config=config, sources=Sources(overrides))
        )
        digest = self._checked_hash(line, settings.config)
        return Job(number, digest, self._stored_settings(settings))

    def removed_job(self, line: Mapping[str, Any]) -> tuple[str, RemovedJob]:
        """The removed job of a line, after its hash; its settings are not built."""
        removed = RemovedJob(*self._contents(line))
        return self._checked_hash(line, removed.config), removed

    def _contents(self, line: Mapping[str, Any]) -> tuple[int, tuple[str, ...], dict[str, Any]]:
        """The number of a job, its overrides and its configuration."""
        overrides = [self._texts.setdefault(text, text) for text in map(str, line["overrides"])]
        config = self._changed.config(line["base"], line["set"])
        return _number(line["job"]), tuple(overrides), config

    def _checked_hash(self, line: Mapping[str, Any], config: Mapping[str, Any]) -> str:
        digest = str(line["hash"])
        if self._hasher.hash(config) != digest.partition("-")[0]:
            raise ConfigError(
                f"{self._path} was changed: job {line['job']} does not match its hash. Start the"
                " changed sweep in a new folder."
            )
        return digest

    def _stored_settings(self, settings: Settings) -> Settings:
        """The settings as read back from the folder; jobs keep sharing their data sets."""
        dataset, stored = settings.dataset, self._stored
        if id(dataset) not in stored:
            # the original is kept, so that its id stays its own
            stored[id(dataset)] = dataset, settings.stored_in(self._path.parent).dataset
        other = stored[id(dataset)][1]
        if other is dataset and settings.init_from is None:
            return settings
        return dataclasses.replace(settings, dataset=other, folder=self._path.parent)


def _number(value: object, known: Collection[int] | None = None) -> int:
    """A number of a job or a work unit: folders are named by it, and deleted, so that a text could
    lead out of the sweep.
    """
    if type(value) is not int or value < 0 or (known is not None and value not in known):
        raise ValueError(f"{value!r} is not a number of it")
    return value


def _population(raw: Mapping[str, Any]) -> Population:
    for name, value in raw.items():
        if name not in ("apart", "alone"):
            _number(value)
        elif not isinstance(value, str):
            raise ValueError(f"`{name}` of a population is {value!r}")
    return Population(**raw)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{value!r} is not a list of texts")
    return tuple(value)


def _options(raw: Mapping[str, Any]) -> Options:
    """The options, whose values are of the types of the defaults."""
    for name, default in dataclasses.asdict(Options()).items():
        types = {type(default)} if name != "threshold" else {type(None), int, float}
        if name in raw and type(raw[name]) not in types:
            raise ValueError(f"the option {name} is {raw[name]!r}")
    options = Options(**raw)
    if options.jobs not in (FOLDERS, PACKED):
        raise ValueError(f"the option jobs is {options.jobs!r}")
    return options

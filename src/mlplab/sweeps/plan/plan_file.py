"""plan.yaml: the frozen jobs of a sweep, one line each. A job is stored as its changes to one of a
few complete configurations (bases).

Each job is hashed again when the file is read, so an edited or damaged plan is rejected.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config.builder import build
from mlplab.config.composition import Composed
from mlplab.config.provenance import Sources
from mlplab.errors import ConfigError
from mlplab.io.files import parse_yaml, write_text_atomic, yaml_line, yaml_text
from mlplab.io.reading import reading
from mlplab.sweeps.plan.plan import Job, Options, Plan, Population, WorkUnit, job_hash
from mlplab.sweeps.plan.tracked import FOLDERS, PACKED

FORMAT = "mlplab-plan-1"
NAME = "plan.yaml"
_REMEDY = "Restore the file from a copy, or start the sweep in a new folder."


def write_plan(folder: Path, plan: Plan) -> None:
    """Write plan.yaml atomically."""
    write_text_atomic(folder / NAME, plan_text(plan), durable=True)


def plan_text(plan: Plan) -> str:
    """The plan as YAML: a readable summary, then the base configurations, then one line per job."""
    bases, lines = _bases_and_jobs(plan)
    head = {
        "format": FORMAT,
        "name": plan.name,
        "typed": list(plan.overrides),
        "plugins": list(plan.plugins),
        "dirs": list(plan.config_dirs),
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
            _block("pieces", [dataclasses.asdict(unit) for unit in plan.work_units]),
            _block(
                "vanished",
                [{"hash": h, "job": number} for h, number in plan.removed_jobs.items()],
            ),
            "bases:\n" if bases else "bases: []\n",
            *(
                f"- {yaml_text(base).replace(chr(10), chr(10) + '  ').rstrip(' ')}"
                for base in bases
            ),
            _block("jobs", lines),
        ]
    )


def _block(key: str, rows: Sequence[Mapping[str, object]]) -> str:
    return (
        f"{key}:\n" + "".join(f"- {yaml_line(row)}\n" for row in rows) if rows else f"{key}: []\n"
    )


def _bases_and_jobs(plan: Plan) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The base configurations, and the jobs as changes to them."""
    bases: list[dict[str, object]] = []
    lines = []
    for job in plan.jobs:
        config = job.settings.config
        matches = (
            (i, changes)
            for i in reversed(range(len(bases)))
            if (changes := _changes(bases[i], config)) is not None
        )
        base_index, changes = next(matches, (len(bases), {}))
        if base_index == len(bases):
            bases.append(config)
        lines.append(
            {
                "job": job.number,
                "hash": job.hash,
                "overrides": list(job.overrides),
                "base": base_index,
                "set": changes,
            }
        )
    return bases, lines


def _changes(base: Mapping[str, object], config: Mapping[str, object]) -> dict[str, object] | None:
    """The values of `config` that differ from `base`; None if their keys differ."""
    if base.keys() != config.keys():
        return None
    changes: dict[str, object] = {}
    for key, value in config.items():
        other = base[key]
        if isinstance(value, dict) and isinstance(other, dict):
            inner = _changes(other, value)
            if inner is None:
                return None
            if inner:
                changes[key] = inner
        elif isinstance(value, dict) or isinstance(other, dict):
            return None
        elif value != other or type(value) is not type(other) or isinstance(value, list):
            changes[key] = value
    return changes


def _apply_changes(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    config: dict[str, Any] = {key: copy.copy(value) for key, value in base.items()}
    for key, value in changes.items():
        config[key] = (
            _apply_changes(config[key], value)
            if isinstance(config.get(key), dict) and isinstance(value, dict)
            else value
        )
    return config


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
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a plan of this version of mlplab (`format: {FORMAT}`).")
    return raw


def _build_plan(raw: Mapping[str, Any], path: Path) -> Plan:
    settings = [
        build(
            Composed(
                _apply_changes(raw["bases"][line["base"]], line["set"]),
                sources=Sources(tuple(map(str, line["overrides"]))),
            )
        ).stored_in(path.parent)
        for line in raw["jobs"]
    ]
    jobs = tuple(
        Job(_number(line["job"]), str(line["hash"]), s)
        for line, s in zip(raw["jobs"], settings, strict=True)
    )
    for job in jobs:
        if job_hash(job.settings) != job.hash.partition("-")[0]:
            raise ConfigError(
                f"{path} was changed: job {job.number} does not match its hash. Start the"
                " changed sweep in a new folder."
            )
    numbers = {job.number for job in jobs}
    return Plan(
        name=str(raw["name"]),
        keys=_texts(raw["swept"]),
        jobs=jobs,
        work_units=tuple(
            WorkUnit(
                _number(unit["number"]),
                _number(unit["population"]),
                tuple(_number(job, numbers) for job in unit["jobs"]),
            )
            for unit in raw["pieces"]
        ),
        populations=tuple(map(_population, raw["populations"])),
        options=_options(raw["options"]),
        overrides=_texts(raw["typed"]),
        plugins=_texts(raw["plugins"]),
        config_dirs=_texts(raw.get("dirs") or []),  # older plans lack it
        removed_jobs={str(job["hash"]): _number(job["job"]) for job in raw["vanished"]},
    )


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
        if name in raw and type(raw[name]) is not type(default):
            raise ValueError(f"the option {name} is {raw[name]!r}")
    options = Options(**{"jobs": FOLDERS, **raw})  # older plans lack it
    if options.jobs not in (FOLDERS, PACKED):
        raise ValueError(f"the option jobs is {options.jobs!r}")
    return options

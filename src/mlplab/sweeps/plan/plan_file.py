"""plan.yaml: the frozen jobs of a sweep, a line each. A job is what it changes in one of a few
whole configurations.

Every job is hashed again when the file is read: a plan that was edited, or damaged, is refused.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlplab.config.batch_compose import build_many
from mlplab.config.composition import Composed
from mlplab.config.provenance import Sources
from mlplab.errors import ConfigError
from mlplab.io.files import parse_yaml, write_text_atomic, yaml_text
from mlplab.sweeps.plan.plan import Job, Options, Plan, Population, WorkUnit, job_hash

FORMAT = "mlplab-plan-1"
NAME = "plan.yaml"


def write_plan(folder: Path, plan: Plan) -> None:
    """Write plan.yaml, whole or not at all."""
    write_text_atomic(folder / NAME, plan_text(plan), durable=True)


def plan_text(plan: Plan) -> str:
    """The plan as YAML: what a person reads first, then the whole configurations, then a line a
    job.
    """
    bases, lines = _jobs(plan)
    head = {
        "format": FORMAT,
        "name": plan.name,
        "typed": list(plan.typed),
        "plugins": list(plan.plugins),
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
            _block("pieces", [dataclasses.asdict(piece) for piece in plan.pieces]),
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


def _block(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{key}:\n" + "".join(f"- {_flow(row)}\n" for row in rows) if rows else f"{key}: []\n"


def _flow(value: Any) -> str:
    """One line of YAML, which for all but floats is JSON: YAML 1.1 wants a point and a signed
    exponent in a float.
    """
    if isinstance(value, float):
        text = repr(value)
        return (
            text
            if "." in text or "n" in text
            else text.replace("e", ".0e")
            if "e" in text
            else text + ".0"
        )
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{json.dumps(str(key))}: {_flow(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=True)


def _jobs(plan: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The whole configurations, and the jobs as changes of them."""
    bases: list[dict[str, Any]] = []
    lines = []
    for job in plan.jobs:
        config = job.settings.config
        found = (
            (i, changes)
            for i in reversed(range(len(bases)))
            if (changes := _changes(bases[i], config)) is not None
        )
        place, changes = next(found, (len(bases), {}))
        if place == len(bases):
            bases.append(config)
        lines.append(
            {
                "job": job.number,
                "hash": job.hash,
                "overrides": list(job.overrides),
                "base": place,
                "set": changes,
            }
        )
    return bases, lines


def _changes(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What makes the one of the other, by key; None where their keys differ."""
    if base.keys() != config.keys():
        return None
    changes: dict[str, Any] = {}
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


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    config = {
        key: dict(value) if isinstance(value, dict) else copy.copy(value)
        for key, value in base.items()
    }
    for key, value in changes.items():
        config[key] = (
            _changed(config[key], value)
            if isinstance(config.get(key), dict) and isinstance(value, dict)
            else value
        )
    return config


def used_plugins(folder: Path) -> list[str]:
    """The files of parts that the sweep was started with: named, not loaded."""
    raw = _raw(folder / NAME)
    return [str(path) for path in raw.get("plugins") or []]


def read_plan(folder: Path) -> Plan:
    """The plan of a sweep's folder. Raises ConfigError where there is none, or it was changed."""
    path = folder / NAME
    raw = _raw(path)
    try:
        return _plan(raw, path)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged and cannot be read: {type(error).__name__}: {error}"
        ) from error


def _raw(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            f"{path.parent} holds no sweep: there is no {NAME} in it. `mlplab train -m` prints the"
            " folder of each sweep as its last line."
        )
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged and cannot be read: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a plan of this version of mlplab (`format: {FORMAT}`).")
    return raw


def _plan(raw: Mapping[str, Any], path: Path) -> Plan:
    configs = [_changed(raw["bases"][line["base"]], line["set"]) for line in raw["jobs"]]
    words = [tuple(str(word) for word in line["overrides"]) for line in raw["jobs"]]
    settings = build_many(
        [
            Composed(config, sources=Sources(typed))
            for config, typed in zip(configs, words, strict=True)
        ]
    )
    jobs = tuple(
        Job(int(line["job"]), str(line["hash"]), s)
        for line, s in zip(raw["jobs"], settings, strict=True)
    )
    for job in jobs:
        if job_hash(job.settings) != job.hash.partition("-")[0]:
            raise ConfigError(
                f"{path} was changed: job {job.number} is not what its hash says. Start the changed"
                " sweep in a folder of its own."
            )
    return Plan(
        name=str(raw["name"]),
        keys=tuple(raw["swept"]),
        jobs=jobs,
        pieces=tuple(
            WorkUnit(p["number"], p["population"], tuple(p["jobs"])) for p in raw["pieces"]
        ),
        populations=tuple(Population(**p) for p in raw["populations"]),
        options=Options(**raw["options"]),
        typed=tuple(raw["typed"]),
        plugins=tuple(raw["plugins"]),
        removed_jobs={str(v["hash"]): int(v["job"]) for v in raw["vanished"]},
    )

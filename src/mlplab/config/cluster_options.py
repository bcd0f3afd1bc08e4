"""The node `sweep.cluster`: the options of each engine that runs workers, checked before anything
starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplab.config.suggestions import did_you_mean, shown
from mlplab.errors import ConfigError, FieldError
from mlplab.schema import Component, anything, integer, number, rules, text


@dataclass(frozen=True)
class Local(Component):
    """Processes of this machine."""

    minutes: float | None = number(
        None,
        "time limit for finishing one job; a worker that exceeds it is asked to save and exit, then"
        " killed and replaced",
        above=0,
        optional=True,
    )


@dataclass(frozen=True)
class Slurm(Component):
    """The tasks of a job array."""

    partition: str | None = text(None, "partition of the cluster", optional=True)
    account: str | None = text(None, "account that is charged", optional=True)
    qos: str | None = text(None, "quality of service", optional=True)
    minutes: int = integer(
        60, "time limit of a worker's job, after which it is queued again", at_least=1
    )
    cpus: int = integer(1, "cores and threads per worker", at_least=1)
    gpus: int = integer(0, "whole GPUs per worker", at_least=0)
    memory_gb: int | None = integer(None, "memory per worker in GB", at_least=1, optional=True)
    extra: Mapping[str, object] = anything({}, "further options of sbatch by name")

    def check(self) -> None:
        for key in ("partition", "account", "qos"):
            _check_line(key, getattr(self, key))
        _check_extra(self.extra, _REFUSED_SBATCH_OPTIONS)


@dataclass(frozen=True)
class Ray(Component):
    """Tasks of a Ray instance or cluster."""

    address: str | None = text(
        None, "HOST:PORT of a cluster; null starts an instance for this sweep", optional=True
    )
    cpus: float = number(1, "cores per worker", at_least=0)
    gpus: float = number(
        0, "GPUs per worker; a fraction below 1 lets several workers share one", at_least=0
    )
    extra: Mapping[str, object] = anything({}, "further options of a Ray task by name")

    def check(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise FieldError(
                "gpus", self.gpus, "is not an integer: a worker can use a fraction of only one GPU"
            )
        _check_extra(self.extra, _REFUSED_RAY_OPTIONS)


ENGINES: dict[str, type[Component]] = {"local": Local, "slurm": Slurm, "ray": Ray}


def options(engine: str, values: Mapping[str, object]) -> Any:
    """Return `sweep.cluster` of an engine with defaults filled in: a Local, Slurm or Ray.

    Raises ConfigError for options that the engine does not accept.
    """
    engine_rules = rules(ENGINES[engine])
    for key, value in values.items():
        if key not in engine_rules:
            raise ConfigError(
                f"`sweep.cluster.{key}` is unknown to sweep.engine={engine}."
                f" {did_you_mean(str(key), engine_rules)}It has {', '.join(engine_rules)}."
            )
        if engine == "slurm" and key == "gpus" and isinstance(value, float) and value != int(value):
            raise ConfigError(
                f"`sweep.cluster.gpus = {shown(value)}` is a fraction of a GPU, but a worker on"
                " Slurm needs whole GPUs: gpus: 1, or more. sweep.engine=ray accepts fractions."
            )
    try:
        return ENGINES[engine](**values)
    except FieldError as error:
        rule = engine_rules.get(error.key)
        meaning = f" {error.key}: {rule.meaning}." if rule is not None else ""
        raise ConfigError(
            f"`sweep.cluster.{error.key} = {shown(error.value)}` of sweep.engine={engine}"
            f" {error.reason.rstrip('.')}.{meaning}"
        ) from error


# These set up an environment or name a program, and nothing in a configuration may run code.
_REFUSED_SBATCH_OPTIONS = (
    "export",
    "export-file",
    "get-user-env",
    "wrap",
    "bb",
    "bbf",
    "uid",
    "gid",
    "container",
)
_REFUSED_RAY_OPTIONS = ("runtime-env",)


def _check_extra(extra: Mapping[str, object], refused: Sequence[str]) -> None:
    if not isinstance(extra, Mapping):
        raise FieldError("extra", extra, "is not a mapping of options to their values")
    for key, value in extra.items():
        if not re.fullmatch(r"[A-Za-z][\w-]*", str(key)):
            raise FieldError("extra", key, "is not the name of an option")
        # sbatch accepts unique abbreviations, such as wra for wrap
        if any(name.startswith(str(key).replace("_", "-")) for name in refused):
            raise FieldError(
                f"extra.{key}",
                value,
                "could run code, which nothing in a configuration may do; set it in the shell that"
                " runs the command",
            )
        _check_line(f"extra.{key}", value)


def _check_line(key: str, value: object) -> None:
    """Refuse control characters: in a batch script, a second line would be a command."""
    if any(ord(character) < 32 or ord(character) == 127 for character in str(value)):
        raise FieldError(key, value, "has more than one line or contains control characters")

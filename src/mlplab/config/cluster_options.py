"""The node `sweep.cluster`: what each engine may be told of the place where workers run, checked
before anything starts.
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
        "a worker that ends no job for so long is asked to save and leave, then killed, and"
        " replaced",
        above=0,
        optional=True,
    )


@dataclass(frozen=True)
class Slurm(Component):
    """The tasks of a job array."""

    partition: str | None = text(None, "of the cluster", optional=True)
    account: str | None = text(None, "that is charged", optional=True)
    qos: str | None = text(None, "quality of service", optional=True)
    minutes: int = integer(
        60, "the time limit of a worker's job, after which it is queued again", at_least=1
    )
    cpus: int = integer(1, "cores, and threads, of a worker", at_least=1)
    gpus: int = integer(0, "GPUs of a worker, whole ones", at_least=0)
    memory_gb: int | None = integer(None, "memory of a worker in GB", at_least=1, optional=True)
    extra: Any = anything({}, "further options of sbatch by their names")

    def check(self) -> None:
        for key in ("partition", "account", "qos"):
            _check_line(key, getattr(self, key))
        _check_extra(self.extra, _NO_SBATCH)


@dataclass(frozen=True)
class Ray(Component):
    """Tasks of a Ray instance or cluster."""

    address: str | None = text(
        None, "HOST:PORT of a cluster; null starts an instance of this sweep's own", optional=True
    )
    cpus: float = number(1, "cores of a worker", at_least=0)
    gpus: float = number(
        0, "GPUs of a worker; a share below 1 lets several workers have one", at_least=0
    )
    extra: Any = anything({}, "further options of a Ray task by their names")

    def check(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise FieldError(
                "gpus", self.gpus, "is not a whole number: only a share below 1 of a GPU can be had"
            )
        _check_extra(self.extra, _NO_RAY)


ENGINES: dict[str, type[Component]] = {"local": Local, "slurm": Slurm, "ray": Ray}


def options(engine: str, given: Mapping[str, Any]) -> Any:
    """`sweep.cluster` of an engine with its defaults: a Local, Slurm or Ray. Raises ConfigError for
    what the engine does not take.
    """
    known = rules(ENGINES[engine])
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f"`sweep.cluster.{key}` is unknown to sweep.engine={engine}."
                f" {did_you_mean(str(key), known)}It has {', '.join(known)}."
            )
        if engine == "slurm" and key == "gpus" and isinstance(value, float) and value != int(value):
            raise ConfigError(
                f"`sweep.cluster.gpus = {shown(value)}` is a share of a GPU, and a worker on Slurm"
                " has whole ones: gpus: 1, or more. sweep.engine=ray takes shares."
            )
    try:
        return ENGINES[engine](**given)
    except FieldError as error:
        rule = known.get(error.key)
        meaning = f" {error.key}: {rule.meaning}." if rule is not None else ""
        raise ConfigError(
            f"`sweep.cluster.{error.key} = {shown(error.value)}` of sweep.engine={engine}"
            f" {error.reason.rstrip('.')}.{meaning}"
        ) from error


_NO_SBATCH = (
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
_NO_RAY = ("runtime_env", "runtime-env")
"""What sets up an environment or names a program: nothing in a configuration runs code."""


def _check_extra(extra: object, refused: Sequence[str]) -> None:
    if not isinstance(extra, Mapping):
        raise FieldError("extra", extra, "is not a mapping of options to their values")
    for key, value in extra.items():
        if not re.fullmatch(r"[A-Za-z][\w-]*", str(key)):
            raise FieldError("extra", key, "is not the name of an option")
        if str(key) in refused:
            raise FieldError(
                f"extra.{key}",
                value,
                "could run code, and nothing in a configuration does; set it in the shell of the"
                " command",
            )
        _check_line(f"extra.{key}", value)


def _check_line(key: str, value: object) -> None:
    """These become lines of a script, in which a second line would be a command."""
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in str(value)):
        raise FieldError(key, value, "has more than one line, or signs that cannot be printed")

"""Engines that run the workers of a sweep: processes on this machine, Slurm, or Ray, which is
imported only when it is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mlplab.config import cluster_options
from mlplab.errors import IncompatibleSettingsError
from mlplab.extras import require

SLURM_COMMANDS = ("sbatch", "scontrol", "scancel")


class Handle(Protocol):
    """A worker that was started."""

    name: str

    def ended(self) -> str | None:
        """How the worker ended, as reported by the engine; None while it waits or works."""

    def stop(self) -> None:
        """Ask the worker to save a checkpoint and exit."""


class Engine(Protocol):
    """Starts workers."""

    pause: float  # seconds between two checks of the workers

    def start(
        self, commands: Sequence[Sequence[str]], first: int, threads: int
    ) -> Sequence[Handle]:
        """Start a worker for each command line of `mlplab work`, numbered from `first`. They start
        together if the engine supports it, as Slurm does with arrays. Returns their handles.
        """

    def close(self) -> None:
        """Release the engine's resources. The workers have been stopped before."""


def need(engine: str) -> None:
    """Check that what the engine needs is installed.

    Raises MissingExtraError without Ray, and IncompatibleSettingsError without Slurm's client.
    """
    if engine == "ray":
        require("sweep.engine=ray", "ray", "ray")
    absent = [name for name in SLURM_COMMANDS if shutil.which(name) is None]
    if engine == "slurm" and absent:
        raise IncompatibleSettingsError(
            f"sweep.engine=slurm needs the commands of Slurm, and {', '.join(absent)} cannot be"
            " found in PATH: run mlplab on a login node of the cluster. Without it: sweep.workers=2"
            " trains with several processes."
        )


def make_engine(name: str, cluster: Mapping[str, object], folder: Path) -> Engine:
    """Return the engine of that name with the options of `sweep.cluster`.

    Raises ConfigError for invalid options, and the errors of `need`.
    """
    need(name)
    options = cluster_options.options(name, cluster)
    if name == "slurm":
        from mlplab.sweeps.execution.engines.slurm import Slurm

        return Slurm(options, folder)
    if name == "ray":
        from mlplab.sweeps.execution.engines.ray import Ray

        return Ray(options, folder)
    from mlplab.sweeps.execution.engines.local import Local

    return Local(options, folder)

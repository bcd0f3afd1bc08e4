"""Where the workers of a sweep run: processes of this machine, Slurm, or Ray. The core imports
neither submitit nor Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mlplab.config import cluster_options
from mlplab.extras import require

PACKAGES = {"slurm": "submitit", "ray": "ray"}


class Handle(Protocol):
    """One worker that was started."""

    name: str

    def ended(self) -> str | None:
        """How it ended, in the words of the engine; None while it waits or works."""

    def stop(self) -> None:
        """Ask it to save what it has and leave."""


class Engine(Protocol):
    """Starts workers."""

    pause: float  # seconds between two looks at them

    def start(
        self, commands: Sequence[Sequence[str]], first: int, threads: int
    ) -> Sequence[Handle]:
        """Run command lines of `mlplab work`, those of the workers `first` and on; together where
        the engine has a way to, as Slurm has arrays.
        """

    def close(self) -> None:
        """Give back what the engine holds itself. Its workers are told before."""


def need(engine: str) -> None:
    """Raise MissingExtraError where the engine's package is not installed."""
    if engine in PACKAGES:
        require(f"sweep.engine={engine}", engine, PACKAGES[engine])


def make(engine: str, given: Mapping[str, Any], folder: Path) -> Engine:
    """The engine of that name. Raises ConfigError."""
    need(engine)
    own = cluster_options.options(engine, given)
    if engine == "slurm":
        from mlplab.sweeps.execution.engines.slurm import Slurm

        return Slurm(own, folder)
    if engine == "ray":
        from mlplab.sweeps.execution.engines.ray import Ray

        return Ray(own, folder)
    from mlplab.sweeps.execution.engines.local import Local

    return Local(own, folder)

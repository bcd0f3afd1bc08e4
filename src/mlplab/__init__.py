"""mlplab: a laboratory for feed-forward neural networks.

    import mlplab
    run = mlplab.run(["experiment=radial_6_6", "seed=3"])
    run.metrics["test/accuracy"], run.history["val/loss"], run.module(), run.predict(x)
    table = mlplab.sweep(["experiment=xor_mlp", "optimizer.lr=0.01,0.03", "seed=range(64)"])
    run = mlplab.load("outputs/runs/...")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from mlplab.runs.run import Run

__all__ = ["load", "run", "sweep"]


def run(overrides: Sequence[str] = (), folder: str | Path | None = None, quiet: bool = True) -> Run:
    """Train what the words say, as `mlplab train` does, and return the run; its folder is `folder`,
    or a new one below outputs/.

    Raises mlplab.config.ConfigError, or another ValueError, for input that is refused.
    """
    from mlplab import experiment
    from mlplab.config.builder import build
    from mlplab.config.composition import compose

    composed = compose(overrides)
    place = folder if folder is not None else composed.run_dir
    return experiment.run(build(composed), Path(place) if place is not None else None, quiet=quiet)


def sweep(
    overrides: Sequence[str] = (), folder: str | Path | None = None, quiet: bool = True
) -> DataFrame:
    """Train every job that the words say, as `mlplab train -m` does, and return a DataFrame, a row
    a job: job, status, swept keys, metrics.

    The sweep's folder is `folder`, or a new one below outputs/; `table.attrs["folder"]` tells it.
    In a folder that has the same sweep already only what is missing is trained. Raises
    mlplab.config.ConfigError, or another ValueError, for input that is refused, and
    KeyboardInterrupt where it was interrupted.
    """
    from mlplab.sweeps import hydra_task

    return hydra_task.to_frame(overrides, None if folder is None else Path(folder), quiet)


def load(folder: str | Path) -> Run:
    """A run from its folder: configuration, metrics, history and network. Nothing in the folder is
    executed.
    """
    from mlplab.runs.run import load as load_run

    return load_run(folder)

"""mlplab: a laboratory for feed-forward neural networks.

    import mlplab
    run = mlplab.run(["experiment=radial_6_6", "seed=3"])
    run.metrics["test/accuracy"], run.history["val/loss"], run.module(), run.predict(x)
    table = mlplab.sweep(["experiment=xor_mlp", "optimizer.lr=0.01,0.03", "seed=range(64)"])
    run = mlplab.load("outputs/runs/...")

Heavy packages are imported only when they are used.
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
    """Train the run that the overrides describe, as `mlplab train` does, and return it. It is saved
    in `folder`, or in a new folder in outputs/.

    Raises mlplab.errors.MlplabError for input that is refused.
    """
    from mlplab import experiment
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer

    composed = Composer(overrides).compose_run()
    run_dir = folder if folder is not None else composed.run_dir
    return experiment.run(
        build(composed), Path(run_dir) if run_dir is not None else None, quiet=quiet
    )


def sweep(
    overrides: Sequence[str] = (), folder: str | Path | None = None, quiet: bool = True
) -> DataFrame:
    """Train every job that the overrides describe, as `mlplab train -m` does, and return a
    DataFrame with one row per job: job, status, swept keys, metrics.

    The sweep is saved in `folder`, or in a new folder in outputs/, which is also the value of
    `table.attrs["folder"]`. If the folder already contains the same sweep, only its missing jobs
    are trained. Raises mlplab.errors.MlplabError for input that is refused, and
    KeyboardInterrupt if the sweep was interrupted.
    """
    from mlplab.sweeps.run_sweep import to_frame

    return to_frame(overrides, None if folder is None else Path(folder), quiet)


def load(folder: str | Path) -> Run:
    """Load a run from its folder: configuration, metrics, history and network. No code from the
    folder is executed.

    Raises mlplab.errors.MlplabError if the folder contains no run, or a damaged one.
    """
    from mlplab.runs.run import load as load_run

    return load_run(folder)

"""A sweep as a command line or `mlplab.sweep` requests it: its jobs, composed and checked before
any folder is created.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config.batch_compose import Composer
from mlplab.config.builder import build
from mlplab.config.expand import expand
from mlplab.extras import require
from mlplab.sweeps import run_sweep
from mlplab.sweeps.plan.plan import Options, Plan
from mlplab.sweeps.report import results as reporting
from mlplab.sweeps.run_sweep import Sweep

if TYPE_CHECKING:
    from pandas import DataFrame

    from mlplab.training import Callback


class SweepRequest:
    """The jobs of a command line. Raises ConfigError if anything is wrong with any of them."""

    def __init__(self, composer: Composer, plugin_files: Sequence[str] = ()) -> None:
        self.composer, self.plugin_files = composer, tuple(plugin_files)
        self.jobs = expand(composer)
        composed = [composer.compose(job) for job in self.jobs]
        self.settings = [build(one) for one in composed]
        self.first = composed[0]
        if any("${" in line for line in composer.fixed):  # may use values of the first job
            self.first = composer.compose_alone((*self.jobs[0], *composer.fixed))
        self.options = Options.of(self.first.sweep)

    def write_plan(self, folder: Path) -> Plan:
        """Write the jobs to the folder's plan.yaml and return the plan."""
        return run_sweep.write_sweep_plan(
            folder, self.settings, self.options, self.composer.overrides, self.plugin_files
        )

    def run(self, folder: Path, quiet: bool = False, callbacks: Sequence[Callback] = ()) -> Sweep:
        """Train all jobs in a folder, which may already hold some of them."""
        run_sweep.check_callbacks(self.options, callbacks)
        return run_sweep.train(self.write_plan(folder), folder, quiet, callbacks)


def to_frame(
    overrides: Sequence[str],
    folder: Path | None,
    quiet: bool,
    callbacks: Sequence[Callback] = (),
) -> DataFrame:
    """Train the sweep of these overrides and return its results as a table.

    Raises KeyboardInterrupt if the sweep was interrupted.
    """
    # before hours of training
    require("mlplab.sweep, which returns a DataFrame,", "sweep", "pandas")
    request = SweepRequest(Composer(overrides))
    folder = folder or Path(str(request.first.sweep_dir))
    sweep = request.run(folder, quiet, callbacks)
    if sweep.status == "interrupted":
        raise KeyboardInterrupt
    table = reporting.to_frame(sweep.results)
    table.attrs["folder"] = str(folder)
    return table

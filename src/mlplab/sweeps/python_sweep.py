"""A sweep that is started from Python: it prints its results on request, and returns a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config.composer import Composer
from mlplab.extras import require
from mlplab.sweeps.report.text_table import print_table
from mlplab.sweeps.run_sweep import Sweep, SweepRequest
from mlplab.terminal.output import say
from mlplab.training import Callback

if TYPE_CHECKING:
    from mlplab.sweeps.report.frame import SweepFrame


def to_frame(
    overrides: Sequence[str],
    folder: Path | None,
    quiet: bool,
    callbacks: Sequence[Callback] = (),
) -> SweepFrame:
    """Train the sweep of these overrides and return its results as a table.

    Raises KeyboardInterrupt if the sweep was interrupted.
    """
    # before hours of training
    require("mlplab.sweep, which returns a DataFrame,", "sweep", "pandas")
    from mlplab.sweeps.report.frame import SweepFrame

    request = SweepRequest(Composer(overrides))
    folder = folder or Path(str(request.first.sweep_dir))
    sweep = request.run(folder, quiet, callbacks)
    if sweep.status == "interrupted":
        raise KeyboardInterrupt
    if not quiet:
        print_results(sweep)
    return SweepFrame.of(sweep.results, sweep.conclusions)


def print_results(sweep: Sweep) -> None:
    """Print the metrics over the folds of a cross-validation, or else the configurations."""
    for line in sweep.cross_validation_lines:
        say(line, sys.stdout, strict=True)
    if not sweep.cross_validation_lines:
        print_table(sweep.results, conclusions=sweep.conclusions)

"""The run that Python gets: one that draws its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlplab.pictures.rendering.plots import Plots
from mlplab.runs import run as runs


@dataclass(frozen=True, repr=False)
class Run(runs.Run):
    """One finished run, as `mlplab.run`, `mlplab.fit` and `mlplab.load` return it.

    A notebook shows its metrics, curves and decision. `plot` draws its pictures.
    """

    @classmethod
    def of(cls, run: runs.Run) -> Run:
        """Return the same run with `plot`."""
        return cls(run.folder, run.settings, run.summary, run.history, run.model)

    @cached_property
    def plot(self) -> Plots:
        """The pictures of the run as matplotlib figures: `run.plot.decision()`; see `Plots`."""
        return Plots(self)

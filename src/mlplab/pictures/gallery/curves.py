"""The progress of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats, color
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, figure, headline, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLITS = ("train", "val")


@picture()
def curves(study: Study, frame: int) -> Figure | None:
    """Loss and metric of the train and validation splits over the epochs, with the best epoch."""
    history = study.history
    if not len(history):
        return None
    fig = figure(9.4, 4.1, bottom=0.7, top=0.5)
    panels = fig.subplots(1, 2)
    for axes, metric in zip(
        panels, ("loss", "accuracy" if study.classifies else "rmse"), strict=True
    ):
        for i, split in enumerate(SPLITS):
            if f"{split}/{metric}" in history.names:
                values = history[f"{split}/{metric}"]
                axes.plot(
                    history.epoch,
                    values,
                    color=color(i),
                    linestyle="-" if i == 0 else "--",
                    label=split,
                    linewidth=1.6,
                )
        _limits(
            axes,
            metric,
            [history[f"{s}/{metric}"] for s in SPLITS if f"{s}/{metric}" in history.names],
        )
        best = int(study.frames.epoch[study.best_frame])
        axes.axvline(best, color=INK, linewidth=0.9, linestyle=":", label=f"best epoch, {best}")
        axes.set(xlabel="epoch", ylabel=metric)
        faint_grid(axes)
    panels[0].legend(loc="best")
    headline(
        fig,
        f"{study.settings.name}: loss and"
        f" {'accuracy' if study.classifies else 'root mean squared error'} during the training",
    )
    return fig


def _limits(axes: Axes, metric: str, columns: list[Floats]) -> None:
    """Use a logarithmic axis if the values span a factor of more than 50."""
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if metric == "accuracy":
        axes.set_ylim(min(0.98 * float(values.min(initial=1.0)), 0.95), 1.01)
    elif len(values) and values.min() > 0 and values.max() / values.min() > 50:
        logarithmic(axes)

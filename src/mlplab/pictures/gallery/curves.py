"""The progress of the training."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats, color
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, figure, headline, logarithmic

LINE_STYLES = {
    "train": {"color": color(0), "linestyle": "-"},
    "val": {"color": color(1), "linestyle": "--"},
}


@picture(applies=lambda study: study.has_network and len(study.history) > 0)
def curves(study: Study, frame: int) -> Figure:
    """Loss and metric of the train and validation splits over the epochs, with the best epoch."""
    history = study.history
    fig = figure(9.4, 4.1, bottom=0.7, top=0.5)
    panels = fig.subplots(1, 2)
    for axes, metric in zip(
        panels, ("loss", "accuracy" if study.classifies else "rmse"), strict=True
    ):
        columns = {
            split: history[f"{split}/{metric}"]
            for split in LINE_STYLES
            if f"{split}/{metric}" in history.names
        }
        for split, values in columns.items():
            axes.plot(history.epoch, values, label=split, linewidth=1.6, **LINE_STYLES[split])
        _limits(axes, metric, list(columns.values()))
        best = int(study.frames.epoch[study.best_frame])
        axes.axvline(best, color=INK, linewidth=0.9, linestyle=":", label=f"best epoch, {best}")
        axes.set(xlabel="epoch", ylabel=metric)
        faint_grid(axes)
    panels[0].legend(loc="best")
    return headline(
        fig,
        f"{study.settings.name}: loss and"
        f" {'accuracy' if study.classifies else 'root mean squared error'} during the training",
    )


def _limits(axes: Axes, metric: str, columns: list[Floats]) -> None:
    """Use a logarithmic axis if the values span a factor of more than 50."""
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if metric == "accuracy":
        axes.set_ylim(min(0.98 * float(values.min(initial=1.0)), 0.95), 1.01)
    elif len(values) and values.min() > 0 and values.max() / values.min() > 50:
        logarithmic(axes)

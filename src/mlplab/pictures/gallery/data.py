"""The examples of the data set."""

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.colors import color
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import (
    class_legend,
    example_count,
    scatter_classes,
    scatter_values,
    set_plane_axes,
    value_limits,
)
from mlplab.pictures.study import Study
from mlplab.pictures.style import figure, headline


@picture()
def data(study: Study, frame: int) -> Figure:
    """The examples of the train, validation and test splits, side by side."""
    fig = figure(2.7 * len(study.splits) + 1.9, 3.9, right=1.3)
    panels = np.atleast_1d(fig.subplots(1, len(study.splits), sharex=True, sharey=True))
    for axes, split in zip(panels, study.splits, strict=True):
        points = study.points(split)
        positions = study.positions(points)
        set_plane_axes(axes, study)
        if study.classifies:
            if study.plane.dimensions == 1:
                jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(positions))
                positions = np.column_stack([positions[:, 0], points.y + jitter])
                axes.set_ylabel("class")
            scatter_classes(axes, study, positions, points.y.astype(np.int64))
        elif study.plane.dimensions == 1:
            for target, name in enumerate(study.prepared.target_names[:4]):
                axes.plot(
                    positions[:, 0],
                    points.y[:, target],
                    ".",
                    markersize=4,
                    color=color(target),
                    label=name,
                )
            axes.set_ylabel(
                study.prepared.target_names[0]
                if len(study.prepared.target_names) == 1
                else "targets"
            )
        else:
            shown = scatter_values(
                axes,
                positions,
                points.y[:, 0].astype(float),
                value_limits(study.points("train").y[:, 0].astype(float)),
            )
        axes.set_title(f"{split}: {example_count(points)}")
    if study.classifies:
        class_legend(panels[-1], study)
    elif study.plane.dimensions == 2:
        fig.colorbar(shown, ax=panels.tolist(), label=study.prepared.target_names[0], shrink=0.85)
    elif len(study.prepared.target_names) > 1:
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return headline(
        fig,
        f"{study.settings.name}: the data",
        study.plane.note,
        ""
        if study.classifies or len(study.prepared.target_names) == 1 or study.plane.dimensions == 1
        else "colored by the first target",
    )

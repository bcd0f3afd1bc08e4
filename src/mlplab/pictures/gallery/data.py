"""The examples themselves."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.colors import color
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import (
    frame_plane,
    legend_of_classes,
    number_shown,
    scatter_classes,
    scatter_values,
    value_limits,
)
from mlplab.pictures.study import Study
from mlplab.pictures.style import figure, headline


@picture()
def data(study: Study, frame: int) -> Figure | None:
    """The examples of the train, validation and test parts, side by side."""
    drawn = figure(3.3 * len(study.parts) + 1.9, 4.2, right=1.3)
    panels = np.atleast_1d(drawn.subplots(1, len(study.parts), sharex=True, sharey=True))
    limits = None if study.classifies else value_limits(study.points("train").y[:, 0].astype(float))
    for axes, part in zip(panels, study.parts, strict=True):
        points = study.points(part)
        places = study.plane.place(points.x)
        frame_plane(axes, study)
        if study.classifies:
            if study.plane.dimensions == 1:
                jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(places))
                places = np.column_stack([places[:, 0], points.y + jitter])
                axes.set_ylabel("class")
            scatter_classes(axes, study, places, points.y.astype(np.int64))
        elif study.plane.dimensions == 1:
            for target, name in enumerate(study.prepared.target_names[:4]):
                axes.plot(
                    places[:, 0],
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
            assert limits is not None
            shown = scatter_values(axes, places, points.y[:, 0].astype(float), limits)
        axes.set_title(f"{part}: {number_shown(points)}")
    if study.classifies:
        legend_of_classes(panels[-1], study)
    elif study.plane.dimensions == 2:
        drawn.colorbar(shown, ax=panels.tolist(), label=study.prepared.target_names[0], shrink=0.85)
    elif len(study.prepared.target_names) > 1:
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    more = (
        ""
        if study.classifies or len(study.prepared.target_names) == 1 or study.plane.dimensions == 1
        else "colored by the first target"
    )
    headline(drawn, f"The data of {study.settings.name}", study.plane.said, more)
    return drawn

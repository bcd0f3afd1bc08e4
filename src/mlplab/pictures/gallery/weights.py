"""The weights of the first layer as images, if the features are the pixels of an image."""

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats
from mlplab.pictures.images import image_side
from mlplab.pictures.registry import picture
from mlplab.pictures.study import Study
from mlplab.pictures.style import DIVERGING, SOFT, figure, headline

MAX_UNITS = 32
COLUMNS, FEW = 8, 5  # images in a row, also if they fill at most two rows
SIZE = 1.05  # of an image, in inches


@picture(applies=lambda study: study.has_network)
def weights(study: Study, frame: int) -> Figure | None:
    """The weights of the units of the first layer as images: what each of them looks for."""
    side = None if study.network.layers[0].blocks else image_side(study.prepared.input_names)
    if side is None:
        return None
    layers = [weight for weight, _ in study.weights(frame)]
    units = _largest(layers)
    names = _captions(study, layers, units)
    columns = COLUMNS if len(units) > 2 * FEW else min(len(units), FEW)
    rows = -(-len(units) // columns)
    bottom, top = 0.7, 0.6
    fig = figure(
        max(SIZE * columns, 5.0) + 0.4,
        (SIZE + 0.3) * rows + bottom + top,
        left=0.2,
        right=0.2,
        bottom=bottom,
        top=top,
        gap=0.7,
    )
    panels = np.atleast_1d(fig.subplots(rows, columns)).ravel()
    largest = max(float(np.abs(layers[0][:, units]).max()), 1e-12)
    for axes in panels:
        axes.set_axis_off()
    for axes, unit, name in zip(panels, units, names, strict=False):
        image = layers[0][:, unit].reshape(side, side)
        axes.imshow(image, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        axes.set_title(name, fontsize=10.5, color=SOFT)
    total = layers[0].shape[1]
    chosen = f"{len(units)} of {total} units, those with the largest outgoing weights"
    return headline(
        fig,
        f"{study.settings.name}: the weights of layer 1 as {side} x {side} images, epoch"
        f" {int(study.frames.epoch[frame])}",
        f"blue: positive, white: zero, orange: negative, up to {largest:.2g}",
        "above: the unit and the class that its output favors most" if len(layers) == 2 else "",
        chosen if len(units) < total else "",
    )


def _largest(layers: list[Floats]) -> list[int]:
    """The units of the first layer with the largest outgoing weights, in order."""
    if len(layers) == 1 or layers[0].shape[1] <= MAX_UNITS:
        return list(range(layers[0].shape[1]))[:MAX_UNITS]
    order = np.argsort(-np.abs(layers[1]).sum(1), kind="stable")
    return sorted(order[:MAX_UNITS].tolist())


def _captions(study: Study, layers: list[Floats], units: list[int]) -> list[str]:
    """The class of an output; the number of a hidden unit, with the class that it favors."""
    outputs = study.classes or study.prepared.target_names
    if len(layers) == 1:
        return [outputs[unit] if unit < len(outputs) else str(unit + 1) for unit in units]
    if len(layers) == 2 and layers[1].shape[1] == len(study.classes):
        return [f"{unit + 1} → {study.classes[int(layers[1][unit].argmax())]}" for unit in units]
    return [str(unit + 1) for unit in units]

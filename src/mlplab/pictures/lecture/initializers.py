"""Propagation of a signal through an untrained network, by initializer."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from mlplab.network.activations import Relu, Tanh
from mlplab.network.initializers import INITIALIZERS, Given, Initializer
from mlplab.pictures.colors import Floats
from mlplab.pictures.lecture.panels import grid_of_panels
from mlplab.pictures.style import NEGATIVE, POSITIVE, headline, logarithmic
from mlplab.schema import meaning

# At this width, Xavier's standard deviation is 0.16: the fixed one of `normal`, 0.1, is too small.
WIDTH, DEPTH, EXAMPLES = 40, 20, 200
FLOOR = 1e-8
DRAWN = {"initializers": tuple(name for name, kind in INITIALIZERS.items() if kind is not Given)}


def initializers(names: Sequence[str] = DRAWN["initializers"]) -> Figure:
    """Draw the magnitude of the hidden vectors through 20 layers of 40 units with tanh and ReLU.

    It shows which initializers let the signal vanish, keep it steady or let it explode.
    """
    captions = {name: [meaning(INITIALIZERS[name])] for name in names}
    fig, panels = grid_of_panels(captions, 5, width=2.9)
    for axes, name in zip(panels, names, strict=True):
        for activation, color in ((Tanh(), POSITIVE), (Relu(), NEGATIVE)):
            low, median, high = signal(INITIALIZERS[name](), activation)
            axes.fill_between(range(DEPTH + 1), low, high, color=color, alpha=0.25, linewidth=0)
            axes.plot(
                range(DEPTH + 1),
                median,
                color=color,
                linewidth=1.8,
                label=type(activation).__name__.lower(),
            )
        axes.set_ylim(FLOOR, 1e4)
        logarithmic(axes)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="upper right")
    return headline(
        fig,
        "Initializers: the signal through depth",
        f"root mean square of the hidden vectors of {EXAMPLES} random inputs through {DEPTH}"
        f" untrained layers of {WIDTH} units: median and 10 % to 90 %; values are clipped at"
        f" {FLOOR:g}",
    )


def signal(initializer: Initializer, activation: Tanh | Relu) -> Floats:
    """Return the root mean square of the hidden vectors after each layer, [3, DEPTH + 1].

    Rows are the 10 %, 50 % and 90 % quantiles over the examples; the first column is the input.
    """
    generator = torch.Generator().manual_seed(0)
    h_NH = torch.randn(EXAMPLES, WIDTH, generator=generator, dtype=torch.float64)
    bands = [_band(h_NH)]
    for _ in range(DEPTH):
        weight_OI = torch.empty(WIDTH, WIDTH, dtype=torch.float64)
        bias_O = torch.zeros(WIDTH, dtype=torch.float64)
        initializer.fill(weight_OI, generator)
        initializer.fill_bias(bias_O, WIDTH, generator)
        h_NH = activation((h_NH @ weight_OI.T + bias_O).unsqueeze(0))[0]
        bands.append(_band(h_NH))
    return np.asarray(np.clip(np.array(bands).T, FLOOR, 1e30))


def _band(h_NH: torch.Tensor) -> Floats:
    return np.asarray(np.percentile(h_NH.square().mean(1).sqrt().numpy(), [10, 50, 90]))

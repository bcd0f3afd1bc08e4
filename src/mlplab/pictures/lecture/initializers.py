"""Propagation of a signal through an untrained network, by initializer."""

import numpy as np
import torch
from matplotlib.figure import Figure

from mlplab.network.activations import Relu, Tanh
from mlplab.network.initializers import INITIALIZERS, Given, Initializer
from mlplab.pictures.colors import Floats
from mlplab.pictures.lecture.panels import grid_of_panels
from mlplab.pictures.style import NEGATIVE, POSITIVE, headline, logarithmic

WIDTH, DEPTH, EXAMPLES = 128, 20, 200
FLOOR = 1e-8


def initializers() -> Figure:
    """Draw the magnitude of the hidden vectors through 20 layers of 128 units with tanh and ReLU.

    It shows which initializers let the signal vanish, keep it steady or let it explode.
    """
    drawn = {name: chosen for name, chosen in INITIALIZERS.items() if chosen is not Given}
    fig, panels = grid_of_panels(list(drawn), 5, width=2.6)
    for axes, initializer_class in zip(panels, drawn.values(), strict=True):
        for activation, color in ((Tanh(), POSITIVE), (Relu(), NEGATIVE)):
            low, median, high = signal(initializer_class(), activation)
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
    panels[0].legend(loc="lower left", fontsize=7)
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

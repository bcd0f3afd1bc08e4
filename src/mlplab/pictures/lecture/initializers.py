"""Propagation of a signal through an untrained network, by initializer."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from mlplab.network.activations import Activation, Relu, Sigmoid, Tanh
from mlplab.network.initializers import INITIALIZERS, Given, Initializer
from mlplab.pictures.colors import Floats
from mlplab.pictures.lecture.panels import grid_of_panels, panel_headline
from mlplab.pictures.style import NEGATIVE, POSITIVE, logarithmic
from mlplab.schema import meaning

# At this width, Xavier's standard deviation is 0.16: the fixed one of `normal`, 0.1, is too small.
WIDTH, DEPTH, EXAMPLES = 40, 20, 200
FLOOR = 1e-8
DRAWN = {"initializers": tuple(name for name, kind in INITIALIZERS.items() if kind is not Given)}


ACTIVATIONS: tuple[tuple[Activation, str], ...] = (
    (Tanh(), POSITIVE),
    (Relu(), NEGATIVE),
    (Sigmoid(), "#009E73"),
)


def initializers(names: Sequence[str] = DRAWN["initializers"]) -> Figure:
    """Draw the magnitude of the hidden vectors through 20 layers of 40 units with tanh, ReLU and
    sigmoid, and that of the gradient on its way back.

    It shows which initializers let the signal or the gradient vanish, keep it steady or let it
    explode.
    """
    captions = {
        name: [meaning(INITIALIZERS[name]), f"variance {INITIALIZERS[name].variance}"]
        for name in names
    }
    fig, panels = grid_of_panels(captions, 5, width=2.9)
    for axes, name in zip(panels, names, strict=True):
        for activation, color in ACTIVATIONS:
            forward, backward = signals(INITIALIZERS[name](), activation)
            layers, label = range(DEPTH + 1), type(activation).__name__.lower()
            axes.plot(layers, forward, color=color, linewidth=1.8, label=label)
            axes.plot(layers, backward, color=color, linewidth=1.3, linestyle=(0, (3, 2)))
        axes.set_ylim(FLOOR, 1e4)
        logarithmic(axes)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="upper right", ncols=3)
    return panel_headline(
        fig,
        len(names),
        "Initializers: the signal and the gradient through depth",
        "solid: root mean square of the hidden vectors after each layer; dashed: of the gradient"
        f" there, from 1 after layer {DEPTH}; medians over {EXAMPLES} random inputs to untrained"
        f" layers of {WIDTH} units, clipped at {FLOOR:g}",
    )


def signals(initializer: Initializer, activation: Activation) -> tuple[Floats, Floats]:
    """Return the root mean square of the hidden vectors after each layer and that of the gradient
    there, relative to the one after the last layer: the medians over the examples, [DEPTH + 1].

    The first is the input.
    """
    generator = torch.Generator().manual_seed(0)
    h_NH = torch.randn(EXAMPLES, WIDTH, generator=generator, dtype=torch.float64)
    vectors = [h_NH.requires_grad_()]
    for _ in range(DEPTH):
        weight_OI = torch.empty(WIDTH, WIDTH, dtype=torch.float64)
        bias_O = torch.zeros(WIDTH, dtype=torch.float64)
        initializer.fill(weight_OI, generator)
        initializer.fill_bias(bias_O, WIDTH, generator)
        vectors.append(activation((vectors[-1] @ weight_OI.T + bias_O).unsqueeze(0))[0])
    outer_NH = torch.randn(EXAMPLES, WIDTH, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(vectors[-1], vectors, outer_NH)
    backward = [_size(gradient_NH) for gradient_NH in gradients]
    forward = np.array([_size(h_NH.detach()) for h_NH in vectors])
    return np.clip(forward, FLOOR, 1e30), np.clip(np.array(backward) / backward[-1], FLOOR, 1e30)


def _size(values_NH: torch.Tensor) -> float:
    return float(values_NH.square().mean(1).sqrt().median())

"""Signs of training problems.

These are saturated and dead units, vanishing gradients, steps that are too small or too large, and
diverging weights.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, SOFT, figure, headline, logarithmic

FLAT_SLOPE = 0.1  # |f'(z)| below which an activation transmits hardly any gradient
DEAD_SLOPE = 0.01  # |f'(z)| below which on all examples a unit no longer learns
MAX_FLAT, MAX_DEAD, MAX_RATIO = 0.7, 0.3, 1000.0
"""Alarming: more flat activations at the start, dead units at the end, or gradient norms that
differ more between the first and the last layer at the start.
"""
MAX_FRAMES = 25
MAX_EXAMPLES = 200
MAX_LAYERS = 12
MAX_VALUES = 4_000_000

Colors: TypeAlias = dict[int, tuple[float, float, float, float]]


@picture(applies=lambda study: study.has_network and len(study.history) > 0)
def health(study: Study, frame: int) -> Figure:
    """Flat and dead units, gradient norms, update ratios and weight distributions of each layer
    over the training.
    """
    fig = figure(10.0, 6.05, right=1.25, bottom=1.1, top=0.85, gap=0.9)
    panels = fig.subplots(2, 2)
    num_layers = len(study.network.layers)
    layers = sorted({1 + round(i * (num_layers - 1) / (MAX_LAYERS - 1)) for i in range(MAX_LAYERS)})
    layer_colors = {
        layer: colormaps["viridis"](0.72 * i / max(len(layers) - 1, 1))
        for i, layer in enumerate(layers)
    }
    slopes = _slopes(study) if study.has_hidden else None
    _activations(panels[0, 0], study, layer_colors, slopes)
    _norms(panels[0, 1], study, layer_colors, "gradient_norm", "gradient norm")
    _norms(panels[1, 0], study, layer_colors, "update_ratio", "update norm / weight norm")
    panels[1, 0].axhline(1e-3, color=SOFT, linewidth=1.0, linestyle=":")
    _spread(panels[1, 1], study, layer_colors, frame)
    fig.legend(*panels[0, 1].get_legend_handles_labels(), loc="upper right")
    return headline(
        fig,
        f"{study.settings.name}: health of the layers: {verdict(study, slopes)}",
        "normal: flat activations increase during the training, up to about 0.75; alarming: more"
        " than 0.7 at the start (0.5 is normal for relu), more than 0.3 dead units, gradient norms"
        " that differ by more than 1000 between the layers at the start",
        "pale: one batch, full: smoothed; dotted: 1e-3, a typical ratio",
        f"shown: {len(layers)} of {num_layers} layers" if len(layers) < num_layers else "",
    )


@dataclass(frozen=True)
class Slopes:
    """The fractions of flat activations and of dead units over the training, each [R] per hidden
    layer, at R frames.
    """

    rows: list[int]
    flat: list[Floats]
    dead: list[Floats]


def verdict(study: Study, slopes: Slopes | None) -> str:
    """What is alarming in the curves of the picture, or "nothing alarming"."""
    alarms = []
    if slopes is not None:
        alarms += [
            f"{flat[0]:.0%} of the activations of layer {i} are flat at the start"
            for i, flat in enumerate(slopes.flat, 1)
            if flat[0] > MAX_FLAT
        ]
        alarms += [
            f"{dead[-1]:.0%} of the units of layer {i} are dead at the end"
            for i, dead in enumerate(slopes.dead, 1)
            if dead[-1] > MAX_DEAD
        ]
    num_layers = len(study.network.layers)
    first, last = (study.history[f"gradient_norm/layer_{i}"][0] for i in (1, num_layers))
    if first < last / MAX_RATIO or 0 < last < first / MAX_RATIO:
        what = "vanishes" if first < last else "explodes"
        alarms.append(f"the gradient {what}: {first:.1g} in layer 1, {last:.1g} in the last")
    return "; ".join(alarms[:2]) or "nothing alarming"


def _slopes(study: Study) -> Slopes:
    x = study.points("train", MAX_EXAMPLES).x
    values_per_frame = len(x) * sum(layer.units for layer in study.network.layers[:-1])
    max_frames = int(np.clip(MAX_VALUES // max(values_per_frame, 1), 2, MAX_FRAMES))
    rows = np.unique(np.linspace(0, len(study.frames) - 1, max_frames).round().astype(int)).tolist()
    return Slopes(rows, *flat_and_dead(study, x, rows))


def _activations(axes: Axes, study: Study, layer_colors: Colors, slopes: Slopes | None) -> None:
    """Draw the fraction of flat activations (lines) and of dead units (dots) over the training."""
    axes.set(
        title="flat activations (lines), dead units (dots)",
        xlabel="epoch",
        ylabel="fraction",
        ylim=(-0.03, 1.03),
    )
    faint_grid(axes)
    if slopes is None:
        axes.text(
            0.5,
            0.5,
            "no hidden layer",
            ha="center",
            va="center",
            transform=axes.transAxes,
            color=SOFT,
        )
        return
    epochs = study.frames.epoch[slopes.rows]
    for layer, color in layer_colors.items():
        if layer < len(study.network.layers):
            axes.plot(epochs, slopes.flat[layer - 1], color=color, linewidth=1.5)
            axes.plot(epochs, slopes.dead[layer - 1], ".", color=color, markersize=6)


def flat_and_dead(study: Study, x_NF: Floats, rows: list[int]) -> tuple[list[Floats], list[Floats]]:
    """Return the fractions of flat activations and of dead units, each [R] per hidden layer.

    An activation is flat if |f'(z)| < 0.1; a unit is dead if |f'(z)| < 0.01 on every example.
    """
    slopes_by_frame = [study.slopes(x_NF, row) for row in rows]
    by_layer = list(zip(*slopes_by_frame, strict=True))
    flat = [np.array([(slopes < FLAT_SLOPE).mean() for slopes in layer]) for layer in by_layer]
    dead = [
        np.array([(slopes < DEAD_SLOPE).all(1).mean() for slopes in layer]) for layer in by_layer
    ]
    return flat, dead


def _norms(axes: Axes, study: Study, layer_colors: Colors, name: str, title: str) -> None:
    for layer, color in layer_colors.items():
        values = study.history[f"{name}/layer_{layer}"]
        positive = np.where((values > 0) & np.isfinite(values), values, np.nan)
        axes.plot(study.history.epoch, positive, color=color, linewidth=0.8, alpha=0.25)
        axes.plot(
            study.history.epoch,
            smoothed(positive),
            color=color,
            linewidth=1.5,
            label="output layer" if layer == len(study.network.layers) else f"layer {layer}",
        )
    logarithmic(axes)
    axes.set(title=title, xlabel="epoch")
    faint_grid(axes)


def smoothed(values: Floats) -> Floats:
    """Return the geometric mean of each value [N] and its neighbors, over a 25th of all values.

    NaN values count nowhere, and remain NaN.
    """
    window = np.ones(1 + 2 * (len(values) // 50))
    known = np.isfinite(values)
    reach = len(window) // 2
    sums, counts = (
        np.convolve(np.pad(terms, reach), window, "valid")
        for terms in (np.log(np.where(known, values, 1.0)), known.astype(float))
    )
    return np.where(known, np.exp(sums / np.maximum(counts, 1.0)), np.nan)


def _spread(axes: Axes, study: Study, layer_colors: Colors, frame: int) -> None:
    """Draw quartiles (boxes) and 2 % to 98 % (whiskers) of the weights, at the start and at a
    frame.
    """
    first, current = study.weights(0), study.weights(frame)
    boxes = [
        (position + shift, (color, alpha), (INK, alpha), weights[layer - 1][0])
        for position, (layer, color) in enumerate(layer_colors.items())
        for shift, weights, alpha in ((-0.18, first, 0.35), (0.18, current, 0.9))
    ]
    # by hand: axes.bxp reads all settings of matplotlib six times for each box
    low, bottom, middle, top, high = np.transpose(
        [np.percentile(values, [2, 25, 50, 75, 98]) for *_, values in boxes]
    )
    x, faces, edges = (list(column) for column in list(zip(*boxes, strict=True))[:3])
    axes.bar(x, top - bottom, 0.3, bottom, color=faces, edgecolor=edges, linewidth=1, zorder=2)
    centers = np.array(x)
    lines: Any = {"linewidth": 1, "zorder": 3}
    axes.vlines([*x, *x], [*low, *top], [*bottom, *high], color="black", **lines)
    ends = np.concatenate([centers, centers])
    axes.hlines([*low, *high], ends - 0.075, ends + 0.075, color="black", **lines)
    axes.hlines(middle, centers - 0.15, centers + 0.15, color=INK, **lines)
    axes.set_xticks(range(len(layer_colors)), [str(layer) for layer in layer_colors])
    axes.set(xlabel="layer", title="weights: start (pale), best epoch (full)")
    faint_grid(axes)

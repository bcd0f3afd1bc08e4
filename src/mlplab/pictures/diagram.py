"""Selection of the layers and units of a network that are drawn as a diagram.

Large networks are reduced to a limited number of layers and units.

Shapes: R frames, G grid points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.pictures.colors import Floats
from mlplab.pictures.study import Study


@dataclass(frozen=True)
class Column:
    """One layer of the diagram.

    `layer` is its index in the network (0 is the input), `units` are the indices of the units
    shown, and `total` is the number of units of the layer.
    """

    layer: int
    units: tuple[int, ...]
    total: int


@dataclass(frozen=True)
class Diagram:
    """The columns from left to right; `note` describes what is not shown."""

    columns: tuple[Column, ...]
    note: str


def build_diagram(study: Study, max_units: int = 8, max_layers: int = 6) -> Diagram:
    """Return the diagram of a network: the input, hidden layers and the output.

    If there are too many hidden layers, the first and the last ones are shown. If a layer has too
    many units, those with the largest outgoing weights are shown.
    """
    weights = [weight for weight, _ in study.weights(study.best_frame)]
    num_hidden = len(weights) - 1
    hidden = list(range(1, num_hidden + 1))
    if num_hidden > max_layers:
        hidden = hidden[: (max_layers + 1) // 2] + hidden[-(max_layers // 2) :]
    columns = []
    for layer in [0, *hidden, num_hidden + 1]:
        total = weights[layer].shape[0] if layer <= num_hidden else weights[-1].shape[1]
        size = (
            np.abs(weights[layer]).sum(1)
            if layer <= num_hidden
            else -np.arange(total, dtype=np.float64)
        )
        columns.append(
            Column(layer, _largest(size, max_units if layer <= num_hidden else 10), total)
        )
    omissions = []
    if len(hidden) < num_hidden:
        omissions.append(f"{len(hidden)} of {num_hidden} hidden layers")
    if any(len(column.units) < column.total for column in columns):
        omissions.append(
            f"at most {max_units} units per layer, those with the largest outgoing weights"
        )
    return Diagram(tuple(columns), f"shown: {' and '.join(omissions)}" if omissions else "")


def _largest(size: Floats, max_count: int) -> tuple[int, ...]:
    return tuple(sorted(np.argsort(-size, kind="stable")[:max_count].tolist()))


def unit_maps(
    study: Study, diagram: Diagram, grid_GF: Floats, rows: list[int]
) -> list[list[Floats]]:
    """Return for each column the values of each shown unit on the grid, [R, G].

    The values of the input are the features, those of the output are the predictions.
    """
    layers = study.layers(grid_GF, rows)
    predicted = study.outputs(grid_GF, rows)
    maps = []
    for column in diagram.columns:
        if column.layer == 0:
            maps.append(
                [
                    np.broadcast_to(grid_GF[:, unit], (len(rows), len(grid_GF)))
                    for unit in column.units
                ]
            )
        elif column.layer == len(layers):
            maps.append([predicted[:, :, unit] for unit in range(predicted.shape[2])][:10])
        else:
            maps.append(
                [layers[column.layer - 1][:, :, unit].double().numpy() for unit in column.units]
            )
    return maps


def formula(study: Study, layer: int, unit: int, frame: int, max_count: int = 6) -> str:
    """Return the formula of a unit with its weights, such as "tanh(0.52 x1 -1.3 x2 +0.4)"."""
    weight, bias = study.weights(frame)[layer - 1]
    names = (
        study.prepared.feature_names
        if layer == 1
        else [f"h{layer - 1}.{i + 1}" for i in range(weight.shape[0])]
    )
    order = np.argsort(-np.abs(weight[:, unit]), kind="stable")[:max_count]
    terms = [f"{weight[i, unit]:+.3g} {names[i]}" for i in sorted(order.tolist())]
    rest = f" ... {weight.shape[0] - max_count} more" if weight.shape[0] > max_count else ""
    inside = (
        " ".join(terms).removeprefix("+")
        + rest
        + (f" {bias[unit]:+.3g}" if bias is not None else "")
    )
    activation = study.settings.layers[layer - 1].activation
    norm = study.settings.layers[layer - 1].normalization
    inside = f"{norm}_norm({inside})" if norm != "none" else inside
    return f"{type(activation).__name__.lower()}({inside})" if activation is not None else inside

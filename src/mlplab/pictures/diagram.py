"""Which part of a network is drawn as a diagram, and where: units and layers are thinned where
there are too many.

Shapes: G fields of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.pictures.colors import Floats
from mlplab.pictures.study import Study


@dataclass(frozen=True)
class Column:
    """One layer of the diagram: its place in the network (0 is the input), the units that are
    shown, and of how many.
    """

    layer: int
    units: tuple[int, ...]
    total: int

    @property
    def title(self) -> str:
        return "input" if self.layer == 0 else f"layer {self.layer}"


@dataclass(frozen=True)
class Diagram:
    """The columns from left to right; `note` tells what was left out."""

    columns: tuple[Column, ...]
    note: str


def build_diagram(study: Study, max_units: int = 8, max_layers: int = 6) -> Diagram:
    """The input, at most so many hidden layers (the first and the last ones), the output; of each
    layer the units with the largest weights onwards.
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
    left_out = []
    if len(hidden) < num_hidden:
        left_out.append(f"{len(hidden)} of {num_hidden} hidden layers")
    if any(len(column.units) < column.total for column in columns):
        left_out.append(
            f"of each layer at most {max_units} units, those with the largest weights onwards"
        )
    return Diagram(tuple(columns), f"shown: {' and '.join(left_out)}" if left_out else "")


def _largest(size: Floats, max_count: int) -> tuple[int, ...]:
    return tuple(sorted(np.argsort(-size, kind="stable")[:max_count].tolist()))


def unit_maps(
    study: Study, diagram: Diagram, grid_GF: Floats, rows: list[int]
) -> list[list[Floats]]:
    """For each column the values of each shown unit over the grid: [R, G]. The input's are the
    features, the output's what the network predicts.
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
    """The formula of a unit with its numbers: "tanh(0.52 x1 - 1.3 x2 + 0.4)"."""
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

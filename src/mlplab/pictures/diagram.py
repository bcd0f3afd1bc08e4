"""Selection of the layers and units of a network that are drawn as a diagram.

Large networks are reduced to a limited number of layers and units.

Shapes: R frames, G grid points, H units and O outgoing connections of a layer.
"""

from dataclasses import dataclass

import numpy as np

from mlplab.pictures.colors import Floats
from mlplab.pictures.study import Study

MAX_OUTPUTS = 10


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
    num_outputs = weights[-1].shape[1]
    columns = [
        *(Column(i, _largest(weights[i], max_units), len(weights[i])) for i in [0, *hidden]),
        Column(num_hidden + 1, tuple(range(min(num_outputs, MAX_OUTPUTS))), num_outputs),
    ]
    omits_units = any(len(column.units) < column.total for column in columns)
    omissions = [
        f"{len(hidden)} of {num_hidden} hidden layers" if len(hidden) < num_hidden else "",
        f"at most {max_units} units per layer, those with the largest outgoing weights"
        if omits_units
        else "",
    ]
    shown = " and ".join(filter(None, omissions))
    return Diagram(tuple(columns), f"shown: {shown}" if shown else "")


def _largest(weight_HO: Floats, max_count: int) -> tuple[int, ...]:
    """Return the units with the largest outgoing weights, in order."""
    order_H = np.argsort(-np.abs(weight_HO).sum(1), kind="stable")
    return tuple(sorted(order_H[:max_count].tolist()))


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
            maps.append(list(np.moveaxis(predicted, 2, 0)[:MAX_OUTPUTS]))
        else:
            maps.append(
                [layers[column.layer - 1][:, :, unit].double().numpy() for unit in column.units]
            )
    return maps

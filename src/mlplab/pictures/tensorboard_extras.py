"""TensorBoard dashboards beyond curves and images.

Distributions are written during the training, or after it at frames; the graph, the vectors of the
projector and the precision-recall curves once.

Shapes: N examples, H units of a layer.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlplab.network.layer import Layer
from mlplab.pictures.colors import Floats
from mlplab.pictures.images import image_side
from mlplab.pictures.study import Study
from mlplab.tracking import EventWriter
from mlplab.tracking.dashboards import Node, charts, graph, precision_recall, write_projector
from mlplab.training.population import Population

MAX_ACTIVATIONS = 200
MAX_VECTORS = 1000
MAX_CLASSES = 10


def chart_layout(events: EventWriter, names: Sequence[str]) -> None:
    """Write a layout that combines train and validation curves, and the curves of all layers."""
    metrics = [name.partition("/")[2] for name in names if name.startswith(("train/", "val/"))]
    pairs = {
        metric: [f"{split}/{metric}" for split in ("train", "val") if f"{split}/{metric}" in names]
        for metric in metrics
    }
    layers = {kind: [f"{kind}/layer_.*"] for kind in ("gradient_norm", "update_ratio")}
    events.add(charts({"train and validation": pairs, "layers": layers}))


def distributions(events: EventWriter, study: Study, frames: Sequence[int]) -> None:
    """Write histograms of the weights, biases and activations of each layer at frames."""
    x = study.points("train", MAX_ACTIVATIONS).x
    for frame in frames:
        step = int(study.frames.step[frame])
        _parameters(events, study, study.frames.theta_RP[[frame]], step, "{kind}/layer_{layer}")
        for i, outputs in enumerate(study.layers(x, [frame])[:-1], 1):
            events.histogram(f"activations/layer_{i}", step, outputs.numpy())


def gradients(events: EventWriter, study: Study, population: Population, step: int) -> None:
    """Write histograms of the gradients of a population's first member, layer by layer."""
    gradient_KP = population.objective.gradient_KP[:1]
    _parameters(events, study, gradient_KP, step, "gradients/layer_{layer}/{kind}")


def _parameters(events: EventWriter, study: Study, theta_KP: Tensor, step: int, tag: str) -> None:
    kinds = {"weight": "weights", "bias": "biases"}
    layout = study.network.layout
    for entry, view in zip(layout.entries, layout.split(theta_KP.detach()), strict=True):
        if entry.name in kinds:
            name = tag.format(kind=kinds[entry.name], layer=entry.layer + 1)
            events.histogram(name, step, view.cpu().numpy())


def network_graph(events: EventWriter, study: Study) -> None:
    """Write the graph of the network, layer by layer, with shapes and configurations."""
    settings = study.settings
    nodes = [Node("input", "Placeholder", shape=(-1, study.network.num_features))]
    fan_in = study.network.num_features
    for i, (layer, stacked) in enumerate(
        zip(settings.layers, study.network.layers, strict=True), 1
    ):
        name = f"layer_{i}" if i < len(settings.layers) else "output_layer"
        nodes += _layer_nodes(name, layer, nodes[-1].name, fan_in, stacked.units)
        fan_in = stacked.units
    nodes += [
        Node("target", "Placeholder", shape=(-1,)),
        Node(
            "loss",
            type(settings.loss).__name__,
            [nodes[-1].name, "target"],
            {"configuration": repr(settings.loss)},
        ),
    ]
    events.graph(graph(nodes))


def _layer_nodes(name: str, layer: Layer, input_name: str, fan_in: int, units: int) -> list[Node]:
    """Return the nodes of one layer in the order of computation."""
    shape = (-1, units)
    initializer = {"initializer": repr(layer.initializer)}
    blocks = layer.blocks or ()
    sizes = (fan_in, units) if not blocks else (sum(block.num_weights for block in blocks),)
    nodes = [Node(f"{name}/weight", "Variable", facts=initializer, shape=sizes)]
    inputs = [input_name, f"{name}/weight"]
    if layer.bias:
        num_biases = sum(block.num_biases for block in blocks) or units
        nodes.append(Node(f"{name}/bias", "Variable", shape=(num_biases,)))
        inputs.append(f"{name}/bias")
    nodes.append(Node(f"{name}/affine", "Blocks" if blocks else "MatMul", inputs, shape=shape))

    def add(step: str, kind: str, facts: dict[str, str]) -> None:
        nodes.append(Node(f"{name}/{step}", kind, [nodes[-1].name], facts, shape))

    if layer.normalization != "none":
        add("normalization", f"{layer.normalization}_norm", {})
    if layer.activation is not None:
        facts = {"formula": layer.activation.formula}
        add("activation", type(layer.activation).__name__, facts)
    if isinstance(layer.dropout, float) and layer.dropout > 0:
        add("dropout", "Dropout", {"rate": f"{layer.dropout:g}"})
    return nodes


def recall_curves(events: EventWriter, study: Study, step: int) -> None:
    """Write precision-recall curves on the evaluation split, each class against the others."""
    points, probabilities = study.evaluate(study.best_frame)
    for c, name in enumerate(study.classes[:MAX_CLASSES]):
        events.add(
            precision_recall(
                f"{study.eval_split}/precision_recall/{name}", points.y == c, probabilities[:, c]
            ),
            step=step,
        )


def vectors(folder: Path, study: Study) -> None:
    """Write the layer outputs on the evaluation split for the projector.

    If the examples are images, they are included as thumbnails.
    """
    points = study.points(study.eval_split, MAX_VECTORS)
    outputs = study.layers(points.x, [study.best_frame])
    names = ["input", *(f"layer_{i}" for i in range(1, len(outputs))), "output"]
    matrices = [points.x, *(hidden[0].double().numpy() for hidden in outputs)]
    # the projector needs at least two components
    vectors_by_name = {
        name: matrix if matrix.shape[1] > 1 else np.pad(matrix, ((0, 0), (0, 1)))
        for name, matrix in zip(names, matrices, strict=True)
    }
    predicted = study.outputs(points.x, [study.best_frame])[0]
    if study.classifies:
        predictions = predicted.argmax(1)
        labels = {
            "class": [study.classes[int(c)] for c in points.y],
            "predicted": [study.classes[int(c)] for c in predictions],
            "right": [
                "right" if a == b else "wrong"
                for a, b in zip(points.y.tolist(), predictions.tolist(), strict=True)
            ],
        }
    else:
        name = study.prepared.target_names[0]
        labels = {
            name: [f"{value:.6g}" for value in points.y[:, 0]],
            f"predicted {name}": [f"{value:.6g}" for value in predicted[:, 0]],
        }
    write_projector(folder, vectors_by_name, labels, _sprites(study, points.x))


def _sprites(study: Study, scaled_NF: Floats) -> NDArray[np.float64] | None:
    """Return square images [N, side, side] in [0, 1] if the features are named pixel..."""
    side = None if study.network.layers[0].blocks else image_side(study.prepared.input_names)
    if side is None:
        return None
    raw = study.prepared.feature_scaler.invert(scaled_NF)
    return np.asarray(((raw - raw.min()) / max(np.ptp(raw), 1e-12)).reshape(-1, side, side))

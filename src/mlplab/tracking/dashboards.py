"""Data for TensorBoard's other dashboards: several curves in one chart, the graph of a network,
precision-recall curves, and vectors for the Projector.

Shapes: N examples, V components of a vector, D thresholds.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData

from mlplab.io.files import write_bytes_atomic, write_text_atomic
from mlplab.io.links import make_folder
from mlplab.tracking import summaries

_THRESHOLDS = 127
_EMBEDDING = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "projector/{name}.tsv"
  metadata_path: "projector/labels.tsv"
{sprite}}}
"""
_SPRITE = """\
  sprite {{
    image_path: "projector/sprites.png"
    single_image_dim: {width}
    single_image_dim: {height}
  }}
"""


def charts(groups: Mapping[str, Mapping[str, Sequence[str]]]) -> Summary.Value:
    """Return a summary with the Custom Scalars layout: category -> title of a chart -> its tags."""
    layout = Layout()
    for title, drawn in groups.items():
        category = layout.category.add(title=title)
        for name, tags in drawn.items():
            category.chart.add(title=name, multiline={"tag": [f"^{tag}$" for tag in tags]})
    return _layout(layout)


def margin_charts(title: str, charts: Mapping[str, tuple[str, str, str]]) -> Summary.Value:
    """Return a summary with a Custom Scalars layout of lines in bands: title of a chart -> the tags
    of the line, and of the lower and the upper end of the band.
    """
    layout = Layout()
    category = layout.category.add(title=title)
    for name, (value, lower, upper) in charts.items():
        series = [{"value": value, "lower": lower, "upper": upper}]
        category.chart.add(title=name, margin={"series": series})
    return _layout(layout)


def _layout(layout: Layout) -> Summary.Value:
    return summaries.texts(
        "custom_scalars__config__", "custom_scalars", [layout.SerializeToString()]
    )


def precision_recall(
    tag: str, positive_N: NDArray[np.bool_], score_N: NDArray[np.float64]
) -> Summary.Value:
    """Return a summary with the precision-recall curve of scores in [0, 1] at 127 even thresholds.

    Its rows are the counts of true positives, false positives, true negatives and false negatives,
    then precision and recall.
    """
    thresholds_D = np.linspace(0, 1, _THRESHOLDS)
    ranked = [np.sort(score_N[positive_N]), np.sort(score_N[~positive_N])]
    called_true, called_false = (
        len(scores) - np.searchsorted(scores, thresholds_D) for scores in ranked
    )
    rows = [
        called_true,
        called_false,
        len(ranked[1]) - called_false,
        len(ranked[0]) - called_true,
        called_true / np.maximum(called_true + called_false, 1),
        called_true / max(len(ranked[0]), 1),
    ]
    data = PrCurvePluginData(version=0, num_thresholds=_THRESHOLDS)
    return summaries.numbers(tag, "pr_curves", np.array(rows, "<f4"), data.SerializeToString())


@dataclass
class Node:
    """One node of a graph: its path ("layer_1/weight"), kind, paths of its inputs, and facts that
    are shown with it.
    """

    name: str
    kind: str
    inputs: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    shape: Sequence[int] = ()


def graph(nodes: Sequence[Node]) -> bytes:
    """Return the nodes as a serialized GraphDef."""
    graph_def = GraphDef()
    for node in nodes:
        added = graph_def.node.add(name=node.name, op=node.kind, input=node.inputs)
        for key, value in node.facts.items():
            added.attr[key].s = value.encode()
        if node.shape:
            added.attr["_output_shapes"].list.shape.append(summaries.tensor_shape(node.shape))
    graph_def.versions.producer = 22
    return bytes(graph_def.SerializeToString())


def write_projector(
    folder: Path,
    vectors: Mapping[str, NDArray[np.float64]],
    labels: Mapping[str, Sequence[str]],
    sprites: NDArray[np.float64] | None = None,
) -> None:
    """Write files for the Projector: named matrices [N, V] of the same N examples, columns of
    labels, and optional images [N, height, width] in [0, 1].
    """
    make_folder(folder / "projector")
    rows = [
        "\t".join(re.sub(r"[\t\n\r]", " ", cell) for cell in cells)
        for cells in zip(*labels.values(), strict=True)
    ]
    # a single column has no header: TensorBoard would read it as a label
    header = ["\t".join(labels)] if len(labels) > 1 else []
    write_text_atomic(folder / "projector" / "labels.tsv", "\n".join([*header, *rows]) + "\n")
    sprite = ""
    if sprites is not None:
        write_bytes_atomic(folder / "projector" / "sprites.png", _sprite_sheet(sprites))
        sprite = _SPRITE.format(width=sprites.shape[2], height=sprites.shape[1])
    for name, matrix in vectors.items():
        text = "\n".join("\t".join(f"{value:.6g}" for value in row) for row in matrix.tolist())
        write_text_atomic(folder / "projector" / f"{name}.tsv", text + "\n")
    write_text_atomic(
        folder / "projector_config.pbtxt",
        "".join(_EMBEDDING.format(name=name, sprite=sprite) for name in vectors),
    )


def _sprite_sheet(sprites_NHW: NDArray[np.float64]) -> bytes:
    """All images in one square PNG sheet, row by row, dark on white."""
    from matplotlib.image import imsave

    count, height, width = sprites_NHW.shape
    side = int(np.ceil(np.sqrt(count)))
    sheet = np.pad(sprites_NHW, ((0, side * side - count), (0, 0), (0, 0)))
    picture = (
        sheet.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)
    )
    buffer = io.BytesIO()
    imsave(buffer, 1 - picture, cmap="gray", vmin=0, vmax=1, format="png")
    return buffer.getvalue()

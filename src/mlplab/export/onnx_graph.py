"""Complete an ONNX graph that torch traced.

Inputs get the names of columns, categories become strings instead of codes, and the label becomes a
string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlplab.data.tabular.columns import CATEGORY
from mlplab.export.columns import Input

if TYPE_CHECKING:
    import onnx

ML_DOMAIN = "ai.onnx.ml"
ML_VERSION = 3


def complete_model(
    model: onnx.ModelProto,
    inputs: Mapping[str, Input],
    classes: Sequence[str],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """Complete a traced model in place and check it.

    Inputs are named like the columns, a LabelEncoder translates categories to codes, and the output
    `label` is added to the probabilities.

    Args:
        model: the model proto.
        inputs: traced name -> the input.
        classes: the class names; empty for regression.
        metadata: the metadata of the file.

    Returns:
        The model proto.
    """
    import onnx
    from onnx import helper

    graph, input_nodes = model.graph, []
    for traced in list(graph.input):
        one = inputs[traced.name]
        name = _unused_name(one.name, graph)
        if one.kind == CATEGORY:
            codes = one.codes or {"": 0}
            input_nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [name],
                    [traced.name],
                    f"codes of {one.name}",
                    domain=ML_DOMAIN,
                    keys_strings=list(codes),
                    values_int64s=list(codes.values()),
                    default_int64=len(one.categories),
                )
            )
            kind = onnx.TensorProto.STRING
        else:
            input_nodes.append(helper.make_node("Identity", [name], [traced.name]))
            kind = onnx.TensorProto.DOUBLE
        traced.CopyFrom(helper.make_tensor_value_info(name, kind, ["rows", one.width]))
    for i, node in enumerate(input_nodes):
        graph.node.insert(i, node)
    if classes:
        _add_label(graph, classes)
    model.opset_import.append(helper.make_opsetid(ML_DOMAIN, ML_VERSION))
    model.producer_name, model.graph.name = "mlplab", "mlplab"
    model.doc_string = "Maps raw columns to predictions. The metadata describes the columns."
    del graph.value_info[:]
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def _unused_name(name: str, graph: onnx.GraphProto) -> str:
    """Return the name of the column, with a suffix if the graph uses that name internally."""
    used = {output for node in graph.node for output in node.output} | {
        initializer.name for initializer in graph.initializer
    }
    return name if name not in used and name else f"{name} (column)"


def _add_label(graph: onnx.GraphProto, classes: Sequence[str]) -> None:
    """Replace the output `class_index` by the output `label`, the first one.

    The index -1, of a row without a prediction, selects the last label: the empty string.
    """
    import onnx
    from onnx import helper

    labels: Any = [name.encode() for name in (*classes, "")]
    graph.initializer.append(
        helper.make_tensor("class names", onnx.TensorProto.STRING, [len(labels)], labels)
    )
    graph.node.append(helper.make_node("Gather", ["class names", "class_index"], ["label"], axis=0))
    other_outputs = [output for output in graph.output if output.name != "class_index"]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("label", onnx.TensorProto.STRING, ["rows"]))
    graph.output.extend(other_outputs)

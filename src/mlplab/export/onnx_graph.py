"""What an ONNX graph gets beside what torch traced: texts as inputs in the place of codes, names of
columns, and labels as texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlplab.data.tabular.columns import CATEGORY
from mlplab.export.columns import Input
from mlplab.export.pipeline import codes

ML_DOMAIN = "ai.onnx.ml"
ML_VERSION = 3


def finished(
    model: Any, wanted: Mapping[str, Input], classes: Sequence[str], about: Mapping[str, str]
) -> Any:
    """The model proto with inputs named like the columns, words translated by a LabelEncoder, and
    the label beside the probabilities. Checked.
    """
    import onnx
    from onnx import helper

    graph, first = model.graph, []
    for given in list(graph.input):
        one = wanted[given.name]
        name = _free(one.name, graph)
        if one.kind == CATEGORY:
            known = codes(one.words) or {"": 0}
            first.append(
                helper.make_node(
                    "LabelEncoder",
                    [name],
                    [given.name],
                    f"codes of {one.name}",
                    domain=ML_DOMAIN,
                    keys_strings=list(known),
                    values_int64s=list(known.values()),
                    default_int64=len(one.words),
                )
            )
            kind = onnx.TensorProto.STRING
        else:
            first.append(helper.make_node("Identity", [name], [given.name]))
            kind = onnx.TensorProto.DOUBLE
        given.CopyFrom(helper.make_tensor_value_info(name, kind, ["rows", one.width]))
    for i, node in enumerate(first):
        graph.node.insert(i, node)
    if classes:
        _label(graph, classes)
    model.opset_import.append(helper.make_opsetid(ML_DOMAIN, ML_VERSION))
    model.producer_name, model.graph.name = "mlplab", "mlplab"
    model.doc_string = "Raw columns in, predictions out. The metadata says what the columns are."
    del graph.value_info[:]
    helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    return model


def _free(name: str, graph: Any) -> str:
    """The name of the column, which nothing inside the graph has."""
    taken = {output for node in graph.node for output in node.output} | {
        own.name for own in graph.initializer
    }
    return name if name not in taken and name else f"{name} (column)"


def _label(graph: Any, classes: Sequence[str]) -> None:
    """The place of the most probable class becomes its word: the first output. The place -1, of
    a row without a prediction, is the last: the empty text.
    """
    import onnx
    from onnx import helper

    words: Any = [word.encode() for word in (*classes, "")]
    graph.initializer.append(
        helper.make_tensor("class words", onnx.TensorProto.STRING, [len(words)], words)
    )
    graph.node.append(helper.make_node("Gather", ["class words", "place"], ["label"], axis=0))
    kept = [output for output in graph.output if output.name != "place"]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("label", onnx.TensorProto.STRING, ["rows"]))
    graph.output.extend(kept)

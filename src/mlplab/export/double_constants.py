"""Constants of a graph in double precision."""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

_ARITHMETIC = (operator.mul, operator.add, operator.sub, operator.truediv)


def keep_double_constants(module: nn.Module) -> None:
    """Make the factors and terms in the graphs of a module tensors, in place: the ONNX exporter
    rounds Python numbers to single precision.
    """
    for graph_module in module.modules():
        if isinstance(graph_module, fx.GraphModule):
            _keep_in_graph(graph_module)


def _keep_in_graph(module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        if node.target not in _ARITHMETIC:
            continue
        for position, argument in enumerate(node.args):
            if isinstance(argument, float):
                name = f"{node.name}_constant_{position}"
                value = torch.tensor(argument, dtype=torch.float64)
                module.register_buffer(name, value, persistent=False)
                with module.graph.inserting_before(node):
                    node.update_arg(position, module.graph.get_attr(name))
    module.recompile()

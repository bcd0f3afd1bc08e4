"""A block layer of one member as plain PyTorch, which runs and is unpickled without mlplab.

torch.fx stores the code of a module with the module, so that no class of mlplab is needed. The
weights [W] and the biases [A] are in the order of `BlockPlan`.
"""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

from mlplab.network.activations import Activation, Elementwise
from mlplab.network.blocks import BlockGroup, BlockPlan, consecutive
from mlplab.network.layer import Layer
from mlplab.network.layout import LayerViews
from mlplab.network.mlp import PopulationLayer


def activation_module(activation: Activation, view: LayerViews) -> nn.Module:
    """Return an activation with what it has learned as a torch module."""
    module = activation.module()
    if view.slopes is not None:
        next(module.parameters()).data = view.slopes[0, 0].clone()
    return module


def block_module(layer: Layer | PopulationLayer, view: LayerViews) -> fx.GraphModule:
    """Return the affine map of a block layer and its activation: x [B, I] -> [B, H]."""
    assert layer.blocks is not None
    assert layer.activation is not None
    root = nn.Module()
    root.weight = nn.Parameter(view.weight[0, 0].detach().clone())
    if view.bias is not None:
        root.bias = nn.Parameter(view.bias[0, 0].detach().clone())
    root.activation = _traced(activation_module(layer.activation, view))
    graph = _Graph(BlockPlan(layer.blocks), view.bias is not None)
    return fx.GraphModule(root, graph.graph, "Blocks")


def _traced(module: nn.Module) -> nn.Module:
    """The operations of a function that has no class of torch, if its code can be traced."""
    if not isinstance(module, Elementwise):
        return module
    value = module.activation.value
    try:
        traced = fx.symbolic_trace(lambda z: value(z))
        return fx.GraphModule(traced, traced.graph, type(module.activation).__name__)
    except (fx.proxy.TraceError, TypeError, AttributeError):  # it depends on the values
        return module


class _Graph:
    """The operations of a block layer on batches of any size."""

    def __init__(self, plan: BlockPlan, has_bias: bool) -> None:
        self.graph = fx.Graph()
        x = self.graph.placeholder("x")
        weight = self.graph.get_attr("weight")
        bias = self.graph.get_attr("bias") if has_bias else None
        affine = self._cat([self._group(group, x, weight, bias) for group in plan.groups])
        outputs = [self.graph.call_module("activation", (affine,))]
        if plan.copied:
            outputs.append(self._columns(x, plan.copied, plan.num_inputs))
        self.graph.output(self._columns(self._cat(outputs), plan.order, plan.num_outputs))

    def _group(
        self, group: BlockGroup, x: fx.Node, weight: fx.Node, bias: fx.Node | None
    ) -> fx.Node:
        """The outputs [B, G O] of the blocks of one size."""
        call = self.graph.call_method
        size = len(group), group.inputs, group.outputs
        matrices = call("view", (self._slice(weight, group.weights), *size))
        columns = self._columns(x, group.columns, None)
        blocks = call("view", (columns, -1, len(group), group.inputs))
        if group.inputs == 1:
            factors = call("squeeze", (matrices, 1))
            z = self.graph.call_function(torch.mul, (blocks, factors))
        else:
            by_block = call("transpose", (blocks, 0, 1))
            z = call("transpose", (self.graph.call_function(torch.bmm, (by_block, matrices)), 0, 1))
        if bias is not None:
            shifts = call("view", (self._slice(bias, group.biases), len(group), group.outputs))
            z = self.graph.call_function(torch.add, (z, shifts))
        return call("flatten", (z, 1))

    def _slice(self, vector: fx.Node, of: slice) -> fx.Node:
        return self.graph.call_method("narrow", (vector, 0, of.start, of.stop - of.start))

    def _columns(self, x: fx.Node, columns: list[int], width: int | None) -> fx.Node:
        """These columns of x, which has `width` columns, if that is known."""
        if (run := consecutive(columns)) is not None:
            first, end = run
            if (first, end) == (0, width):
                return x
            return self.graph.call_method("narrow", (x, 1, first, end - first))
        index = (slice(None), columns)
        return self.graph.call_function(operator.getitem, (x, index))

    def _cat(self, nodes: list[fx.Node]) -> fx.Node:
        return nodes[0] if len(nodes) == 1 else self.graph.call_function(torch.cat, (nodes, 1))

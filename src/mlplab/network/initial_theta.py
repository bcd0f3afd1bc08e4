"""The parameters of all members before training.

Shapes: K members, P parameters, I inputs and O outputs of a layer or a block, G blocks of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlplab import randomness
from mlplab.network.blocks import BlockPlan
from mlplab.network.initializers import Initializer
from mlplab.network.layer import Layer
from mlplab.network.layout import Entry, Layout


def initial_theta(layout: Layout, members: Sequence[Sequence[Layer]], seeds: list[int]) -> Tensor:
    """Return the initial parameters of all members, float64 [K, P] on the CPU.

    The weights and the biases of each layer of a member have separate generators, so that changing
    one layer does not change the initial values of the others.
    """
    theta_KP = torch.zeros(len(seeds), layout.num_parameters, dtype=torch.float64)
    fan_in = {entry.layer: entry.shape[0] for entry in layout.entries if entry.name == "weight"}
    for entry, value in zip(layout.entries, layout.split(theta_KP), strict=True):
        layers = [layers[entry.layer] for layers in members]
        if entry.blocks is not None and entry.name in ("weight", "bias"):
            plan = BlockPlan(entry.blocks)
            for value_1N, layer, seed in zip(value.unbind(), layers, seeds, strict=True):
                if entry.name == "weight":
                    _fill_blocks(value_1N[0], layer, plan, _generator(seed, entry))
                else:
                    _fill_block_biases(value_1N[0], layer, plan, _generator(seed, entry))
        elif entry.name == "weight":
            weight_KOI = torch.empty(len(seeds), *entry.shape[::-1], dtype=torch.float64)
            for weight_OI, layer, seed in zip(weight_KOI.unbind(), layers, seeds, strict=True):
                initializer = _initializer(layer, layout, entry)
                initializer.fill(weight_OI, _generator(seed, entry))
            value.copy_(weight_KOI.mT)
        elif entry.name == "bias":
            for bias_O, layer, seed in zip(value.squeeze(1).unbind(), layers, seeds, strict=True):
                _fill_bias(bias_O, layer, layout, fan_in[entry.layer], seed, entry)
        elif entry.name == "norm_scale":
            value.fill_(1.0)
        elif entry.name == "slopes":
            initial = [
                layer.activation.initial_parameters() for layer in layers if layer.activation
            ]
            value.copy_(torch.tensor(initial, dtype=torch.float64).unsqueeze(1))
    return theta_KP


def _generator(seed: int, entry: Entry) -> torch.Generator:
    return randomness.torch_generator(seed, "init", entry.layer, entry.name)


def _initializer(layer: Layer, layout: Layout, entry: Entry) -> Initializer:
    """The initializer of a layer that has no blocks. Layers with blocks do not count, so that one
    in front of a network does not move the values that are given for its layers.
    """
    dense = [e.layer for e in layout.entries if e.name == "weight" and e.blocks is None]
    return layer.initializer.of_layer(dense.index(entry.layer), len(dense))


def _fill_blocks(
    weight_W: Tensor, layer: Layer, plan: BlockPlan, generator: torch.Generator
) -> None:
    """Write the initial weights of a block layer of one member in place: those of each block are
    drawn like those of a layer of its size.
    """
    for group in plan.groups:
        weight_GOI = torch.empty(len(group), group.outputs, group.inputs, dtype=torch.float64)
        layer.initializer.fill_blocks(weight_GOI, group.positions, generator)
        weight_W[group.weights] = weight_GOI.mT.flatten()


def _fill_block_biases(
    bias_A: Tensor, layer: Layer, plan: BlockPlan, generator: torch.Generator
) -> None:
    for group in plan.groups:
        bias_GO = bias_A[group.biases].view(len(group), group.outputs)
        if layer.bias_initializer is not None:
            layer.bias_initializer.fill_blocks(bias_GO.unsqueeze(2), group.positions, generator)
        else:
            layer.initializer.fill_block_biases(bias_GO, group.positions, group.inputs, generator)


def _fill_bias(
    bias_O: Tensor, layer: Layer, layout: Layout, fan_in: int, seed: int, entry: Entry
) -> None:
    """Write the initial biases of one member, which are 0, in place."""
    if layer.bias_initializer is not None:
        layer.bias_initializer.fill(bias_O.view(-1, 1), _generator(seed, entry))
        return
    initializer = _initializer(layer, layout, entry)
    if initializer.bias == 0 and type(initializer).fill_bias is Initializer.fill_bias:
        return  # the most frequent case
    initializer.fill_bias(bias_O, fan_in, _generator(seed, entry))

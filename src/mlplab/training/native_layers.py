"""The layers of a network as the native kernel sees them: where their parameters are in theta.

Shapes: K members, L layers, S sections of theta, P parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.network.blocks import BlockPlan
from mlplab.network.mlp import MLP

OFFSETS = {
    "biases": "bias",
    "norm_scales": "norm_scale",
    "norm_shifts": "norm_shift",
    "learned": "slopes",
}
"""The fields of the structure with the offsets of the entries of each layer, -1 without one."""


def layer_arrays(network: MLP) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the fields that describe the layers, by the name of the field."""
    layers = range(len(network.layers))
    offsets: dict[tuple[int, str], int] = {}
    sizes: dict[tuple[int, str], int] = {}
    at = 0
    for entry in network.layout.entries:
        offsets[entry.layer, entry.name], sizes[entry.layer, entry.name] = at, entry.size
        at += entry.size
    widths = [network.num_features, *(layer.units for layer in network.layers)]
    arrays: dict[str, NDArray[np.generic]] = {
        "widths": np.array(widths, np.intc),
        "weights": np.array([offsets[layer, "weight"] for layer in layers], np.intc),
        "num_weights": np.array([sizes[layer, "weight"] for layer in layers], np.intc),
    }
    for field, name in OFFSETS.items():
        arrays[field] = np.array([offsets.get((i, name), -1) for i in layers], np.intc)
    if any(plan is not None for plan in network.plans):
        arrays |= _block_arrays(network, offsets)
    return arrays


def _block_arrays(
    network: MLP, offsets: dict[tuple[int, str], int]
) -> dict[str, NDArray[np.generic]]:
    rows: list[list[int]] = []
    firsts, partitions = [0], []
    inputs = network.num_features
    for i, (layer, plan) in enumerate(zip(network.layers, network.plans, strict=True)):
        if plan is not None:
            rows += _merged(_block_rows(plan, offsets[i, "weight"], offsets.get((i, "bias"), -1)))
        firsts.append(len(rows))
        partitions.append(plan is not None and _is_partition(plan, inputs))
        inputs = layer.units
    return {
        "first_blocks": np.array(firsts, np.intc),
        "layer_blocks": np.array(rows, np.intc),
        "are_partitions": np.array(partitions, np.intc),
    }


def _block_rows(plan: BlockPlan, weight: int, bias: int) -> Iterator[list[int]]:
    """One structure LayerBlocks of each block, given the offsets of the layer's parameters."""
    for position, (block, outputs) in enumerate(plan.outputs()):
        row = [1, block.start, block.inputs, outputs.start, block.outputs]
        if block.identity:
            yield [*row, -1, -1]
        else:
            bias_offset = -1 if bias < 0 else bias + plan.bias_offsets[position]
            yield [*row, weight + plan.weight_offsets[position], bias_offset]


def _merged(rows: Iterator[list[int]]) -> list[list[int]]:
    """The structures with those of consecutive blocks of one size as one."""
    merged: list[list[int]] = []
    for row in rows:
        if merged and _follows(merged[-1], row):
            merged[-1][0] += 1
        else:
            merged.append(row)
    return merged


def _follows(blocks: list[int], row: list[int]) -> bool:
    count, start, inputs, _, outputs, weight, _ = blocks
    is_same = (inputs, outputs, weight < 0) == (row[2], row[4], row[5] < 0)
    is_next = weight < 0 or row[5] == weight + count * inputs * outputs
    return is_same and is_next and row[1] == start + count * inputs


def _is_partition(plan: BlockPlan, inputs: int) -> bool:
    """Whether the blocks read each column of their input exactly once."""
    reads = np.zeros(inputs, int)
    for block in plan.blocks:
        reads[block.start : block.start + block.inputs] += 1
    return bool((reads == 1).all())


def sections_of(factors_KP: Tensor) -> tuple[NDArray[np.intc], NDArray[np.float64]]:
    """Return the ends of the sections of theta in which each member has one factor of the learning
    rate, [S], and the factors [K, S].
    """
    changes = (factors_KP[:, 1:] != factors_KP[:, :-1]).any(0).nonzero().flatten()
    ends = torch.cat([changes + 1, torch.tensor([factors_KP.shape[1]])])
    return ends.numpy().astype(np.intc), factors_KP[:, ends - 1].contiguous().numpy()

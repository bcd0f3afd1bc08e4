"""Block layers: affine maps of small blocks of the inputs, next to one another.

A block layer embeds numbers and large categories, and scales features: each block reads a few
columns of the layer's input, and the output is the concatenation of the outputs of the blocks.
Only the weights of the blocks are parameters. They are stored group by group, where a group has all
affine blocks of one size, so that a group is one batched product.

Shapes: K members, B examples, G blocks of a group, I inputs and O outputs of a block, A outputs of
all affine blocks, D outputs of all identity blocks, W weights of all affine blocks, H = A + D
outputs of the layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mlplab.network.affine import Affine

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """One block of a layer: it reads the columns start : start + inputs of the layer's input.

    An affine block returns h W + b, an identity block a copy of its columns. The columns of two
    blocks may overlap.
    """

    start: int
    inputs: int
    outputs: int
    identity: bool = False

    def __post_init__(self) -> None:
        if self.start < 0 or self.inputs < 1 or self.outputs < 1:
            raise ValueError(f"{self} has no inputs, or no outputs, or starts before column 0")
        if self.identity and self.outputs != self.inputs:
            raise ValueError(f"{self} copies its inputs, so it has as many outputs")

    @property
    def num_weights(self) -> int:
        return 0 if self.identity else self.inputs * self.outputs

    @property
    def num_biases(self) -> int:
        return 0 if self.identity else self.outputs


def scaling_blocks(num_features: int) -> tuple[Block, ...]:
    """Return the blocks of a layer that multiplies each feature by a factor."""
    return tuple(Block(f, 1, 1) for f in range(num_features))


@dataclass(frozen=True)
class BlockGroup:
    """The affine blocks of one size.

    `positions` are their indices in the layer, `weights` and `biases` where their parameters are in
    those of the layer: [G, I, O] and [G, O].
    """

    inputs: int
    outputs: int
    positions: tuple[int, ...]
    starts: tuple[int, ...]
    weights: slice
    biases: slice

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def columns(self) -> list[int]:
        """The columns that the blocks read, G I."""
        return [c for start in self.starts for c in range(start, start + self.inputs)]


class BlockPlan:
    """How a block layer is computed: its groups, and the order of its outputs.

    `copied` are the columns that the identity blocks copy, [D]. `order` are the indices [H] of the
    layer's outputs among those of the groups, followed by the copies.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        if not self.blocks:
            raise ValueError("a block layer has at least one block")
        by_size: dict[tuple[int, int], list[int]] = {}
        for position, block in enumerate(self.blocks):
            if not block.identity:
                by_size.setdefault((block.inputs, block.outputs), []).append(position)
        if not by_size:
            raise ValueError("a block layer has at least one affine block")
        weights = biases = 0
        groups, self.weight_offsets, self.bias_offsets = [], {}, {}  # by the position of a block
        for (inputs, outputs), positions in by_size.items():
            first, first_bias = weights, biases
            for position in positions:
                self.weight_offsets[position], self.bias_offsets[position] = weights, biases
                weights, biases = weights + inputs * outputs, biases + outputs
            groups.append(
                BlockGroup(
                    inputs,
                    outputs,
                    tuple(positions),
                    tuple(self.blocks[position].start for position in positions),
                    slice(first, weights),
                    slice(first_bias, biases),
                )
            )
        self.groups = tuple(groups)
        self.num_inputs = max(block.start + block.inputs for block in self.blocks)
        self.num_weights, self.num_biases = weights, biases
        copies = [(p, block) for p, block in enumerate(self.blocks) if block.identity]
        self.copied = [c for _, b in copies for c in range(b.start, b.start + b.inputs)]
        self.order = self._order()
        self._indices: dict[tuple[str, torch.device], Tensor] = {}
        self._runs: dict[str, tuple[int, int] | None] = {}  # by the name of the columns

    def _order(self) -> list[int]:
        copied = self.num_biases
        order: list[int] = []
        for position, block in enumerate(self.blocks):
            if block.identity:
                order += range(copied, copied + block.outputs)
                copied += block.outputs
            else:
                first = self.bias_offsets[position]
                order += range(first, first + block.outputs)
        return order

    @property
    def num_outputs(self) -> int:
        return len(self.order)

    def affine(self, affine: Affine, h_KBI: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the outputs of the affine blocks by group, [K, B, A], with weights [K, 1, W] and
        biases [K, 1, A].

        `affine` computes the products of the blocks with several inputs.
        """
        outputs = [
            _group_outputs(
                affine,
                self._take(f"group {i}", h_KBI, group.columns),
                weight[:, 0, group.weights].reshape(-1, len(group), group.inputs, group.outputs),
                None
                if bias is None
                else bias[:, 0, group.biases].reshape(-1, len(group), group.outputs),
            )
            for i, group in enumerate(self.groups)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)

    def arranged(self, affine_KBA: Tensor, h_KBI: Tensor) -> Tensor:
        """Return the outputs of the layer, [K, B, H]: those of the affine blocks, and the columns
        of the layer's input that are copied, in the order of the blocks.
        """
        outputs = affine_KBA
        if self.copied:
            outputs = torch.cat([affine_KBA, self._take("copied", h_KBI, self.copied)], 2)
        return self._take("order", outputs, self.order)

    def copies(self, device: torch.device) -> Tensor:
        """Return which outputs of the layer are copies, bool [H]."""
        key = "copies", device
        if key not in self._indices:
            is_copy = torch.tensor(self.order) >= self.num_biases
            self._indices[key] = is_copy.to(device)
        return self._indices[key]

    def _take(self, name: str, h: Tensor, columns: list[int]) -> Tensor:
        """These columns, as a view if they are consecutive."""
        if name not in self._runs:
            self._runs[name] = consecutive(columns)
        if (run := self._runs[name]) is not None:
            return h if run == (0, h.shape[2]) else h[:, :, slice(*run)]
        key = name, h.device
        if key not in self._indices:
            self._indices[key] = torch.tensor(columns, device=h.device)
        return h.index_select(2, self._indices[key])

    def dense(self, weight: Tensor, num_inputs: int) -> Tensor:
        """Return the matrix [K, I, H] of the layer, given its weights [K, 1, W]."""
        dense = weight.new_zeros(len(weight), num_inputs, self.num_outputs)
        for position, (block, columns) in enumerate(self.outputs()):
            rows = slice(block.start, block.start + block.inputs)
            if block.identity:
                dense[:, rows, columns] = torch.eye(block.inputs).to(dense)
            else:
                first = self.weight_offsets[position]
                values = weight[:, 0, first : first + block.num_weights]
                dense[:, rows, columns] = values.reshape(-1, block.inputs, block.outputs)
        return dense

    def dense_bias(self, bias: Tensor) -> Tensor:
        """Return the biases [K, 1, H] of all outputs, given those of the layer, [K, 1, A]."""
        copies = bias.new_zeros(len(bias), 1, len(self.copied))
        return torch.cat([bias, copies], 2)[:, :, self.order]

    def outputs(self) -> list[tuple[Block, slice]]:
        """Return each block with the columns of the layer's output that it fills."""
        ends = [0, *itertools.accumulate(block.outputs for block in self.blocks)]
        return [(b, slice(*ends[i : i + 2])) for i, b in enumerate(self.blocks)]


def _group_outputs(
    affine: Affine, h: Tensor, weight_KGIO: Tensor, bias_KGO: Tensor | None
) -> Tensor:
    """The outputs [K, B, G O] of a group for its columns h, [K, B, G I]."""
    members, examples, _ = h.shape
    _, blocks, inputs, outputs = weight_KGIO.shape
    if inputs == 1:  # a row does not depend on the others, unlike that of a product of matrices
        z = h.unsqueeze(3) * weight_KGIO.view(-1, 1, blocks, outputs)
        return (z if bias_KGO is None else z + bias_KGO.unsqueeze(1)).flatten(2)
    product = affine(
        h.view(members, examples, blocks, inputs).transpose(1, 2).reshape(-1, examples, inputs),
        weight_KGIO.reshape(-1, inputs, outputs),
        None if bias_KGO is None else bias_KGO.reshape(-1, 1, outputs),
    )
    return product.view(members, blocks, examples, outputs).transpose(1, 2).flatten(2)


def consecutive(columns: Sequence[int]) -> tuple[int, int] | None:
    """Return the first column and the end if these are consecutive, else None."""
    first, end = columns[0], columns[0] + len(columns)
    is_run = columns[-1] == end - 1 and np.array_equal(columns, np.arange(first, end))
    return (first, end) if is_run else None


def check_block_layer(
    blocks: Sequence[Block], units: int, normalization: str, drops: bool, has_activation: bool
) -> None:
    """Raise ValueError if a layer with these blocks and options cannot be computed."""
    if units != (total := sum(block.outputs for block in blocks)):
        raise ValueError(f"a layer of {units} units has blocks of {total} outputs")
    if normalization != "none":
        raise ValueError(f"a block layer has no normalization, here {normalization}")
    if drops:
        raise ValueError("a block layer has no dropout; the next layer may have it")
    if not has_activation:
        raise ValueError("a block layer has an activation, which may be Identity()")

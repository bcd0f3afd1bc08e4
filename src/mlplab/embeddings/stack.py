"""The layers of an embedding, each of which maps some inputs in blocks and copies the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlplab.data.feature_groups import FeatureGroups
from mlplab.network.initializers import Initializer
from mlplab.network.layer import Block, Layer
from mlplab.schema import Number

COPY = "copy"
"""The kind of a span that later layers copy."""


@dataclass(frozen=True)
class Span:
    """Consecutive inputs of a layer that a later layer takes together."""

    kind: str
    width: int
    outputs: int = 0


class Stack:
    """Layers in front of a network, and the spans of what the last of them returns."""

    def __init__(self, groups: FeatureGroups) -> None:
        self.layers: list[Layer] = []
        self.spans = [Span(group.kind, group.num_inputs, group.outputs) for group in groups]

    def add(
        self, kind: str, outputs: int | None, becomes: str, keep: bool = False, **fields: Any
    ) -> None:
        """Add a layer with an affine block for each span of a kind, followed by the other inputs.

        Args:
            kind: the kind of the spans; without one, no layer is added.
            outputs: the units of each block; None takes those of the span.
            becomes: the kind of the outputs of a block.
            keep: whether the inputs of the blocks are copied too.
            fields: of the layer.
        """
        if all(span.kind != kind for span in self.spans):
            return
        affine: list[tuple[Block, Span]] = []
        copied: list[tuple[Block, Span]] = []
        start = 0
        for span in self.spans:
            width = span.width
            if span.kind == kind:
                size = span.outputs if outputs is None else outputs
                affine.append((Block(start, width, size), Span(becomes, size)))
            if span.kind != kind or keep:
                kept = Span(span.kind if span.kind != kind else COPY, width, span.outputs)
                copied.append((Block(start, width, width, identity=True), kept))
            start += width
        self._append([block for block, _ in affine], [block for block, _ in copied], **fields)
        self.spans = [span for _, span in (*affine, *copied)]

    def scale(self, initializer: Initializer, lr_factor: Number) -> None:
        """Add a layer with one factor for each input."""
        width = sum(span.width for span in self.spans)
        blocks = [Block(start, 1, 1) for start in range(width)]
        self._append(blocks, [], initializer=initializer, bias=False, lr_factor=lr_factor)

    def _append(self, affine: list[Block], copied: list[Block], **fields: Any) -> None:
        blocks = (*affine, *_joined(copied))
        units = sum(block.outputs for block in blocks)
        self.layers.append(Layer(units, fields.pop("activation", None), blocks=blocks, **fields))


def _joined(copied: list[Block]) -> list[Block]:
    """Copies of adjacent inputs as one."""
    joined: list[Block] = []
    for block in copied:
        if joined and joined[-1].start + joined[-1].inputs == block.start:
            width = joined[-1].inputs + block.inputs
            joined[-1] = Block(joined[-1].start, width, width, identity=True)
        else:
            joined.append(block)
    return joined

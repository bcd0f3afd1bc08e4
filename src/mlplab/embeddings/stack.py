"""The layers of an embedding, each of which maps some inputs in blocks and copies the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlplab.data.feature_groups import FeatureGroups
from mlplab.network.activations import Activation, Identity
from mlplab.network.blocks import Block, scaling_blocks
from mlplab.network.initializers import Initializer
from mlplab.network.layer import Layer

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
        self,
        kind: str,
        outputs: int | None,
        becomes: str,
        initializer: Initializer,
        activation: Activation | None = None,
        keep: bool = False,
        **options: Any,
    ) -> None:
        """Add a layer with an affine block for each span of a kind, followed by the other inputs.

        Args:
            kind: the kind of the spans; without one, no layer is added.
            outputs: the units of each block; None takes those of the span.
            becomes: the kind of the outputs of a block.
            initializer: of the weights and biases of the blocks.
            activation: of the blocks.
            keep: whether the inputs of the blocks are copied too.
            options: of the layer.
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
        blocks = [*(block for block, _ in affine), *_joined([block for block, _ in copied])]
        layer = Layer.of_blocks(blocks, activation or Identity(), initializer, **options)
        self.layers.append(layer)
        self.spans = [span for _, span in (*affine, *copied)]

    def scale(self, initializer: Initializer, lr_factor: float) -> None:
        """Add a layer with one factor for each input."""
        blocks = scaling_blocks(sum(span.width for span in self.spans))
        options = {"bias": False, "lr_factor": lr_factor}
        self.layers.append(Layer.of_blocks(blocks, Identity(), initializer, **options))


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

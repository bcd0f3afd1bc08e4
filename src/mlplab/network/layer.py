"""One layer of a network, as the configuration describes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlplab.network.activations.base import Activation
from mlplab.network.blocks import Block, check_block_layer
from mlplab.network.initializers import Initializer
from mlplab.schema import Number
from mlplab.stacking import active


@dataclass(frozen=True)
class Layer:
    """One layer: affine map, then normalization, activation and dropout.

    The output layer has no activation and units = 0; the loss determines its number of units.

    With `blocks`, the affine map is that of a block layer, and the activation applies to the
    outputs of its affine blocks only. Such a layer has no normalization and no dropout, and is not
    the output layer.

    The learning rate of the weights is multiplied by `lr_factor`, that of the biases by
    `bias_lr_factor`; 0 keeps them as they are.

    Raises ValueError if they do not fit together.
    """

    units: int
    activation: Activation | None
    initializer: Initializer
    bias_initializer: Initializer | None = None  # None: constant, initializer.bias
    bias: bool = True
    normalization: str = "none"
    dropout: Number = 0.0
    blocks: tuple[Block, ...] | None = None
    lr_factor: float = 1.0
    bias_lr_factor: float = 1.0

    def __post_init__(self) -> None:
        for factor in (self.lr_factor, self.bias_lr_factor):
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"a learning rate cannot be multiplied by {factor}")
        if self.blocks is not None:
            drops, has_activation = active(self.dropout), self.activation is not None
            check_block_layer(self.blocks, self.units, self.normalization, drops, has_activation)

    @classmethod
    def of_blocks(
        cls,
        blocks: Iterable[Block],
        activation: Activation,
        initializer: Initializer,
        **options: Any,
    ) -> Layer:
        """Return a block layer, which has the units that its blocks have outputs."""
        blocks = tuple(blocks)
        units = sum(block.outputs for block in blocks)
        return cls(units, activation, initializer, blocks=blocks, **options)

    @property
    def has_lr_factors(self) -> bool:
        """Whether the learning rate of any of its parameters is multiplied."""
        return self.lr_factor != 1 or (self.bias and self.bias_lr_factor != 1)


def weights_by_layer(layers: Iterable[Layer], num_inputs: int, num_outputs: int) -> list[int]:
    """Return the number of weights of each layer, without biases, of a network with this number of
    inputs and outputs.
    """
    counts = []
    for layer in layers:
        units = layer.units or num_outputs
        if layer.blocks is None:
            counts.append(num_inputs * units)
        else:
            counts.append(sum(block.num_weights for block in layer.blocks))
        num_inputs = units
    return counts


def hidden_widths(layers: Iterable[Layer]) -> list[int]:
    """Return the units of the hidden layers, without the block layers: model.hidden."""
    return [layer.units for layer in layers if layer.units and not layer.blocks]

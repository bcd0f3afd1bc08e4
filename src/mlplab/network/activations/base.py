"""What an activation is: an elementwise function of the hidden vectors of all members, with its
formula in words.

Shapes: K members, B examples in the batch, H hidden units, Q learnable numbers a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mlplab.schema import Component


@dataclass(frozen=True)
class Activation(Component):
    """An elementwise function between two layers.

    A subclass writes `value`; a number of it is a float, or a [K, 1] tensor where members differ,
    and both give the same results. At a kink the gradient is that of torch's own function, which is
    the lecture's: relu'(0) = 0.
    """

    formula: ClassVar[str]
    derivative: ClassVar[str]
    output_range: ClassVar[str]

    def __call__(self, z_KBH: Tensor, parameters_K1Q: Tensor | None = None) -> Tensor:
        """The hidden vectors: [K, B, H] as it came, in its dtype. Only an activation that learns
        uses the parameters.
        """
        return self.value(z_KBH)

    def value(self, z_KBH: Tensor) -> Tensor:
        """The function itself."""
        raise NotImplementedError

    def module(self) -> nn.Module:
        """The same function for one member, as a plain torch module: torch's own class wherever
        torch has one.
        """
        return Elementwise(self)

    def num_parameters(self) -> int:
        """How many numbers of a layer this activation learns."""
        return 0

    def initial_parameters(self) -> list[float]:
        """What these numbers are before training."""
        return []

    def warning(self) -> str | None:
        """A sentence that the user should read before training, or None."""
        return None


class Elementwise(nn.Module):
    """The torch module of an activation for which torch has no class: x [..., H] -> [..., H]."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x)

    def extra_repr(self) -> str:
        return repr(self.activation)

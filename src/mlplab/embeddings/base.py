"""The base of embeddings: which inputs they embed, and the layers that compute them."""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.data.feature_groups import CATEGORY, FeatureGroups, Grouping
from mlplab.embeddings.stack import COPY, Stack
from mlplab.network.initializers import Constant, Normal
from mlplab.network.layer import Layer
from mlplab.schema import Component, number


@dataclass(frozen=True)
class Embedding(Component):
    """What the network computes of each number before its first hidden layer.

    A subclass states how numbers are grouped, and adds its layers in `embed_numbers`. Features of 0
    and 1 stay as they are. Categories with a learned vector are embedded whatever the choice is.
    """

    scale_lr_factor: float | None = number(
        None,
        "learning rate of a learned factor on each input of the first hidden layer, relative to"
        " optimizer.lr; the factors start at 1; null has none",
        at_least=0,
        optional=True,
    )

    @property
    def grouping(self) -> Grouping:
        """What is measured on the train split."""
        return Grouping(numbers=True)

    def embed_numbers(self, stack: Stack) -> None:
        """Add the layers that embed the numbers."""

    def layers(self, groups: FeatureGroups) -> tuple[Layer, ...]:
        """Return the layers from the inputs of the network to its first hidden layer."""
        stack = Stack(groups)
        self.embed_numbers(stack)
        stack.add(CATEGORY, None, COPY, Normal(std=1.0), bias=False)
        if self.scale_lr_factor is not None:
            stack.scale(Constant(value=1.0), self.scale_lr_factor)
        return tuple(stack.layers)


@dataclass(frozen=True)
class NoEmbedding(Embedding):
    """The network takes the numbers themselves."""

    @property
    def grouping(self) -> Grouping:
        return Grouping()

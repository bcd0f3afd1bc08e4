"""The piecewise-linear encoding of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.data.feature_groups import NUMBER, Grouping
from mlplab.embeddings.base import Embedding
from mlplab.embeddings.stack import COPY, Stack
from mlplab.network.activations import Relu
from mlplab.network.initializers import TorchDefault
from mlplab.schema import choice, integer, number


@dataclass(frozen=True)
class PiecewiseLinear(Embedding):
    """How far each number fills each of its bins, which have equal numbers of train rows.

        e_t(x) = (x - b_{t-1}) / (b_t - b_{t-1}), limited to [0, 1],   t = 1..bins

    The bins are measured on the train split; the first has no lower limit and the last no upper
    limit. With `outputs`, a linear map of the bins of each number is learned. Source: Gorishniy,
    Rubachev, Babenko 2022.
    """

    bins: int = integer(
        16, "the most bins of a number; edges that coincide are one", at_least=1, at_most=1024
    )
    outputs: int | None = integer(
        None,
        "units of a learned linear map of the bins of each number; null takes the bins themselves",
        at_least=1,
        optional=True,
    )
    activation: str = choice("none", ("none", "relu"), "activation of these units")
    lr_factor: float = number(
        1.0, "learning rate of this map, relative to optimizer.lr", at_least=0
    )

    @property
    def grouping(self) -> Grouping:
        return Grouping(numbers=True, bins=self.bins)

    def embed_numbers(self, stack: Stack) -> None:
        if self.outputs is not None:
            stack.add(
                NUMBER,
                self.outputs,
                COPY,
                TorchDefault(),
                Relu() if self.activation == "relu" else None,
                lr_factor=self.lr_factor,
                bias_lr_factor=self.lr_factor,
            )

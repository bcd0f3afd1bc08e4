"""One layer of a network, as the configuration describes it."""

from dataclasses import dataclass

from mlplab.network.activations.base import Activation
from mlplab.network.initializers import Initializer
from mlplab.schema import Number


@dataclass(frozen=True)
class Layer:
    """One layer: affine map, then normalization, activation and dropout.

    The output layer has no activation and units = 0; the loss determines its number of units.
    A hidden layer with units = 0 stands for all hidden layers until the data decides on them.
    """

    units: int
    activation: Activation | None
    initializer: Initializer
    bias_initializer: Initializer | None = None  # None: constant, initializer.bias
    bias: bool = True
    normalization: str = "none"
    dropout: Number = 0.0

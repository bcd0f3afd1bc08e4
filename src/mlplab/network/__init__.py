"""Feed-forward networks: structure, activations, initial weights, and export to plain PyTorch."""

from mlplab.network.activations import ACTIVATIONS, Activation
from mlplab.network.initializers import INITIALIZERS, Initializer
from mlplab.network.layout import Layout
from mlplab.network.mlp import MLP, Dropout, initial_theta, stack_layers
from mlplab.network.module import as_module, stacked_states

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MLP",
    "Activation",
    "Dropout",
    "Initializer",
    "Layout",
    "as_module",
    "initial_theta",
    "stack_layers",
    "stacked_states",
]

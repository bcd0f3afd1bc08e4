"""Feed-forward networks: structure, activations, initial weights, and export to plain PyTorch."""

from mlplab.network.activations import ACTIVATIONS, Activation
from mlplab.network.blocks import Block, scaling_blocks
from mlplab.network.initial_theta import initial_theta
from mlplab.network.initializers import INITIALIZERS, Initializer
from mlplab.network.layer import Layer, hidden_widths, weights_by_layer
from mlplab.network.layout import Layout
from mlplab.network.mlp import MLP, Dropout, stack_layers
from mlplab.network.module import as_module, stacked_states

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MLP",
    "Activation",
    "Block",
    "Dropout",
    "Initializer",
    "Layer",
    "Layout",
    "as_module",
    "hidden_widths",
    "initial_theta",
    "scaling_blocks",
    "stack_layers",
    "stacked_states",
    "weights_by_layer",
]

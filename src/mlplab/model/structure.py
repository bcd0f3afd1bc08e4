"""The network structure that settings, data and loss require."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mlplab.losses import Loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.network import as_module
from mlplab.network.affine import Affine, affine
from mlplab.network.mlp import MLP, PopulationLayer
from mlplab.settings import Settings


def to_module(
    settings: Settings,
    preprocessing: Preprocessing,
    theta_P: Tensor,
    buffers: dict[str, Tensor],
    loss: Loss,
) -> nn.Sequential:
    """Return the network of one member as plain PyTorch, with parameters theta_P."""
    network = build_structure(settings, preprocessing, loss)
    return as_module(network.layout, network.layers, theta_P, buffers)


def build_structure(
    settings: Settings, preprocessing: Preprocessing, loss: Loss, affine: Affine = affine
) -> MLP:
    """Return the structure of the network, without parameter values.

    The output layer has the number of units that the loss needs.
    """
    layers = [
        PopulationLayer(
            layer.units, layer.activation, layer.bias, layer.normalization, layer.dropout
        )
        for layer in settings.layers
    ]
    layers[-1] = replace(layers[-1], units=loss.num_outputs(preprocessing.task))
    return MLP(len(preprocessing.feature_names), layers, affine)

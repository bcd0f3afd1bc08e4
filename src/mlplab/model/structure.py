"""The network structure that settings, data and loss require."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mlplab.losses import Loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.network import as_module
from mlplab.network.mlp import MLP, PopulationLayer
from mlplab.settings import Settings

if TYPE_CHECKING:
    from mlplab.network.layer import Layer


def to_module(
    settings: Settings,
    preprocessing: Preprocessing,
    theta_P: Tensor,
    buffers: dict[str, Tensor],
    loss: Loss,
) -> nn.Sequential:
    """Return the network of one member as plain PyTorch, with parameters theta_P."""
    return as_module(
        build_structure(settings, preprocessing, loss).layout,
        layers_with_output(settings, preprocessing, loss),
        theta_P,
        buffers,
    )


def layers_with_output(settings: Settings, preprocessing: Preprocessing, loss: Loss) -> list[Layer]:
    """Return the layers, the last one with the number of outputs that the loss needs."""
    return [
        *settings.layers[:-1],
        replace(settings.layers[-1], units=loss.num_outputs(preprocessing.task)),
    ]


def build_structure(settings: Settings, preprocessing: Preprocessing, loss: Loss) -> MLP:
    """Return the structure of the network, without parameter values."""
    layers = [
        PopulationLayer(
            layer.units, layer.activation, layer.bias, layer.normalization, layer.dropout
        )
        for layer in layers_with_output(settings, preprocessing, loss)
    ]
    return MLP(len(preprocessing.feature_names), layers)

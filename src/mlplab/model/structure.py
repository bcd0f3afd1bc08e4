"""The network structure that settings, data and loss require."""

from __future__ import annotations

from dataclasses import replace

from mlplab.losses import Loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.network.affine import Affine, affine
from mlplab.network.mlp import MLP, PopulationLayer
from mlplab.settings import Settings


def build_structure(
    settings: Settings, preprocessing: Preprocessing, loss: Loss, affine: Affine = affine
) -> MLP:
    """Return the structure of the network, without parameter values.

    The output layer has the number of units that the loss needs.
    """
    layers = [
        PopulationLayer(
            layer.units,
            layer.activation,
            layer.bias,
            layer.normalization,
            layer.dropout,
            layer.blocks,
        )
        for layer in settings.layers
    ]
    layers[-1] = replace(layers[-1], units=loss.num_outputs(preprocessing.task))
    return MLP(len(preprocessing.feature_names), layers, affine)

"""The network structure that settings, data and loss require."""

from __future__ import annotations

from dataclasses import replace

from mlplab.losses import Loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.network.affine import Affine, affine
from mlplab.network.mlp import MLP, PopulationLayer
from mlplab.settings import Settings
from mlplab.training.embedding import with_embedding


def build_structure(
    settings: Settings, preprocessing: Preprocessing, loss: Loss, affine: Affine = affine
) -> MLP:
    """Return the structure of the network, without parameter values.

    The output layer has the number of units that the loss needs.
    """
    num_inputs = len(preprocessing.input_names)
    settings = with_embedding(settings, preprocessing.groups, num_inputs)
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
    return MLP(num_inputs, layers, affine)

"""Batched predictions of several networks of equal structure.

Shapes: M runs, N rows, F features, C classes or targets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from mlplab.losses import resolve_auto_loss
from mlplab.runs.run import Run

MAX_ACTIVATIONS = 1 << 22  # of one layer, all networks together: bounds the memory


class StackedModels:
    """Networks of equal structure that predict from shared features, or each from its features."""

    def __init__(self, runs: Sequence[Run]) -> None:
        first = runs[0]
        self.loss = resolve_auto_loss(first.settings.loss, first.preprocessing.task)
        modules = [run.module().eval() for run in runs]
        self.runs, self.size = tuple(runs), len(modules)
        self.max_width = max(
            len(first.preprocessing.feature_names),
            *(layer.units for layer in first.settings.layers),
            1,
        )
        self.dtype = next(modules[0].parameters()).dtype
        self.parameters, self.buffers = stack_module_state(modules)
        self.template: nn.Module = copy.deepcopy(modules[0]).to("meta")

    @torch.no_grad()
    def predict(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predictions of all networks, after the output function of the loss: float64
        [M, N, C].

        `features` are scaled [N, F]: one array for all networks, or one per network.
        """
        shared = len(features) == 1
        chunk_size, predictions = max(1, MAX_ACTIVATIONS // (self.size * self.max_width)), []
        for start in range(0, max(1, len(features[0])), chunk_size):
            batches = [
                torch.from_numpy(np.ascontiguousarray(features_NF[start : start + chunk_size])).to(
                    self.dtype
                )
                for features_NF in features
            ]
            x = batches[0] if shared else torch.stack(batches)
            outputs_MNC = torch.vmap(self._forward_member, in_dims=(0, 0, None if shared else 0))(
                self.parameters, self.buffers, x
            )
            predictions.append(self.loss.predict(outputs_MNC).double())
        return torch.cat(predictions, 1).numpy()

    def _forward_member(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x_NF: Tensor
    ) -> Tensor:
        outputs: Tensor = functional_call(self.template, (parameters, buffers), (x_NF,))
        return outputs


def structure_key(run: Run) -> str:
    """Return a key that is equal for runs whose networks differ only in their weights."""
    settings = run.settings
    layers = [
        (layer.units, layer.activation, layer.bias, layer.normalization, layer.dropout)
        for layer in settings.layers
    ]
    return repr((layers, settings.loss, settings.dtype, len(run.preprocessing.feature_names)))

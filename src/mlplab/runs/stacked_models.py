"""Several networks that predict at once: those of equal structure as one population. Shapes: M
runs, N rows, F features, C classes or targets.
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

BLOCK = 1 << 22  # numbers of a layer at once: bounds the memory of many networks


class StackedModels:
    """Networks of one structure, on features that they share or that each has of its own."""

    def __init__(self, runs: Sequence[Run]) -> None:
        first = runs[0]
        self.loss = resolve_auto_loss(first.settings.loss, first.preprocessing.task)
        modules = [run.module().eval() for run in runs]
        self.runs, self.size = tuple(runs), len(modules)
        self.widest = max(
            len(first.preprocessing.feature_names),
            *(layer.units for layer in first.settings.layers),
            1,
        )
        self.dtype = next(modules[0].parameters()).dtype
        self.parameters, self.buffers = stack_module_state(modules)
        self.blank: nn.Module = copy.deepcopy(modules[0]).to("meta")

    @torch.no_grad()
    def predicted(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """What the loss makes of the outputs: float64 [M, N, C]. `features`: scaled [N, F], one
        array for all or one each.
        """
        shared = len(features) == 1
        rows, found = max(1, BLOCK // (self.size * self.widest)), []
        for start in range(0, max(1, len(features[0])), rows):
            pieces = [
                torch.from_numpy(np.ascontiguousarray(one[start : start + rows])).to(self.dtype)
                for one in features
            ]
            x = pieces[0] if shared else torch.stack(pieces)
            outputs_MNC = torch.vmap(self._one, in_dims=(0, 0, None if shared else 0))(
                self.parameters, self.buffers, x
            )
            found.append(self.loss.predict(outputs_MNC).double())
        return torch.cat(found, 1).numpy()

    def _one(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x_NF: Tensor
    ) -> Tensor:
        outputs: Tensor = functional_call(self.blank, (parameters, buffers), (x_NF,))
        return outputs


def structure_key(run: Run) -> str:
    """What networks must agree in to predict together: all but their weights."""
    own = run.settings
    layers = [
        (layer.units, layer.activation, layer.bias, layer.normalization, layer.dropout)
        for layer in own.layers
    ]
    return repr((layers, own.loss, own.dtype, len(run.preprocessing.feature_names)))

"""A network and batches that record one update, without changing a bit of it.

Shapes: K = 1 member, B examples of the batch, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.network.layout import LayerViews
from mlplab.network.mlp import MLP, Buffers, Drop
from mlplab.training.batches import Batch, Batches


@dataclass(frozen=True)
class Signal:
    """The inputs of a layer and its pre-activations, which keep their gradients: [1, B, ...]."""

    layer: int
    h: Tensor
    z: Tensor


class RecordingNetwork(MLP):
    """The same network; the signals of every forward pass of the training are kept."""

    def __init__(self, network: MLP) -> None:
        super().__init__(network.num_features, network.layers, network.affine)
        self.passes: list[list[Signal]] = []

    def signal(
        self, i: int, view: LayerViews, h: Tensor, buffers: Buffers, training: bool = False
    ) -> Tensor:
        z = super().signal(i, view, h, buffers, training)
        if training and torch.is_grad_enabled():
            if i == 0:
                self.passes.append([])
            for tensor in (h, z):
                if tensor.requires_grad:
                    tensor.retain_grad()
            self.passes[-1].append(Signal(i, h, z))
        return z

    def layer_outputs(
        self,
        i: int,
        view: LayerViews,
        h: Tensor,
        buffers: Buffers,
        training: bool,
        dropout: Drop | None,
    ) -> Tensor:
        """The same outputs; those of a block layer from its pre-activations, which are kept."""
        if self.plans[i] is None:
            return super().layer_outputs(i, view, h, buffers, training, dropout)
        return self.activated(i, view, self.signal(i, view, h, buffers, training))


class RowBatches(Batches):
    """Batches of the same training rows, in place of those of the epoch."""

    def __init__(self, batches: Batches, rows: Sequence[int]) -> None:
        self.__dict__ = {**batches.__dict__}
        self._rows = torch.tensor(rows)

    def epoch(self, epoch: int | Tensor, first: int = 0) -> Iterator[Batch]:
        data = self.data
        batch = (
            data.x[:, self._rows],
            data.y[:, self._rows],
            None if data.weights is None else data.weights[:, self._rows],
        )
        while True:
            yield batch


class RecordedBatches(Batches):
    """The batches of the epoch; the last one taken is kept as `last`."""

    last: Batch

    def __init__(self, batches: Batches) -> None:
        self.__dict__ = {**batches.__dict__}
        self._batches = batches

    def epoch(self, epoch: int | Tensor, first: int = 0) -> Iterator[Batch]:
        for batch in self._batches.epoch(epoch, first):
            self.last = batch
            yield batch

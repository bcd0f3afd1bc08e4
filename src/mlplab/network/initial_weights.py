"""Weights of a trained network from which another training starts.

Shapes: P parameters of the trained network, H units of a layer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.errors import IncompatibleSettingsError
from mlplab.network.layout import Entry, Layout
from mlplab.network.mlp import MLP, Buffers


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """The weights [P] and running statistics ([H] each) of a trained network, and what it read.

    `targets` are its classes, or the names of its targets.
    """

    source: str
    entries: tuple[Entry, ...]
    theta_P: Tensor
    buffers: Buffers
    feature_names: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the numbers."""
        digest = hashlib.sha256()
        for tensor in (self.theta_P, *self.buffers.values()):
            digest.update(tensor.detach().cpu().double().numpy().tobytes())
        return digest.hexdigest()

    def num_layers(self, network: MLP, targets: tuple[str, ...]) -> int:
        """Return how many layers of a network, from the first on, start from these weights: those
        of the same shapes, and the output layer only for the same targets.
        """
        layout = network.layout
        ours, theirs = _by_layer(self.entries), _by_layer(layout.entries)
        ends = 0
        for mine, other in zip(ours, theirs, strict=False):
            if mine != other:
                break
            ends += 1
        output = min(len(ours), len(theirs)) - 1
        is_same_output = len(ours) == len(theirs) and targets == self.targets
        return ends if ends <= output or is_same_output else output

    def check(self, network: MLP, features: tuple[str, ...], targets: tuple[str, ...]) -> int:
        """Return `num_layers`.

        Raises IncompatibleSettingsError if it is 0, or if the inputs differ.
        """
        if features != self.feature_names:
            raise IncompatibleSettingsError(
                f"init_from={self.source} read other inputs: {_difference(self.feature_names)}, but"
                f" this training reads {_difference(features)}. Its weights belong to its columns"
                " and categories, in their order: use data with the same ones, or leave out"
                " init_from."
            )
        if not (layers := self.num_layers(network, targets)):
            widths = [e.shape[1] for e in self.entries if e.name == "weight" and not e.blocks]
            raise IncompatibleSettingsError(
                f"init_from={self.source} has no layer of the structure of this network: its hidden"
                f" layers are model.hidden={widths[:-1]}, and at least the first must agree in its"
                " width, bias and normalization."
            )
        return layers

    def fill(self, network: MLP, layers: int, theta_P: Tensor, buffers: Buffers) -> None:
        """Copy the first layers into the weights and running statistics of a network, in place."""
        theirs = _views(Layout(list(self.entries)), self.theta_P)
        for key, value in _views(network.layout, theta_P).items():
            if key[0] < layers:
                value.copy_(theirs[key])
        for name, value in buffers.items():
            if int(name.partition(".")[0]) < layers:
                value.copy_(self.buffers[name])


def _views(layout: Layout, theta_P: Tensor) -> dict[tuple[int, str], Tensor]:
    views = layout.split(theta_P.unsqueeze(0))
    return {(e.layer, e.name): view[0] for e, view in zip(layout.entries, views, strict=True)}


def _by_layer(entries: tuple[Entry, ...]) -> list[list[Entry]]:
    count = 1 + max(entry.layer for entry in entries)
    return [[entry for entry in entries if entry.layer == layer] for layer in range(count)]


def _difference(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{len(names)} ({shown})"


def fill_rows(
    weights: list[InitialWeights | None],
    network: MLP,
    features: list[tuple[str, ...]],
    targets: list[tuple[str, ...]],
    theta_KP: Tensor,
    buffers: Buffers,
) -> None:
    """Start members from weights, those that have some, in place."""
    with torch.no_grad():
        for k, initial in enumerate(weights):
            if initial is not None:
                layers = initial.check(network, features[k], targets[k])
                rows = {name: value[k] for name, value in buffers.items()}
                initial.fill(network, layers, theta_KP[k], rows)

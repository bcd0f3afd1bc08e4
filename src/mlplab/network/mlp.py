"""K feed-forward networks of the same structure, h <- f(h W + b), as batched matrix products.

Shapes: K members, B examples, F features, H units of a layer, C outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlplab import randomness
from mlplab.network.activations import Activation
from mlplab.network.affine import Affine, affine
from mlplab.network.initializers import Initializer
from mlplab.network.layer import Layer
from mlplab.network.layout import Entry, LayerViews, Layout
from mlplab.network.normalization import batch_norm, layer_norm
from mlplab.schema import Number
from mlplab.stacking import active, fit, select, stack, stack_numbers

Buffers = dict[str, Tensor]
"""Running statistics of batch normalization: "0.mean" and "0.variance" of layer 0, each [K, H]."""

Drop = Callable[[Tensor, Number, int], Tensor]
"""(h_KBH, rate, layer) -> h_KBH: `Dropout` at one step."""


@dataclass(frozen=True)
class PopulationLayer:
    """One layer of K members; hyperparameters may be [K, 1] tensors."""

    units: int
    activation: Activation | None
    bias: bool
    normalization: str
    dropout: Number


class Dropout:
    """Inverted dropout: drop with probability p, scale the rest by 1 / (1 - p).

    The mask is a function of (seed, step, layer), so that it does not depend on earlier draws.
    """

    def __init__(self, keys_K1: Tensor, num_layers: int) -> None:
        self.keys_K1, self.num_layers = keys_K1, num_layers

    def __call__(
        self, step: int | Tensor, first: int, h_KBH: Tensor, rate: Number, layer: int
    ) -> Tensor:
        """Return the outputs of a layer with some of them dropped.

        `first` is the index in the batch of the first example: not 0 in a shard of a batch.
        """
        index = torch.arange(h_KBH[0].numel(), device=h_KBH.device) + first * h_KBH.shape[2]
        uniform_KN = randomness.uniforms(
            self.keys_K1, step * self.num_layers + layer, index, h_KBH.dtype
        )
        keep_KBH = uniform_KN.view_as(h_KBH) >= fit(rate, h_KBH)
        return torch.where(keep_KBH, h_KBH * fit(1 / (1 - rate), h_KBH), 0.0)


class MLP:
    """The structure shared by K members, and the per-member hyperparameters of its layers."""

    def __init__(
        self, num_features: int, layers: Sequence[PopulationLayer], affine: Affine = affine
    ) -> None:
        self.num_features, self.layers, self.affine = num_features, tuple(layers), affine
        widths = [num_features, *(layer.units for layer in layers)]
        self.layout = Layout(
            [entry for i, layer in enumerate(layers) for entry in _entries(i, layer, widths[i])]
        )
        self.has_batch_norm = any(layer.normalization == "batch" for layer in layers)
        self.has_dropout = any(active(layer.dropout) for layer in layers)

    def canceled_biases(self) -> list[Entry]:
        """Return the biases in front of batch normalization, which subtracts them again.

        Their gradient is 0, but autograd's is rounding noise, of which an optimizer that divides by
        the size of the gradient, or takes its sign, makes steps of full size.
        """
        return [
            entry
            for entry in self.layout.entries
            if entry.name == "bias" and self.layers[entry.layer].normalization == "batch"
        ]

    def buffers(self, num_members: int, dtype: torch.dtype, device: torch.device) -> Buffers:
        """Return initial running statistics: means 0, variances 1."""
        return {
            f"{i}.{name}": torch.full((num_members, layer.units), start, dtype=dtype, device=device)
            for i, layer in enumerate(self.layers)
            if layer.normalization == "batch"
            for name, start in (("mean", 0.0), ("variance", 1.0))
        }

    def forward(
        self,
        views: Sequence[LayerViews],
        x_KBF: Tensor,
        buffers: Buffers,
        training: bool = False,
        dropout: Drop | None = None,
    ) -> Tensor:
        """Return the outputs, [K, B, C]. Dropout is applied only if `dropout` is not None."""
        h = x_KBF
        for i, view in enumerate(views):
            h = self._layer(i, view, h, buffers, training, dropout)
        return h

    def hidden(self, views: Sequence[LayerViews], x_KBF: Tensor, buffers: Buffers) -> list[Tensor]:
        """Return the outputs of each layer, including the output layer: each [K, B, H]."""
        outputs = [x_KBF]
        for i, view in enumerate(views):
            outputs.append(self._layer(i, view, outputs[-1], buffers, False, None))
        return outputs[1:]

    def _layer(
        self,
        i: int,
        view: LayerViews,
        h: Tensor,
        buffers: Buffers,
        training: bool,
        dropout: Drop | None,
    ) -> Tensor:
        layer = self.layers[i]
        h = self.signal(i, view, h, buffers, training)
        if layer.activation is not None:
            h = layer.activation(h, view.slopes) if view.slopes is not None else layer.activation(h)
        if dropout is not None and active(layer.dropout):
            h = dropout(h, layer.dropout, i)
        return h

    def signal(
        self, i: int, view: LayerViews, h: Tensor, buffers: Buffers, training: bool = False
    ) -> Tensor:
        """Return the pre-activations of layer i for the inputs h of the layer, [K, B, H].

        This is the affine map, followed by the normalization if the layer has one.
        """
        layer = self.layers[i]
        h = self.affine(h, view.weight, view.bias)
        return (
            h if layer.normalization == "none" else _normalize(h, layer, view, buffers, i, training)
        )

    def select(self, rows: Tensor) -> MLP:
        """Return the structure for a subset of the members."""
        layers = [
            replace(
                layer,
                activation=None if layer.activation is None else select(layer.activation, rows),
                dropout=(
                    layer.dropout.index_select(0, rows)
                    if isinstance(layer.dropout, Tensor)
                    else layer.dropout
                ),
            )
            for layer in self.layers
        ]
        return MLP(self.num_features, layers, self.affine)


def stack_layers(
    members: Sequence[Sequence[Layer]], num_outputs: int, device: torch.device
) -> list[PopulationLayer]:
    """Return the stacked layers of K members. Raises ValueError if their structures differ."""
    stacked = []
    for position in zip(*members, strict=True):
        first = position[0]
        kinds = {
            (layer.units, layer.bias, layer.normalization, type(layer.activation))
            for layer in position
        }
        if len(kinds) > 1:
            raise ValueError("members of one population cannot differ in the structure of a layer")
        activation = (
            stack([layer.activation for layer in position], device)
            if first.activation is not None
            else None
        )
        stacked.append(
            PopulationLayer(
                first.units or num_outputs,
                activation,
                first.bias,
                first.normalization,
                stack_numbers([layer.dropout for layer in position], device),
            )
        )
    return stacked


def initial_theta(layout: Layout, members: Sequence[Sequence[Layer]], seeds: list[int]) -> Tensor:
    """Return the initial parameters of all members, float64 [K, P] on the CPU.

    The weights and the biases of each layer of a member have separate generators, so that changing
    one layer does not change the initial values of the others.
    """
    theta_KP = torch.zeros(len(seeds), layout.num_parameters, dtype=torch.float64)
    fan_in = {entry.layer: entry.shape[0] for entry in layout.entries if entry.name == "weight"}
    for entry, value in zip(layout.entries, layout.split(theta_KP), strict=True):
        layers = [layers[entry.layer] for layers in members]
        if entry.name == "weight":
            weight_KOI = torch.empty(len(seeds), *entry.shape[::-1], dtype=torch.float64)
            for weight_OI, layer, seed in zip(weight_KOI.unbind(), layers, seeds, strict=True):
                initializer = layer.initializer.of_layer(entry.layer, layout.num_layers)
                initializer.fill(weight_OI, _generator(seed, entry))
            value.copy_(weight_KOI.mT)
        elif entry.name == "bias":
            for bias_O, layer, seed in zip(value.squeeze(1).unbind(), layers, seeds, strict=True):
                _fill_bias(bias_O, layer, layout.num_layers, fan_in[entry.layer], seed, entry)
        elif entry.name == "norm_scale":
            value.fill_(1.0)
        elif entry.name == "slopes":
            initial = [
                layer.activation.initial_parameters() for layer in layers if layer.activation
            ]
            value.copy_(torch.tensor(initial, dtype=torch.float64).unsqueeze(1))
    return theta_KP


def _generator(seed: int, entry: Entry) -> torch.Generator:
    return randomness.torch_generator(seed, "init", entry.layer, entry.name)


def _fill_bias(
    bias_O: Tensor, layer: Layer, num_layers: int, fan_in: int, seed: int, entry: Entry
) -> None:
    """Write the initial biases of one member, which are 0, in place."""
    if layer.bias_initializer is not None:
        layer.bias_initializer.fill(bias_O.view(-1, 1), _generator(seed, entry))
        return
    initializer = layer.initializer.of_layer(entry.layer, num_layers)
    if initializer.bias == 0 and type(initializer).fill_bias is Initializer.fill_bias:
        return  # the most frequent case
    initializer.fill_bias(bias_O, fan_in, _generator(seed, entry))


def _entries(i: int, layer: PopulationLayer, num_inputs: int) -> list[Entry]:
    entries = [Entry(i, "weight", (num_inputs, layer.units))]
    if layer.bias:
        entries.append(Entry(i, "bias", (1, layer.units)))
    if layer.normalization != "none":
        entries += [Entry(i, name, (1, layer.units)) for name in ("norm_scale", "norm_shift")]
    if layer.activation is not None and layer.activation.num_parameters():
        entries.append(Entry(i, "slopes", (1, layer.activation.num_parameters())))
    return entries


def _normalize(
    z_KBH: Tensor,
    layer: PopulationLayer,
    view: LayerViews,
    buffers: Buffers,
    i: int,
    training: bool,
) -> Tensor:
    assert view.norm_scale is not None
    assert view.norm_shift is not None
    if layer.normalization == "layer":
        return layer_norm(z_KBH, view.norm_scale, view.norm_shift)
    return batch_norm(
        z_KBH,
        view.norm_scale,
        view.norm_shift,
        buffers[f"{i}.mean"],
        buffers[f"{i}.variance"],
        training,
    )

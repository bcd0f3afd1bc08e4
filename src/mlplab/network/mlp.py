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
from mlplab.network.blocks import Block, BlockPlan, check_block_layer
from mlplab.network.layer import Layer
from mlplab.network.layout import Entry, LayerViews, Layout
from mlplab.network.normalization import batch_norm, layer_norm
from mlplab.schema import Number
from mlplab.stacking import active, fit, select, select_number, stack, stack_numbers

Buffers = dict[str, Tensor]
"""Running statistics of batch normalization: "0.mean" and "0.variance" of layer 0, each [K, H]."""

Drop = Callable[[Tensor, Number, int], Tensor]
"""(h_KBH, rate, layer) -> h_KBH: `Dropout` at one step."""


@dataclass(frozen=True)
class PopulationLayer:
    """One layer of K members; hyperparameters may be [K, 1] tensors. See `Layer`."""

    units: int
    activation: Activation | None
    bias: bool
    normalization: str
    dropout: Number
    blocks: tuple[Block, ...] | None = None
    lr_factor: Number = 1.0
    bias_lr_factor: Number = 1.0

    def __post_init__(self) -> None:
        if self.blocks is not None:
            drops, has_activation = active(self.dropout), self.activation is not None
            check_block_layer(self.blocks, self.units, self.normalization, drops, has_activation)


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
        self.plans = [None if layer.blocks is None else BlockPlan(layer.blocks) for layer in layers]
        for plan, width in zip(self.plans, widths, strict=False):
            if plan is not None and plan.num_inputs > width:
                raise ValueError(f"a block reads {plan.num_inputs} of {width} inputs of its layer")
        self.layout = Layout(
            [
                entry
                for i, (layer, plan) in enumerate(zip(layers, self.plans, strict=True))
                for entry in _entries(i, layer, widths[i], plan)
            ]
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
            h = self.layer_outputs(i, view, h, buffers, training, dropout)
        return h

    def hidden(self, views: Sequence[LayerViews], x_KBF: Tensor, buffers: Buffers) -> list[Tensor]:
        """Return the outputs of each layer, including the output layer: each [K, B, H]."""
        outputs = [x_KBF]
        for i, view in enumerate(views):
            outputs.append(self.layer_outputs(i, view, outputs[-1], buffers, False, None))
        return outputs[1:]

    def layer_outputs(
        self,
        i: int,
        view: LayerViews,
        h: Tensor,
        buffers: Buffers,
        training: bool,
        dropout: Drop | None,
    ) -> Tensor:
        """Return the outputs of layer i for the inputs h of the layer, [K, B, H]."""
        layer = self.layers[i]
        if (plan := self.plans[i]) is not None:
            z_KBA = plan.affine(self.affine, h, view.weight, view.bias)
            return plan.arranged(_activated(layer, view, z_KBA), h)
        h = self.signal(i, view, h, buffers, training)
        if layer.activation is not None:
            h = _activated(layer, view, h)
        if dropout is not None and active(layer.dropout):
            h = dropout(h, layer.dropout, i)
        return h

    def signal(
        self, i: int, view: LayerViews, h: Tensor, buffers: Buffers, training: bool = False
    ) -> Tensor:
        """Return the pre-activations of layer i for the inputs h of the layer, [K, B, H].

        This is the affine map, followed by the normalization if the layer has one. Those of
        identity blocks are the copied inputs, to which no activation applies.
        """
        layer = self.layers[i]
        if (plan := self.plans[i]) is not None:
            return plan.arranged(plan.affine(self.affine, h, view.weight, view.bias), h)
        h = self.affine(h, view.weight, view.bias)
        return (
            h if layer.normalization == "none" else _normalize(h, layer, view, buffers, i, training)
        )

    def activated(self, i: int, view: LayerViews, z: Tensor) -> Tensor:
        """Return the outputs of the activation of layer i for pre-activations, [K, B, H]; those of
        identity blocks are copies. The output layer has no activation.
        """
        layer, plan = self.layers[i], self.plans[i]
        if layer.activation is None:
            return z
        h = _activated(layer, view, z)
        return h if plan is None else torch.where(plan.copies(z.device), z, h)

    def dense(self, i: int, view: LayerViews) -> tuple[Tensor, Tensor | None]:
        """Return the matrix [K, I, H] and the biases [K, 1, H] of layer i, for a block layer those
        of an affine map of all its inputs, with zeros.
        """
        plan = self.plans[i]
        if plan is None:
            return view.weight, view.bias
        inputs = self.layers[i - 1].units if i else self.num_features
        bias = None if view.bias is None else plan.dense_bias(view.bias)
        return plan.dense(view.weight, inputs), bias

    def lr_factors(self, device: torch.device) -> Tensor | None:
        """Return the factor of the learning rate of each parameter, float64 [1 or K, P]; None if
        all are 1.
        """
        factors = [_lr_factor(self.layers[entry.layer], entry) for entry in self.layout.entries]
        if all(not isinstance(factor, Tensor) and factor == 1 for factor in factors):
            return None
        rows = max(len(f) if isinstance(f, Tensor) else 1 for f in factors)
        return torch.cat(
            [
                torch.as_tensor(factor, dtype=torch.float64, device=device)
                .reshape(-1, 1)
                .expand(rows, entry.size)
                for factor, entry in zip(factors, self.layout.entries, strict=True)
            ],
            1,
        )

    def select(self, rows: Tensor) -> MLP:
        """Return the structure for a subset of the members."""
        layers = [
            replace(
                layer,
                activation=None if layer.activation is None else select(layer.activation, rows),
                dropout=select_number(layer.dropout, rows),
                lr_factor=select_number(layer.lr_factor, rows),
                bias_lr_factor=select_number(layer.bias_lr_factor, rows),
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
            (layer.units, layer.bias, layer.normalization, layer.blocks, type(layer.activation))
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
                first.blocks,
                stack_numbers([layer.lr_factor for layer in position], device),
                stack_numbers([layer.bias_lr_factor for layer in position], device),
            )
        )
    return stacked


def _entries(
    i: int, layer: PopulationLayer, num_inputs: int, plan: BlockPlan | None
) -> list[Entry]:
    weights = (num_inputs, layer.units) if plan is None else (1, plan.num_weights)
    entries = [Entry(i, "weight", weights, layer.blocks)]
    if layer.bias:
        num_biases = layer.units if plan is None else plan.num_biases
        entries.append(Entry(i, "bias", (1, num_biases), layer.blocks))
    if layer.normalization != "none":
        entries += [Entry(i, name, (1, layer.units)) for name in ("norm_scale", "norm_shift")]
    if layer.activation is not None and layer.activation.num_parameters():
        entries.append(Entry(i, "slopes", (1, layer.activation.num_parameters())))
    return entries


def _lr_factor(layer: PopulationLayer, entry: Entry) -> Number:
    if entry.name == "bias":
        return layer.bias_lr_factor
    return layer.lr_factor if entry.name == "weight" else 1.0


def _activated(layer: PopulationLayer, view: LayerViews, z: Tensor) -> Tensor:
    assert layer.activation is not None
    return layer.activation(z) if view.slopes is None else layer.activation(z, view.slopes)


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

"""Export of a member as plain PyTorch: an nn.Sequential that predicts, trains and is saved without
mlplab.

Shapes: P parameters of one member, H units of a layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlplab.network.block_module import activation_module, block_module
from mlplab.network.layer import Layer
from mlplab.network.layout import LayerViews, Layout
from mlplab.network.mlp import PopulationLayer


def as_module(
    layout: Layout,
    layers: Sequence[Layer | PopulationLayer],
    theta_P: Tensor,
    buffers: dict[str, Tensor],
) -> nn.Sequential:
    """Return one member as an nn.Sequential in evaluation mode, with copies of its weights.

    Each layer becomes Linear, normalization, activation and Dropout, as far as it has them.
    `buffers` holds the running statistics of the member, each [H]. The output layer returns what
    the loss takes: logits or scaled values. A block layer, with its activation, is a
    torch.fx.GraphModule, whose code is stored with it.
    """
    steps: list[nn.Module] = []
    views = layout.layers(layout.split(theta_P.detach().unsqueeze(0)))
    for i, (layer, view) in enumerate(zip(layers, views, strict=True)):
        if layer.blocks is not None:
            steps.append(block_module(layer, view))
            continue
        steps.append(_linear(view))
        if layer.normalization != "none":
            steps.append(_normalization(layer, view, buffers, i))
        if layer.activation is not None:
            steps.append(activation_module(layer.activation, view))
        if isinstance(layer.dropout, float) and layer.dropout > 0:
            steps.append(nn.Dropout(layer.dropout))
    return nn.Sequential(*steps).eval()


def stacked_states(
    layout: Layout,
    layers: Sequence[Layer | PopulationLayer],
    theta_KP: Tensor,
    buffers: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Return the state_dict of `as_module` for K members at once: name -> [K, ...].

    `buffers` are those of all members, each [K, H]. One module is filled with the indices of the
    values instead of the values; its state_dict then maps each entry to its source.
    """
    values_KQ = torch.cat([theta_KP, *buffers.values()], dim=1)
    sizes = [theta_KP.shape[1], *(values_KH.shape[1] for values_KH in buffers.values())]
    indices = torch.split(torch.arange(values_KQ.shape[1], dtype=torch.float64), sizes)
    module = as_module(layout, layers, indices[0], dict(zip(buffers, indices[1:], strict=True)))
    return {
        name: (
            values_KQ[:, index.long().flatten()].view(-1, *index.shape)
            if index.is_floating_point()
            else index.expand(len(theta_KP), *index.shape)
        )
        for name, index in module.state_dict().items()
    }


def _linear(view: LayerViews) -> nn.Linear:
    weight_OI = view.weight[0].T
    # On the meta device, since the default initialization would draw from the global generator.
    linear = nn.Linear(
        weight_OI.shape[1],
        weight_OI.shape[0],
        bias=view.bias is not None,
        device="meta",
        dtype=weight_OI.dtype,
    )
    linear.weight = nn.Parameter(weight_OI.detach().clone(memory_format=torch.contiguous_format))
    if view.bias is not None:
        linear.bias = nn.Parameter(view.bias[0, 0].detach().clone())
    return linear


def _normalization(
    layer: Layer | PopulationLayer, view: LayerViews, buffers: dict[str, Tensor], i: int
) -> nn.Module:
    assert view.norm_scale is not None
    assert view.norm_shift is not None
    values = {"weight": view.norm_scale[0, 0], "bias": view.norm_shift[0, 0]}
    if layer.normalization == "batch":
        values |= {"running_mean": buffers[f"{i}.mean"], "running_var": buffers[f"{i}.variance"]}
    kind = nn.BatchNorm1d if layer.normalization == "batch" else nn.LayerNorm
    norm = kind(len(values["weight"]), dtype=view.norm_scale.dtype)
    norm.load_state_dict({**norm.state_dict(), **values})
    return norm

"""Layout of the parameters in the flat vector theta: names, shapes and offsets.

The rest of the network uses views and never indexes theta directly.

Shapes: K members, P parameters of one member, I inputs and O outputs of a layer, Q learnable
parameters of an activation, W weights and A outputs of the affine blocks of a layer, L layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.network.blocks import Block


@dataclass(frozen=True)
class Entry:
    """One parameter tensor of one layer. `shape` is that of one member, always two-dimensional.

    The weights of a block layer are [1, W], in the order of `BlockPlan`, and the biases [1, A]; its
    `blocks` are in both entries.
    """

    layer: int
    name: str  # weight [I, O], bias [1, O], norm_scale [1, O], norm_shift [1, O], slopes [1, Q]
    shape: tuple[int, int]
    blocks: tuple[Block, ...] | None = None

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]


@dataclass
class LayerViews:
    """The parameters of one layer as views of theta: weight [K, I, O], the others [K, 1, O or Q].

    Those of a block layer are compact; `MLP.dense` returns its matrix. A parameter that the layer
    does not have is None.
    """

    weight: Tensor
    bias: Tensor | None = None
    norm_scale: Tensor | None = None
    norm_shift: Tensor | None = None
    slopes: Tensor | None = None


class Layout:
    """The order of the entries in theta_KP."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = tuple(entries)
        self.sizes = [entry.size for entry in entries]
        self.num_parameters = sum(self.sizes)
        self.num_layers = 1 + max(entry.layer for entry in entries)

    def split(self, theta_KP: Tensor) -> list[Tensor]:
        """Return one view [K, rows, columns] of theta per entry."""
        segments = torch.split(theta_KP, self.sizes, dim=1)
        return [
            segment.view(-1, *entry.shape)
            for segment, entry in zip(segments, self.entries, strict=True)
        ]

    def layers(self, views: list[Tensor]) -> list[LayerViews]:
        """Return the views grouped by layer."""
        gathered: list[dict[str, Tensor]] = [{} for _ in range(self.num_layers)]
        for entry, view in zip(self.entries, views, strict=True):
            gathered[entry.layer][entry.name] = view
        return [LayerViews(**by_name) for by_name in gathered]

    def mask(self, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return 1 at the entries of this name and 0 elsewhere, [P]."""
        return torch.cat(
            [torch.full((entry.size,), float(entry.name == name)) for entry in self.entries]
        ).to(device, dtype)

    def membership(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return 1 if parameter p belongs to layer l, else 0, [P, L].

        `squares_KP @ membership` sums the squares per layer.
        """
        layer_of = torch.cat([torch.full((entry.size,), entry.layer) for entry in self.entries])
        return torch.nn.functional.one_hot(layer_of, self.num_layers).to(device, dtype)

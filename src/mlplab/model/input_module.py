"""The inputs of a network as a torch module.

Shapes: N rows, F features, G inputs of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlplab.data.feature_groups import FeatureGroups


def input_module(groups: FeatureGroups | None) -> nn.Module:
    """Return what makes the inputs of the network, [N, G], of scaled features [N, F]."""
    return nn.Identity() if groups is None or not groups.has_bins else MakeInputs(groups)


class MakeInputs(nn.Module):
    """Make the inputs of the network, [N, G], of scaled features."""

    def __init__(self, groups: FeatureGroups) -> None:
        super().__init__()
        maps = groups.maps
        self.features = nn.Buffer(torch.from_numpy(maps.features_G))
        self.shift, self.scale, self.low, self.high = (
            nn.Buffer(torch.from_numpy(values))
            for values in (maps.shift_G, maps.scale_G, maps.low_G, maps.high_G)
        )

    def forward(self, x_NF: Tensor) -> Tensor:
        z_NG = (x_NF[:, self.features] - self.shift) / self.scale
        return torch.minimum(torch.maximum(z_NG, self.low), self.high)

"""Bounds of predicted values as a torch module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Clamp(nn.Module):
    """Clamp values [N, T] to bounds [2, T]; NaN stays."""

    def __init__(self, bounds_2T: np.ndarray) -> None:
        super().__init__()
        low_T, high_T = torch.from_numpy(bounds_2T)
        self.low, self.high = nn.Buffer(low_T), nn.Buffer(high_T)

    def forward(self, values_NT: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(values_NT, self.low), self.high)

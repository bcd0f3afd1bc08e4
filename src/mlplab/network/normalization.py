"""Batch and layer normalization for K members at once, by torch's own functions, with torch's
defaults (eps 1e-5, momentum 0.1).

Shapes: K members, B examples, H units.
Source: Ioffe and Szegedy 2015 (batch), Ba, Kiros and Hinton 2016 (layer).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EPS, MOMENTUM = 1e-5, 0.1


def batch_norm(
    z_KBH: Tensor,
    scale_K1H: Tensor,
    shift_K1H: Tensor,
    mean_KH: Tensor,
    variance_KH: Tensor,
    training: bool,
) -> Tensor:
    """Each unit of each member over the batch; running statistics are updated in place while
    training.

    Members lie side by side as columns, so that no member's statistics meet another's. Training
    needs B >= 2.
    """
    members, examples, units = z_KBH.shape
    columns = z_KBH.transpose(0, 1).reshape(examples, members * units)
    normal = F.batch_norm(
        columns,
        mean_KH.view(-1),
        variance_KH.view(-1),
        scale_K1H.reshape(-1),
        shift_K1H.reshape(-1),
        training,
        MOMENTUM,
        EPS,
    )
    return normal.view(examples, members, units).transpose(0, 1)


def layer_norm(z_KBH: Tensor, scale_K1H: Tensor, shift_K1H: Tensor) -> Tensor:
    """Each example over its units."""
    return F.layer_norm(z_KBH, z_KBH.shape[-1:], eps=EPS) * scale_K1H + shift_K1H

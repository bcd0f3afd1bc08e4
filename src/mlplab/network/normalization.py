"""Batch and layer normalization of K members at once, with torch's functions and defaults.

Shapes: K members, B examples, H units.
Source: Ioffe and Szegedy 2015 (batch), Ba, Kiros and Hinton 2016 (layer).
"""

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
    """Normalize each unit of each member over the batch, [K, B, H].

    Running statistics are updated in place while training, which needs B >= 2. The units of all
    members are laid out as separate columns, so that members do not share statistics.
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
    """Normalize each example over its units, [K, B, H]."""
    return F.layer_norm(z_KBH, z_KBH.shape[-1:], eps=EPS) * scale_K1H + shift_K1H

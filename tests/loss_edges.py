"""Outputs from the smallest to the largest number, and targets, for the tests of losses."""

from __future__ import annotations

import torch
from torch import Tensor

from mlplab.losses import Loss
from mlplab.task import Task

MAGNITUDES = [0.0, 1e-38, 1e-30, 1e-10, 1e-4, 3e-4, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0]
POINTS = [
    sign * size for size in [*MAGNITUDES, 1e4, 1e10, 1e20, 1e38, 2e38] for sign in (1.0, -1.0)
]


def cases(loss: Loss) -> list[tuple[Tensor, Tensor]]:
    """Outputs of which one is at each of the points, and targets of each kind: [1, B, ...]."""
    batches = []
    for task in (
        Task("regression", num_targets=1),
        *(Task("classification", num_classes=c) for c in (2, 3)),
    ):
        if loss.incompatibility(task) is not None:
            continue
        values = [0.0, 1.0, 0.3] + ([] if loss.target_range == "share" else [2.5, 1e10])
        targets = (
            [torch.full((1, len(POINTS)), c) for c in range(task.num_classes)]
            if task.classifies
            else [torch.full((1, len(POINTS), 1), value) for value in values]
        )
        for moved in range(loss.num_outputs(task)):
            outputs_KBC = torch.zeros(1, len(POINTS), loss.num_outputs(task))
            outputs_KBC[0, :, moved] = torch.tensor(POINTS)
            batches += [(outputs_KBC, target) for target in targets]
    return batches

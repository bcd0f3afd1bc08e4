"""The weights at some evaluations of a training: what pictures of a network over time are drawn from.

Shapes: R frames, P parameters, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlplab.training.population import Population

MOST_FRAMES = 101  # the start and 100 more
MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Frames:
    """One network at R evaluations, in order: theta [R, P], running statistics each [R, H]. It has the form of a population of R members."""

    epoch: np.ndarray  # int64 [R]
    step: np.ndarray  # int64 [R]
    theta_RP: Tensor
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.step)

    def at(self, rows: Sequence[int]) -> Frames:
        """Some of the frames."""
        picked = list(rows)
        return Frames(self.epoch[picked], self.step[picked], self.theta_RP[picked], {n: v[picked] for n, v in self.buffers.items()})

    def finite(self) -> Frames:
        """Without the frames of a network that had diverged."""
        return self.at(self.theta_RP.isfinite().all(1).nonzero().flatten().tolist())

    def including(self, epoch: int, step: int, theta_P: Tensor, buffers: dict[str, Tensor]) -> Frames:
        """With one more, unless its step is there already."""
        if step in self.step:
            return self
        row = int(np.searchsorted(self.step, step))
        return Frames(
            np.insert(self.epoch, row, epoch),
            np.insert(self.step, row, step),
            _insert(self.theta_RP, row, theta_P),
            {name: _insert(value, row, buffers[name]) for name, value in self.buffers.items()},
        )


def _insert(rows: Tensor, row: int, new: Tensor) -> Tensor:
    return torch.cat([rows[:row], new.to(rows.dtype).unsqueeze(0), rows[row:]])


class FrameRecorder:
    """Copies the weights of a population of one at evaluations that are evenly apart.

    Nobody knows beforehand when a training stops. So every evaluation is kept until they are too many, then every second, and so on.
    """

    def __init__(self, most: int = MOST_FRAMES, most_bytes: int = MOST_BYTES) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._kept: list[Frames] = []
        self._stride = self._seen = 0

    def __call__(self, population: Population, epoch: int, step: int) -> None:
        self._seen += 1
        if (self._seen - 1) % max(self._stride, 1):
            return
        self._kept.append(snapshot(population, epoch, step))
        theta_RP = self._kept[0].theta_RP
        while len(self._kept) > max(3, min(self.most, self.most_bytes // (theta_RP.numel() * theta_RP.element_size()))):
            self._kept = self._kept[::2]
            self._stride = 2 * max(self._stride, 1)

    def frames(self) -> Frames:
        """What was kept. Raises ValueError before the first evaluation."""
        if not self._kept:
            raise ValueError("no evaluation has been seen yet")
        first = self._kept[0]
        return Frames(
            np.concatenate([frame.epoch for frame in self._kept]),
            np.concatenate([frame.step for frame in self._kept]),
            torch.cat([frame.theta_RP for frame in self._kept]),
            {name: torch.cat([frame.buffers[name] for frame in self._kept]) for name in first.buffers},
        )


def snapshot(population: Population, epoch: int, step: int) -> Frames:
    """The one member of a population as it is now, on the CPU."""
    own = {name: value.detach()[:1].to("cpu", copy=True) for name, value in population.buffers.items()}
    return Frames(np.array([epoch]), np.array([step]), population.theta_KP.detach()[:1].to("cpu", copy=True), own)

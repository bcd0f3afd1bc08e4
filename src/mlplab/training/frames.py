"""The weights at some evaluations of a training: what pictures of a network over time are drawn
from.

Shapes: R frames, P parameters, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlplab.training.population import Population

if TYPE_CHECKING:
    from mlplab.training.outcome import Outcome

MOST_FRAMES = 101  # the start and 100 more
MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class Frames:
    """One network at R evaluations, in order: theta [R, P], running statistics each [R, H]. It has
    the form of a population of R members.
    """

    epoch: np.ndarray  # int64 [R]
    step: np.ndarray  # int64 [R]
    theta_RP: Tensor
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.step)

    def at(self, rows: Sequence[int]) -> Frames:
        """Some of the frames."""
        picked = list(rows)
        return Frames(
            self.epoch[picked],
            self.step[picked],
            self.theta_RP[picked],
            {n: v[picked] for n, v in self.buffers.items()},
        )

    def finite(self) -> Frames:
        """Without the frames of a network that had diverged."""
        return self.at(self.theta_RP.isfinite().all(1).nonzero().flatten().tolist())

    def including(
        self, epoch: int, step: int, theta_P: Tensor, buffers: dict[str, Tensor]
    ) -> Frames:
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


@dataclass(frozen=True)
class _Moment:
    """A population at one evaluation: members int64 [K], theta [K, P], running statistics each [K,
    H].
    """

    epoch: int
    step: int
    members: Tensor
    theta_KP: Tensor
    buffers: dict[str, Tensor]


class FrameRecorder:
    """Copies the weights of a population at evaluations that are evenly apart.

    Nobody knows beforehand when a training stops. So every evaluation is kept until they are too
    many, then every second, and so on. `most_bytes` holds for the whole population.
    """

    def __init__(self, most: int = MOST_FRAMES, most_bytes: int = MAX_BYTES) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._kept: list[_Moment] = []
        self._stride, self._seen = 1, 0

    def __call__(self, population: Population, epoch: int, step: int) -> None:
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        theta_KP = population.theta_KP.detach().to("cpu", copy=True)
        buffers = {
            name: value.detach().to("cpu", copy=True) for name, value in population.buffers.items()
        }
        self._kept.append(_Moment(epoch, step, population.members.cpu(), theta_KP, buffers))
        size = self._kept[0].theta_KP.numel() * theta_KP.element_size()
        while len(self._kept) > max(3, min(self.most, self.most_bytes // size)):
            self._kept = self._kept[::2]
            self._stride *= 2

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps of it."""
        kept = [
            {
                "epoch": m.epoch,
                "step": m.step,
                "members": m.members,
                "theta": m.theta_KP,
                "buffers": dict(m.buffers),
            }
            for m in self._kept
        ]
        return {"stride": self._stride, "seen": self._seen, "kept": kept}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._stride, self._seen = state["stride"], state["seen"]
        self._kept = [
            _Moment(m["epoch"], m["step"], m["members"], m["theta"], m["buffers"])
            for m in state["kept"]
        ]

    def frames(self, member: int = 0) -> Frames:
        """What was kept of one member while it trained; nothing of the time after its end. Raises
        ValueError where that is nothing.
        """
        found = [
            (moment, rows)
            for moment in self._kept
            if len(rows := (moment.members == member).nonzero().flatten())
        ]
        if not found:
            raise ValueError("no evaluation of this member has been seen")
        return Frames(
            np.array([moment.epoch for moment, _ in found]),
            np.array([moment.step for moment, _ in found]),
            torch.cat([moment.theta_KP[rows] for moment, rows in found]),
            {
                name: torch.cat([moment.buffers[name][rows] for moment, rows in found])
                for name in found[0][0].buffers
            },
        )


def snapshot(population: Population, epoch: int, step: int) -> Frames:
    """The first member of a population as it is now, on the CPU."""
    own = {
        name: value.detach()[:1].to("cpu", copy=True) for name, value in population.buffers.items()
    }
    return Frames(
        np.array([epoch]),
        np.array([step]),
        population.theta_KP.detach()[:1].to("cpu", copy=True),
        own,
    )


def select_frames(recorder: FrameRecorder, outcome: Outcome, member: int = 0) -> tuple[Frames, int]:
    """The healthy frames of a member up to its last step with its best weights among them, and
    which frame these are.
    """
    frames = recorder.frames(member).finite()
    frames = frames.at((frames.step <= outcome.steps).nonzero()[0].tolist())
    frames = frames.including(
        outcome.best_epoch, outcome.best_step, outcome.theta_P, outcome.buffers
    )
    return frames, int((frames.step == outcome.best_step).argmax())

"""The weights at some evaluations of a training, from which pictures over time are drawn.

Shapes: R frames, P parameters, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlplab.training.history import Evaluation
from mlplab.training.session import Callback, Session
from mlplab.training.steppers import Group

if TYPE_CHECKING:
    from mlplab.training.outcome import Outcome

MAX_FRAMES = 101  # the start and 100 more
MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class Frames:
    """One network at R evaluations, in order: theta [R, P], running statistics each [R, H].

    The tensors have the shapes of a population of R members.
    """

    epoch: np.ndarray  # int64 [R]
    step: np.ndarray  # int64 [R]
    theta_RP: Tensor
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.step)

    def at(self, rows: Sequence[int]) -> Frames:
        """The frames at these indices."""
        indices = list(rows)
        return Frames(
            self.epoch[indices],
            self.step[indices],
            self.theta_RP[indices],
            {n: v[indices] for n, v in self.buffers.items()},
        )

    def finite(self) -> Frames:
        """The frames in which all weights are finite."""
        return self.at(self.theta_RP.isfinite().all(1).nonzero().flatten().tolist())

    def including(
        self, epoch: int, step: int, theta_P: Tensor, buffers: dict[str, Tensor]
    ) -> Frames:
        """These frames and one more, inserted in order; unchanged if its step is present."""
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
class _PopulationFrame:
    """A population at one evaluation: members int64 [K], theta [K, P], statistics each [K, H]."""

    epoch: int
    step: int
    members: Tensor
    theta_KP: Tensor
    buffers: dict[str, Tensor]


class FrameRecorder(Callback):
    """Copies the weights of a population at evenly spaced evaluations.

    The length of a training is not known in advance. So every evaluation is recorded until there
    are too many, then every second one, and so on. `max_bytes` limits the whole population.
    """

    def __init__(self, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self.max_frames, self.max_bytes = max_frames, max_bytes
        self._frames: list[_PopulationFrame] = []
        self._stride, self._seen = 1, 0

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        population = evaluation.population
        self._seen += evaluation.skipped + 1
        if (self._seen - 1) % self._stride:
            return
        theta_KP = population.evaluated_KP.detach().to("cpu", copy=True)
        buffers = {
            name: value.detach().to("cpu", copy=True) for name, value in population.buffers.items()
        }
        self._frames.append(
            _PopulationFrame(
                evaluation.epoch, evaluation.step, population.members.cpu(), theta_KP, buffers
            )
        )
        size = self._frames[0].theta_KP.numel() * theta_KP.element_size()
        while len(self._frames) > max(3, min(self.max_frames, self.max_bytes // size)):
            self._frames = self._frames[::2]
            self._stride *= 2

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        return -self._seen % self._stride

    def state(self) -> dict[str, object]:
        """The state that a checkpoint stores; `load` restores it."""
        frames = [
            {
                "epoch": m.epoch,
                "step": m.step,
                "members": m.members,
                "theta": m.theta_KP,
                "buffers": dict(m.buffers),
            }
            for m in self._frames
        ]
        return {"stride": self._stride, "seen": self._seen, "kept": frames}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a stored state."""
        self._stride, self._seen = state["stride"], state["seen"]
        self._frames = [
            _PopulationFrame(m["epoch"], m["step"], m["members"], m["theta"], m["buffers"])
            for m in state["kept"]
        ]

    def frames(self, member: int = 0) -> Frames:
        """Return the recorded frames of one member, up to its end.

        Raises ValueError if there are none.
        """
        selected = [
            (frame, rows)
            for frame in self._frames
            if len(rows := (frame.members == member).nonzero().flatten())
        ]
        if not selected:
            raise ValueError(f"no evaluation of member {member} was recorded")
        return Frames(
            np.array([frame.epoch for frame, _ in selected]),
            np.array([frame.step for frame, _ in selected]),
            torch.cat([frame.theta_KP[rows] for frame, rows in selected]),
            {
                name: torch.cat([frame.buffers[name][rows] for frame, rows in selected])
                for name in selected[0][0].buffers
            },
        )


def snapshot(evaluation: Evaluation) -> Frames:
    """One frame of the first member of a population at an evaluation, on the CPU."""
    population = evaluation.population
    buffers = {
        name: value.detach()[:1].to("cpu", copy=True) for name, value in population.buffers.items()
    }
    return Frames(
        np.array([evaluation.epoch]),
        np.array([evaluation.step]),
        population.evaluated_KP.detach()[:1].to("cpu", copy=True),
        buffers,
    )


class FrameRecorders(Callback):
    """Records each group of a session with a FrameRecorder of its own."""

    def __init__(self) -> None:
        self._by_group: dict[Group, FrameRecorder] = {}

    def of(self, group: Group) -> FrameRecorder:
        """The recorder of a group."""
        return self._by_group.setdefault(group, FrameRecorder())

    def discard(self, group: Group) -> None:
        """Forget what was recorded of a group."""
        self._by_group.pop(group, None)

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        group = session.groups[0]
        if len(session.groups) > 1:  # reading the members waits for the device
            group, _ = session.find(int(evaluation.members[0]))
        self.of(group).on_evaluation(session, evaluation)

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        return self.of(group).evaluations_to_skip(session, group)


def select_frames(recorder: FrameRecorder, outcome: Outcome, member: int = 0) -> tuple[Frames, int]:
    """Return a member's finite frames up to its last step, and the index of the best weights.

    The frame of the best weights is inserted if it was not recorded, and replaced if they were
    calibrated after the training.
    """
    frames = recorder.frames(member).finite()
    frames = frames.at((frames.step <= outcome.steps).nonzero()[0].tolist())
    frames = frames.including(
        outcome.best_epoch, outcome.best_step, outcome.theta_P, outcome.buffers
    )
    best_frame = int((frames.step == outcome.best_step).argmax())
    if outcome.temperature is not None:
        theta_RP = frames.theta_RP.clone()
        theta_RP[best_frame] = outcome.theta_P
        frames = replace(frames, theta_RP=theta_RP)
    return frames, best_frame

"""Averages of the weights over the steps, of each member: exponential (EMA) or equal (SWA).

Shapes: K members, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from mlplab.training_options import Training

NEVER = 2**62


@dataclass
class Averaging:
    """The averages of a population's weights, and when each member's is updated.

    The first update copies the weights, as `torch.optim.swa_utils.AveragedModel` does:

        ema:  average <- average + (1 - decay) * (theta - average)           after every step
        swa:  average <- average + (theta - average) / (n + 1)               after every epoch

    A member whose weights are not averaged is never due.
    """

    theta_KP: Tensor
    count_K: Tensor  # int64: the updates so far
    decay_K: Tensor  # float64; negative: equal weights
    start_K: Tensor  # int64: an average begins after this step of the member
    every_K: Tensor  # int64: steps between two updates

    def __post_init__(self) -> None:
        periods = self.every_K.tolist()
        self._period = math.gcd(*(period for period in periods if period != NEVER))
        is_ema = bool((self.decay_K >= 0).all())
        self._plain_from = 2 + max(self.start_K.tolist()) if is_ema else NEVER
        self._have_all_begun = False
        self._share_K1 = (1 - self.decay_K).to(self.theta_KP.dtype).unsqueeze(1)

    @classmethod
    def of(
        cls,
        trainings: Sequence[Training],
        last_steps: Sequence[int],
        per_epoch: int,
        theta_KP: Tensor,
    ) -> Averaging | None:
        """Return the averages before the first step; None if no member has one.

        `last_steps` are the lengths of the members, and an epoch has `per_epoch` steps.
        """
        if all(training.average == "none" for training in trainings):
            return None
        decays = [t.average_decay if t.average == "ema" else -1.0 for t in trainings]
        lengths = zip(trainings, last_steps, strict=True)
        starts = [math.floor(training.average_begin * steps) for training, steps in lengths]
        periods = {"none": NEVER, "ema": 1, "swa": per_epoch}
        device = theta_KP.device
        return cls(
            theta_KP.clone(),
            torch.zeros(len(trainings), dtype=torch.int64, device=device),
            torch.tensor(decays, dtype=torch.float64, device=device),
            torch.tensor(starts, device=device),
            torch.tensor([periods[t.average] for t in trainings], device=device),
        )

    def update(self, theta_KP: Tensor, step: int | Tensor) -> None:
        """Take in the weights after a step; `step` may differ by member, [K, 1]."""
        if isinstance(step, int):
            if self._period and step % self._period:
                return
            if step >= self._plain_from and self._all_begun():
                self.theta_KP += self._share_K1 * (theta_KP - self.theta_KP)
                self.count_K += 1
                return
        step_K = step.squeeze(1) if isinstance(step, Tensor) else step
        begun_K = self.count_K > 0
        due_K = (begun_K | (self.start_K < step_K)) & (step_K % self.every_K == 0)
        share_K = torch.where(self.decay_K < 0, 1 / (self.count_K.double() + 1), 1 - self.decay_K)
        share_K1 = share_K.to(theta_KP.dtype).unsqueeze(1)
        moved_KP = self.theta_KP + share_K1 * (theta_KP - self.theta_KP)
        moved_KP = torch.where(begun_K.unsqueeze(1), moved_KP, theta_KP)
        self.theta_KP = torch.where(due_K.unsqueeze(1), moved_KP, self.theta_KP)
        self.count_K = self.count_K + due_K

    def _all_begun(self) -> bool:
        """Whether all averages have begun; reads the device until they have."""
        self._have_all_begun = self._have_all_begun or bool((self.count_K > 0).all())
        return self._have_all_begun

    def evaluated(self, theta_KP: Tensor) -> Tensor:
        """The weights that are evaluated: the average, or theta before it begins: [K, P]."""
        return torch.where((self.count_K > 0).unsqueeze(1), self.theta_KP, theta_KP)

    def select(self, rows: Tensor) -> Averaging:
        """The averages of the members at `rows` (int64 indices)."""
        names = [field.name for field in fields(self)]
        return Averaging(**{name: getattr(self, name)[rows] for name in names})

    def continued(self, before: Averaging | None) -> Averaging:
        """Return these averages, whose first members are those of `before` and go on."""
        if before is None:
            return self
        first = len(before.count_K)
        return replace(
            self,
            theta_KP=torch.cat([before.theta_KP, self.theta_KP[first:]]),
            count_K=torch.cat([before.count_K, self.count_K[first:]]),
        )

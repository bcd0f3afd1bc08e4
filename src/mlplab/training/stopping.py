"""Best weights, early stopping and divergence of each member, tracked on the device.

Nothing here reads a value back to the host, so a CUDA device is never waited for.

Shapes: K members, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.network.mlp import Buffers
from mlplab.schema import Number

RUNNING, FINISHED, STOPPED, DIVERGED, PRUNED = range(5)


@dataclass
class Snapshot:
    """Saved weights of the members: theta [K, P], running statistics, and their steps [K]."""

    theta_KP: Tensor
    buffers: Buffers
    step_K: Tensor

    @classmethod
    def at_start(cls, theta_KP: Tensor, buffers: Buffers) -> Snapshot:
        zeros_K = torch.zeros(theta_KP.shape[0], dtype=torch.int64, device=theta_KP.device)
        return cls(
            theta_KP.clone(), {name: value.clone() for name, value in buffers.items()}, zeros_K
        )

    def update(
        self, selected_K: Tensor, theta_KP: Tensor, buffers: Buffers, step: int | Tensor
    ) -> None:
        """Replace the weights of the selected members (bool [K]); `step` may differ by member, [K].

        Uses torch.where and never a product, since 0 times NaN is NaN.
        """
        selected_K1 = selected_K.unsqueeze(1)
        self.theta_KP = torch.where(selected_K1, theta_KP, self.theta_KP)
        self.buffers = {
            name: torch.where(selected_K1, value, self.buffers[name])
            for name, value in buffers.items()
        }
        self.step_K = torch.where(selected_K, step, self.step_K)

    def select(self, rows: Tensor) -> Snapshot:
        return Snapshot(
            self.theta_KP[rows], {n: v[rows] for n, v in self.buffers.items()}, self.step_K[rows]
        )


class EarlyStopping:
    """Follows each member's monitored metric (lower is better) and decides when the member ends."""

    def __init__(
        self,
        theta_KP: Tensor,
        buffers: Buffers,
        last_step_K: Tensor,
        patience_K: Tensor,
        min_delta: Number,
    ) -> None:
        members, device = theta_KP.shape[0], theta_KP.device
        self.best, self.last = (
            Snapshot.at_start(theta_KP, buffers),
            Snapshot.at_start(theta_KP, buffers),
        )
        self.last_step_K, self.patience_K, self.min_delta = last_step_K, patience_K, min_delta
        self.best_value_K = torch.full((members,), torch.inf, dtype=torch.float64, device=device)
        self.evals_since_best_K = torch.zeros(members, dtype=torch.int64, device=device)
        self.state_K = torch.full((members,), RUNNING, dtype=torch.int64, device=device)
        self.diverged_step_K = torch.zeros(members, dtype=torch.int64, device=device)

    @property
    def alive_K(self) -> Tensor:
        return self.state_K == RUNNING

    def ends_at(self, step: int | Tensor) -> Tensor:
        """Whether each member has trained its full length: bool [K]; `step` may be [K]."""
        return self.last_step_K <= step

    def observe(
        self,
        value_K: Tensor,
        theta_KP: Tensor,
        buffers: Buffers,
        step: int | Tensor,
        first_bad_K: Tensor,
        evaluated_K: Tensor | None = None,
    ) -> None:
        """Record one evaluation and update the state of each member.

        `step` may differ by member, [K]. `first_bad_K` is the step at which a member's objective
        ceased to be finite, or 0. A NaN value never counts as an improvement. Members that are not
        among `evaluated_K` (bool; None: all) do not change.
        """
        alive_K = self.alive_K if evaluated_K is None else self.alive_K & evaluated_K
        diverged_K = alive_K & (first_bad_K > 0)
        healthy_K = alive_K & ~diverged_K
        delta = self.min_delta.view(-1) if isinstance(self.min_delta, Tensor) else self.min_delta
        better_K = healthy_K & (
            (value_K < self.best_value_K - delta)
            | ((value_K < torch.inf) & (self.best_value_K == torch.inf))
        )
        self.best.update(better_K, theta_KP, buffers, step)
        self.last.update(healthy_K, theta_KP, buffers, step)
        self.best_value_K = torch.where(better_K, value_K, self.best_value_K)
        self.evals_since_best_K = torch.where(better_K, 0, self.evals_since_best_K + alive_K)
        self.diverged_step_K = torch.where(diverged_K, first_bad_K, self.diverged_step_K)
        out_of_patience_K = healthy_K & (self.evals_since_best_K >= self.patience_K)
        finished_K = healthy_K & self.ends_at(step)
        for members_K, state in (
            (out_of_patience_K, STOPPED),
            (finished_K, FINISHED),
            (diverged_K, DIVERGED),
        ):
            self.state_K = self.state_K.masked_fill(members_K, state)

    def select(self, rows: Tensor) -> EarlyStopping:
        other = EarlyStopping.__new__(EarlyStopping)
        tensors = {
            name: value[rows] for name, value in self.__dict__.items() if isinstance(value, Tensor)
        }
        other.__dict__ = {
            **self.__dict__,
            **tensors,
            "best": self.best.select(rows),
            "last": self.last.select(rows),
        }
        return other

"""The schedule base class: a learning rate factor over time, after an optional linear warm-up.

Shapes: K members.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from mlplab.schema import Component, Number, choice, number
from mlplab.stacking import active, double

State: TypeAlias = dict[str, Tensor]
"""The state of a stateful schedule: float64 tensors [K, 1]."""

UNITS = ("epoch", "step")


@dataclass(frozen=True)
class Schedule(Component):
    """The learning rate of a unit of time is optimizer.lr * factor(t, total) * current(state).

    A subclass implements `shape`, and `observe` and `current` if it is stateful. Its fields are
    floats, or [K, 1] tensors if members differ. The warm-up takes the first `warmup` units; the
    schedule itself takes the `total - warmup` units that follow:

        factor(t) = (warmup_start + (1 - warmup_start) * min(t / warmup, 1))
                    * shape(max(t - warmup, 0), total - warmup)
    """

    warmup: Number = number(0.0, "units of linear warm-up before the schedule", at_least=0)
    warmup_start: Number = number(
        0.1, "factor at the first unit of the warm-up", at_least=0, at_most=1
    )
    unit: str = choice("epoch", UNITS, "the unit of time: the factor changes once per unit")

    stateful: ClassVar[bool] = False

    def factor(self, t: Number, total: Number) -> Number:
        """Return the factor at unit t = 0, 1, ... of `total`.

        It is a float, or float64 [K, 1] if t, total or a field differs between members.
        """
        t, total = double(t), double(total)
        if not active(self.warmup):
            return self.shape(t, total)
        ramp = self.warmup_start + (1 - self.warmup_start) * ratio(t, self.warmup)
        return pick(t < self.warmup, ramp, 1.0) * self.shape(
            largest(t - self.warmup, 0.0), largest(total - self.warmup, 1.0)
        )

    def shape(self, t: Number, total: Number) -> Number:
        """The factor without warm-up."""
        raise NotImplementedError

    def init(self, num_members: int, device: torch.device | str = "cpu") -> State:
        """The state before the first unit: empty unless the schedule is stateful."""
        return {}

    def observe(self, state: State, metric_K: Tensor) -> State:
        """The state after an evaluation with this metric [K] or [K, 1]; lower is better."""
        return state

    def current(self, state: State) -> Number:
        """The factor due to the state, in addition to that of time: float64 [K, 1], or 1."""
        return 1.0


# Arithmetic on floats and on float64 tensors [K, 1].


def pick(condition: bool | Tensor, yes: Number, no: Number) -> Number:
    """`yes` if the condition holds, else `no`; elementwise for a tensor."""
    if not isinstance(condition, Tensor):
        return yes if condition else no
    return torch.where(condition, _lift(yes, condition), _lift(no, condition))


def largest(a: Number, b: Number) -> Number:
    """The larger of two numbers."""
    return pick(a > b, a, b)


def ratio(elapsed: Number, total: Number) -> Number:
    """The elapsed fraction: elapsed / total, at most 1; 1 if total is 0."""
    fraction = pick(total > 0, elapsed / pick(total > 0, total, 1.0), 1.0)
    return pick(fraction < 1.0, fraction, 1.0)


def floor(x: Number) -> Number:
    """The largest integer that is not above x."""
    return x.floor() if isinstance(x, Tensor) else float(math.floor(x))


def logarithm(x: Number) -> Number:
    """The natural logarithm."""
    return x.log() if isinstance(x, Tensor) else math.log(x)


def cosine(angle: Number) -> Number:
    """The cosine of an angle in radians."""
    return angle.cos() if isinstance(angle, Tensor) else math.cos(angle)


def anneal(start: Number, end: Number, progress: Number) -> Number:
    """Half a cosine from start (progress 0) to end (progress 1).

    end + (start - end) * (1 + cos(pi * progress)) / 2
    """
    return end + (start - end) * (1 + cosine(math.pi * progress)) / 2


def _lift(value: Number, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=like.device)

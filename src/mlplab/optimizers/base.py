"""The optimizer base class, and the tensor operations that update rules are written with.

An update rule works on the matrix of all parameters of all members.

Shapes: K members, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from mlplab.errors import FieldError
from mlplab.schema import Component, Number, number, preset
from mlplab.stacking import active, double, fit

State: TypeAlias = dict[str, Tensor]
"""An optimizer's state between steps: tensors [K, P] or [K, 1]."""

GradientAt: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""theta_KP -> (loss_K, gradient_KP) on the batch of the step."""

Step: TypeAlias = int | Tensor
"""The number of the update, from 1: an int, or a tensor [K, 1] that stays on the device."""


@dataclass(frozen=True)
class Optimizer(Component):
    """One update rule.

    A subclass implements `update`, and names its state or implements `init`. Its fields are floats,
    or [K, 1] tensors if members differ. `update` changes the caller's theta, gradient and state in
    place, without autograd.
    """

    lr: Number = number(0.01, "step size", above=0)

    state_names: ClassVar[tuple[str, ...]] = ()  # of the tensors [K, P] that start at 0
    single_network: ClassVar[bool] = False  # True: cannot share a population with others
    scales_with_lr: ClassVar[bool] = True  # False: its steps are not proportional to lr

    def init(self, theta_KP: Tensor) -> State:
        """The state before the first step."""
        return {name: torch.zeros_like(theta_KP) for name in self.state_names}

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        """Return parameters and state after one step.

        `lr` is the scheduled learning rate and replaces `self.lr`.
        """
        raise NotImplementedError

    def lookahead(self, theta_KP: Tensor, state: State) -> Tensor:
        """The point where the gradient is taken: theta, except in the lecture's Nesterov method."""
        return theta_KP

    def step(
        self, theta_KP: Tensor, gradient_at: GradientAt, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State, Tensor]:
        """Compute the gradient, at one point or at several, and update theta.

        Returns (theta_KP, state, loss_K), with the loss at the point where the gradient was taken.
        """
        loss_K, gradient_KP = gradient_at(self.lookahead(theta_KP, state))
        return *self.update(theta_KP, gradient_KP, state, step, lr), loss_K

    def export_state(self, state: State) -> dict[str, object]:
        """A copy of the state for a checkpoint: tensors, numbers, strings, lists and dicts."""
        return {name: value.clone() for name, value in state.items()}

    def import_state(self, theta_KP: Tensor, exported: dict[str, object]) -> State:
        """Restore a state from the result of `export_state`, on theta's device."""
        return {
            name: value.to(theta_KP.device, copy=True)
            for name, value in exported.items()
            if isinstance(value, Tensor)
        }


@dataclass(frozen=True)
class LectureOptimizer(Optimizer):
    """An optimizer of the lecture, whose formula there may differ from that of torch.

    With form=lecture, the fields that the formula of the lecture fixes have its values instead of
    their defaults. Raises FieldError if one of them has another value.
    """

    form: str = preset(
        "standard",
        ("standard", "lecture"),
        "lecture sets other keys as the formula of the lecture needs them",
    )

    lecture_values: ClassVar[Mapping[str, object]] = MappingProxyType({})

    def __post_init__(self) -> None:
        if self.form == "lecture":
            for field in fields(self):
                self._follow_lecture(field.name, field.default)
        super().__post_init__()

    def _follow_lecture(self, key: str, default: object) -> None:
        value, wanted = getattr(self, key), self.lecture_values.get(key)
        if wanted is None or isinstance(value, Tensor):  # of members that were checked before
            return
        if value not in (default, wanted):
            raise FieldError(key, value, f"contradicts form=lecture, which sets it to {wanted}")
        object.__setattr__(self, key, wanted)


# The operations below are torch's fused ones. A float is passed as their argument; a [K, 1] tensor
# of equal values gives the same bits.


def power(base: Number, step: Step) -> Number:
    """base ** step in float64."""
    return base ** double(step)


def add_scaled_(x_KP: Tensor, y_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * y."""
    if isinstance(scale, Tensor):
        return x_KP.addcmul_(y_KP, scale.to(x_KP.dtype))
    return x_KP.add_(y_KP, alpha=scale)


def add_product_(x_KP: Tensor, a_KP: Tensor, b_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * a * b."""
    if isinstance(scale, Tensor):
        return x_KP.addcmul_(a_KP * scale.to(x_KP.dtype), b_KP)
    return x_KP.addcmul_(a_KP, b_KP, value=scale)


def add_ratio_(x_KP: Tensor, a_KP: Tensor, b_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * a / b."""
    if isinstance(scale, Tensor):
        return x_KP.addcdiv_(a_KP * scale.to(x_KP.dtype), b_KP)
    return x_KP.addcdiv_(a_KP, b_KP, value=scale)


def average_(mean_KP: Tensor, x_KP: Tensor, beta: Number) -> Tensor:
    """mean <- beta * mean + (1 - beta) * x, computed as mean + (1 - beta) * (x - mean)."""
    return mean_KP.lerp_(x_KP, fit(1 - beta, mean_KP))


def average_square_(mean_KP: Tensor, x_KP: Tensor, beta: Number) -> Tensor:
    """mean <- beta * mean + (1 - beta) * x^2."""
    return add_product_(mean_KP.mul_(fit(beta, mean_KP)), x_KP, x_KP, 1 - beta)


def decay_(
    theta_KP: Tensor, gradient_KP: Tensor, weight_decay: Number, lr: Number, decoupled: bool = False
) -> None:
    """Weight decay of every parameter, including biases, as in torch.

    gradient <- gradient + weight_decay * theta
    decoupled: theta <- (1 - lr * weight_decay) * theta      (Loshchilov and Hutter 2019)
    """
    if not active(weight_decay):
        return
    if decoupled:
        theta_KP.mul_(fit(1 - lr * weight_decay, theta_KP))
    else:
        add_scaled_(gradient_KP, theta_KP, weight_decay)


def root(x_KP: Tensor, eps: Number, inside: bool) -> Tensor:
    """sqrt(x) + eps, or sqrt(x + eps) if eps is inside: a new tensor."""
    if inside:
        return x_KP.add(fit(eps, x_KP)).sqrt_()
    return x_KP.sqrt().add_(fit(eps, x_KP))


def sign(x_KP: Tensor) -> Tensor:
    """-1, 0 or 1, and NaN if x is not finite.

    torch's sign of NaN is 0, which would hide that a member has diverged.
    """
    return x_KP.sign().add_(x_KP, alpha=0)

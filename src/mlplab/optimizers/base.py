"""The optimizer base class, and the tensor operations that update rules are written with.

An update rule works on the matrix of all parameters of all members.

Shapes: K members, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from torch import Tensor

from mlplab.schema import Component, Number, number
from mlplab.stacking import fit

State: TypeAlias = dict[str, Tensor]
"""An optimizer's state between steps: tensors [K, P] or [K, 1]."""

GradientAt: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""theta_KP -> (loss_K, gradient_KP) on the batch of the step."""

Step: TypeAlias = int | Tensor
"""The number of the update, from 1: an int, or a tensor [K, 1] that stays on the device."""


@dataclass(frozen=True)
class Optimizer(Component):
    """One update rule.

    A subclass implements `init` and `update`. Its fields are floats, or [K, 1] tensors if members
    differ. `update` changes the caller's theta, gradient and state in place, without autograd.
    """

    lr: Number = number(0.01, "step size", above=0)

    single_network: ClassVar[bool] = False  # True: cannot share a population with others

    def init(self, theta_KP: Tensor) -> State:
        """The state before the first step."""
        return {}

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


# The operations below are torch's fused ones. A float is passed as their argument; a [K, 1] tensor
# of equal values gives the same bits.


def active(x: Number) -> bool:
    """Whether a term is computed: not if x is the float 0; always if members differ in x."""
    return isinstance(x, Tensor) or x != 0


def count(step: Step) -> Number:
    """The step as an int or in float64: with a float, torch makes float32 of an int tensor."""
    return step.double() if isinstance(step, Tensor) else step


def power(base: Number, step: Step) -> Number:
    """base ** step in float64."""
    return base ** count(step)


def add_scaled_(x_KP: Tensor, y_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * y."""
    if isinstance(scale, Tensor):
        return x_KP.addcmul_(y_KP, _column(scale, x_KP))
    return x_KP.add_(y_KP, alpha=scale)


def add_product_(x_KP: Tensor, a_KP: Tensor, b_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * a * b."""
    if isinstance(scale, Tensor):
        return x_KP.addcmul_(a_KP * _column(scale, x_KP), b_KP)
    return x_KP.addcmul_(a_KP, b_KP, value=scale)


def add_ratio_(x_KP: Tensor, a_KP: Tensor, b_KP: Tensor, scale: Number) -> Tensor:
    """x <- x + scale * a / b."""
    if isinstance(scale, Tensor):
        return x_KP.addcdiv_(a_KP * _column(scale, x_KP), b_KP)
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


def _column(scale: Tensor, like_KP: Tensor) -> Tensor:
    return scale.to(like_KP.dtype)

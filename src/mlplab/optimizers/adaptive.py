"""Optimizers that divide each parameter's step by the size of its past gradients.

Shapes: K members, P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.optimizers.base import (
    LectureOptimizer,
    Optimizer,
    State,
    Step,
    add_product_,
    add_ratio_,
    add_scaled_,
    average_,
    average_square_,
    decay_,
    root,
)
from mlplab.schema import Number, flag, number
from mlplab.stacking import active, double, fit


@dataclass(frozen=True)
class Adagrad(LectureOptimizer):
    """Adagrad: divides by the root of the sum of all squared gradients.

        G <- G + g^2
        theta <- theta - lr / (1 + (step - 1) * lr_decay) * g / (sqrt(G) + eps)

    eps_inside divides by sqrt(G + eps). Source: Duchi et al. 2011. The lecture has eps inside the
    root, about 1e-4; torch.optim.Adagrad has it outside. form=lecture: eps_inside=true, eps=1e-4,
    lr_decay=0.
    """

    eps: Number = number(1e-10, "keeps the divisor from 0", above=0)
    eps_inside: bool = flag(False, "add eps inside the root, as the lecture does")
    lr_decay: Number = number(0.0, "divides lr by 1 + (step - 1) * lr_decay", at_least=0)
    initial_accumulator: Number = number(0.0, "initial value of the sum of squares", at_least=0)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    lecture_values: ClassVar[Mapping[str, object]] = {
        "eps": 1e-4,
        "eps_inside": True,
        "lr_decay": 0.0,
    }

    def init(self, theta_KP: Tensor) -> State:
        return {"sum": torch.zeros_like(theta_KP).add_(fit(self.initial_accumulator, theta_KP))}

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr)
        sum_KP = state["sum"].addcmul_(gradient_KP, gradient_KP)
        rate = lr / (1 + (double(step) - 1) * self.lr_decay) if active(self.lr_decay) else lr
        return (
            add_ratio_(theta_KP, gradient_KP, root(sum_KP, self.eps, self.eps_inside), -rate),
            state,
        )


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Adadelta: steps as large as the recent steps, relative to the recent gradients.

        G <- rho * G + (1 - rho) * g^2
        d = sqrt(D + eps) / sqrt(G + eps) * g
        D <- rho * D + (1 - rho) * d^2
        theta <- theta - lr * d

    Source: Zeiler 2012, where lr = 1; torch.optim.Adadelta.
    """

    lr: Number = number(1.0, "step size", above=0)
    rho: Number = number(0.9, "decay of both running means", at_least=0, below=1)
    eps: Number = number(1e-6, "keeps both roots from 0", above=0)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    state_names: ClassVar[tuple[str, ...]] = ("square", "step_square")

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr)
        square_KP = average_square_(state["square"], gradient_KP, self.rho)
        step_KP = (
            root(state["step_square"], self.eps, inside=True)
            .div_(root(square_KP, self.eps, inside=True))
            .mul_(gradient_KP)
        )
        average_square_(state["step_square"], step_KP, self.rho)
        return add_scaled_(theta_KP, step_KP, -lr), state


@dataclass(frozen=True)
class Rmsprop(LectureOptimizer):
    """RMSprop: divides by the root of a running mean of squared gradients.

        G <- alpha * G + (1 - alpha) * g^2
        d = g / (sqrt(G) + eps)                  eps_inside: d = g / sqrt(G + eps)
        theta <- theta - lr * d                  momentum: v <- momentum * v + d; theta - lr * v
        centered: G - M^2 instead of G, with M <- alpha * M + (1 - alpha) * g

    Source: the lecture (its gamma is alpha here, and eps is inside the root); Tieleman and Hinton
    2012; centered: Graves 2013. torch.optim.RMSprop has eps outside the root, TensorFlow inside.
    form=lecture: eps_inside=true, without centered and momentum.
    """

    alpha: Number = number(0.99, "decay of the running mean of squares", at_least=0, below=1)
    eps: Number = number(1e-8, "keeps the divisor from 0", above=0)
    eps_inside: bool = flag(False, "add eps inside the root, as the lecture does")
    centered: bool = flag(False, "divide by an estimate of the standard deviation")
    momentum: Number = number(0.0, "fraction of the last step that is kept", at_least=0, below=1)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    lecture_values: ClassVar[Mapping[str, object]] = {
        "eps_inside": True,
        "centered": False,
        "momentum": 0.0,
    }

    def init(self, theta_KP: Tensor) -> State:
        names = [
            "square",
            *(["mean"] if self.centered else []),
            *(["velocity"] if active(self.momentum) else []),
        ]
        return {name: torch.zeros_like(theta_KP) for name in names}

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr)
        square_KP = average_square_(state["square"], gradient_KP, self.alpha)
        if self.centered:
            mean_KP = average_(state["mean"], gradient_KP, self.alpha)
            # Rounding can make the variance of a constant gradient negative.
            square_KP = add_product_(square_KP.clone(), mean_KP, mean_KP, -1.0).clamp_min_(0)
        divisor_KP = root(square_KP, self.eps, self.eps_inside)
        if not active(self.momentum):
            return add_ratio_(theta_KP, gradient_KP, divisor_KP, -lr), state
        velocity_KP = (
            state["velocity"].mul_(fit(self.momentum, theta_KP)).addcdiv_(gradient_KP, divisor_KP)
        )
        return add_scaled_(theta_KP, velocity_KP, -lr), state

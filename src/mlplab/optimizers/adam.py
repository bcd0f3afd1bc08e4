"""Adam and its variants: a running mean of gradients over the root of a running mean of squares.

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
    add_ratio_,
    add_scaled_,
    average_,
    average_square_,
    decay_,
    power,
    root,
)
from mlplab.schema import Number, flag, number
from mlplab.stacking import double, fit


@dataclass(frozen=True)
class Adam(LectureOptimizer):
    """Adam: momentum and RMSprop combined.

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        theta <- theta - lr * m' / (sqrt(v') + eps)
        with m' = m / (1 - beta1^step), v' = v / (1 - beta2^step)

    Options: eps_inside divides by sqrt(v' + eps); amsgrad replaces v by the largest v so far;
    without bias_correction, m' = m and v' = v. Source: Kingma and Ba 2015; amsgrad: Reddi et al.
    2018. The lecture has no bias correction: form=lecture sets bias_correction=false, without
    amsgrad and with eps outside the root.
    """

    lr: Number = number(0.001, "step size", above=0)
    beta1: Number = number(0.9, "decay of the running mean of gradients", at_least=0, below=1)
    beta2: Number = number(0.999, "decay of the running mean of squares", at_least=0, below=1)
    eps: Number = number(1e-8, "keeps the divisor from 0", above=0)
    amsgrad: bool = flag(False, "divide by the largest mean square so far")
    bias_correction: bool = flag(
        True, "correct the bias of the running means toward their start at 0; the lecture does not"
    )
    eps_inside: bool = flag(False, "add eps inside the root")
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    lecture_values: ClassVar[Mapping[str, object]] = {
        "bias_correction": False,
        "amsgrad": False,
        "eps_inside": False,
    }
    state_names: ClassVar[tuple[str, ...]] = ("mean", "square")
    decoupled: ClassVar[bool] = False  # weight decay shrinks theta directly

    def init(self, theta_KP: Tensor) -> State:
        return super().init(theta_KP) | (
            {"largest": torch.zeros_like(theta_KP)} if self.amsgrad else {}
        )

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr, self.decoupled)
        mean_KP = average_(state["mean"], gradient_KP, self.beta1)
        square_KP = average_square_(state["square"], gradient_KP, self.beta2)
        if self.amsgrad:
            square_KP = torch.maximum(state["largest"], square_KP, out=state["largest"])
        rate, eps = lr, self.eps
        if self.bias_correction:
            # Correcting two numbers is cheaper than two tensors: with c = sqrt(1 - beta2^step),
            # 1 / (sqrt(v') + eps) = c / (sqrt(v) + c * eps).
            unbias = 1 - power(self.beta2, step)
            rate = lr * unbias**0.5 / (1 - power(self.beta1, step))
            eps = eps * (unbias if self.eps_inside else unbias**0.5)
        return add_ratio_(theta_KP, mean_KP, root(square_KP, eps, self.eps_inside), -rate), state


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: theta <- (1 - lr * weight_decay) * theta before each Adam
    step.

    Source: Loshchilov and Hutter 2019; torch.optim.AdamW. The paper multiplies by the schedule's
    factor alone, torch by lr.
    """

    weight_decay: Number = number(0.01, "shrinks theta by lr * weight_decay each step", at_least=0)

    decoupled: ClassVar[bool] = True


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adamax: Adam with the largest recent gradient instead of the root mean square.

        m <- beta1 * m + (1 - beta1) * g
        u <- max(beta2 * u, |g| + eps)
        theta <- theta - lr / (1 - beta1^step) * m / u

    Source: Kingma and Ba 2015, which has no eps; torch.optim.Adamax.
    """

    lr: Number = number(0.002, "step size", above=0)
    beta1: Number = number(0.9, "decay of the running mean of gradients", at_least=0, below=1)
    beta2: Number = number(0.999, "decay of the largest gradient", at_least=0, below=1)
    eps: Number = number(1e-8, "keeps the divisor from 0", above=0)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    state_names: ClassVar[tuple[str, ...]] = ("mean", "largest")

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr)
        mean_KP = average_(state["mean"], gradient_KP, self.beta1)
        largest_KP = state["largest"].mul_(fit(self.beta2, theta_KP))
        torch.maximum(largest_KP, gradient_KP.abs_().add_(fit(self.eps, theta_KP)), out=largest_KP)
        return add_ratio_(theta_KP, mean_KP, largest_KP, -lr / (1 - power(self.beta1, step))), state


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Nadam: Adam with Nesterov's lookahead.

        mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
        c(t) = mu(1) * ... * mu(t)
        d = mu(t+1) * m / (1 - c(t+1)) + (1 - mu(t)) * g / (1 - c(t))
        theta <- theta - lr * d / (sqrt(v') + eps)

    m, v and v' are those of Adam. Source: Dozat 2016; torch.optim.NAdam, which stores c(t) in
    float32 unless torch's default dtype is float64. Here c(t) is always float64.
    """

    lr: Number = number(0.002, "step size", above=0)
    beta1: Number = number(0.9, "decay of the running mean of gradients", at_least=0, below=1)
    beta2: Number = number(0.999, "decay of the running mean of squares", at_least=0, below=1)
    eps: Number = number(1e-8, "keeps the divisor from 0", above=0)
    momentum_decay: Number = number(0.004, "how fast mu grows to beta1", at_least=0)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)
    decoupled_weight_decay: bool = flag(
        False, "shrink theta by lr * weight_decay each step instead, as adamw does"
    )

    state_names: ClassVar[tuple[str, ...]] = ("mean", "square")

    def init(self, theta_KP: Tensor) -> State:
        return super().init(theta_KP) | {
            "product": torch.ones_like(theta_KP[:, :1], dtype=torch.float64)
        }

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr, self.decoupled_weight_decay)
        mean_KP = average_(state["mean"], gradient_KP, self.beta1)
        square_KP = average_square_(state["square"], gradient_KP, self.beta2)
        mu, mu_next = self._mu(step), self._mu(step + 1)
        product_K1 = state["product"].mul_(mu)
        unbias = (1 - power(self.beta2, step)) ** 0.5
        gradient_KP.mul_(fit((1 - mu) / (1 - product_K1), theta_KP))
        add_scaled_(gradient_KP, mean_KP, mu_next / (1 - product_K1 * mu_next))
        return (
            add_ratio_(
                theta_KP,
                gradient_KP,
                root(square_KP, self.eps * unbias, inside=False),
                -lr * unbias,
            ),
            state,
        )

    def _mu(self, step: Step) -> Number:
        return self.beta1 * (1 - 0.5 * 0.96 ** (double(step) * self.momentum_decay))


@dataclass(frozen=True)
class Radam(Optimizer):
    """Rectified Adam: momentum until the running mean of squares is reliable, then Adam with a
    growing rate.

        n = 2 / (1 - beta2) - 1;   r = n - 2 t beta2^t / (1 - beta2^t)
        r > 5:  theta <- theta - lr * sqrt((r - 4)(r - 2) n / ((n - 4)(n - 2) r)) * m' / divisor
        else:   theta <- theta - lr * m'

    m' is that of Adam, and the divisor is (sqrt(v) + eps) / sqrt(1 - beta2^t), as in
    torch.optim.RAdam. Source: Liu et al. 2020.
    """

    lr: Number = number(0.001, "step size", above=0)
    beta1: Number = number(0.9, "decay of the running mean of gradients", at_least=0, below=1)
    beta2: Number = number(0.999, "decay of the running mean of squares", at_least=0, below=1)
    eps: Number = number(1e-8, "keeps the divisor from 0", above=0)
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)
    decoupled_weight_decay: bool = flag(
        False, "shrink theta by lr * weight_decay each step instead, as adamw does"
    )

    state_names: ClassVar[tuple[str, ...]] = ("mean", "square")

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr, self.decoupled_weight_decay)
        mean_KP = average_(state["mean"], gradient_KP, self.beta1)
        square_KP = average_square_(state["square"], gradient_KP, self.beta2)
        rate = lr / (1 - power(self.beta1, step))
        unbias = 1 - power(self.beta2, step)
        max_length = 2 / (1 - self.beta2) - 1
        length = max_length - 2 * double(step) * (1 - unbias) / unbias
        if isinstance(length, Tensor):
            reliable_K1 = length > 5
            factor: Number = torch.where(
                reliable_K1, self._rectifier(length, max_length, unbias), 1.0
            )
            divisor_KP = torch.where(reliable_K1, root(square_KP, self.eps, inside=False), 1.0)
        elif length > 5:
            factor, divisor_KP = (
                self._rectifier(length, max_length, unbias),
                root(square_KP, self.eps, inside=False),
            )
        else:
            return add_scaled_(theta_KP, mean_KP, -rate), state
        return add_ratio_(theta_KP, mean_KP, divisor_KP, -rate * factor), state

    @staticmethod
    def _rectifier(length: Number, max_length: Number, unbias: Number) -> Number:
        return (
            (length - 4)
            * (length - 2)
            * max_length
            / ((max_length - 4) * (max_length - 2) * length)
            * unbias
        ) ** 0.5

"""Optimizers that follow the gradient, its running sum or its sign.

All parameters have the same step size, except with rprop.

Shapes: K members, P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.errors import FieldError
from mlplab.optimizers.base import (
    LectureOptimizer,
    Optimizer,
    State,
    Step,
    add_scaled_,
    average_,
    decay_,
    sign,
)
from mlplab.schema import Number, flag, number
from mlplab.stacking import active, fit


@dataclass(frozen=True)
class Sgd(LectureOptimizer):
    """Gradient descent, theta <- theta - lr * g, with torch's momentum, dampening and Nesterov
    forms.

        v <- momentum * v + (1 - dampening) * g      (first step: v = g)
        theta <- theta - lr * v                      nesterov: theta - lr * (g + momentum * v)

    Source: the lecture; Sutskever et al. 2013 in the form of torch.optim.SGD. The lecture's
    momentum has lr inside v; see `momentum` and `nag`. form=lecture: without momentum.
    """

    lr: Number = number(0.001, "step size", above=0)
    momentum: Number = number(0.0, "fraction of the last step that is kept", at_least=0, below=1)
    dampening: Number = number(
        0.0, "fraction of the gradient that does not enter the momentum", at_least=0, at_most=1
    )
    nesterov: bool = flag(False, "look one momentum step ahead")
    weight_decay: Number = number(0.0, "adds weight_decay * theta to the gradient", at_least=0)

    lecture_values: ClassVar[Mapping[str, object]] = {"momentum": 0.0, "nesterov": False}

    def check(self) -> None:
        if self.nesterov and not active(self.momentum):
            raise FieldError("nesterov", True, "needs momentum > 0")
        if self.nesterov and active(self.dampening):
            raise FieldError("nesterov", True, "needs dampening = 0")

    def init(self, theta_KP: Tensor) -> State:
        return {"velocity": torch.zeros_like(theta_KP)} if active(self.momentum) else {}

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        decay_(theta_KP, gradient_KP, self.weight_decay, lr)
        direction_KP = gradient_KP
        if active(self.momentum):
            velocity_KP = state["velocity"].mul_(fit(self.momentum, theta_KP))
            add_scaled_(velocity_KP, gradient_KP, self._gradient_fraction(step))
            direction_KP = (
                add_scaled_(gradient_KP, velocity_KP, self.momentum)
                if self.nesterov
                else velocity_KP
            )
        return add_scaled_(theta_KP, direction_KP, -lr), state

    def _gradient_fraction(self, step: Step) -> Number:
        """The fraction of the gradient that enters the velocity.

        It is 1 at the first step and for members without momentum, else 1 - dampening.
        """
        if not active(self.dampening):
            return 1.0
        dampening = self.dampening
        if isinstance(self.momentum, Tensor):
            dampening = dampening * (self.momentum != 0).double()
        if isinstance(step, Tensor):
            return 1 - dampening * (step > 1).double()
        return 1 - dampening if step > 1 else 1.0


@dataclass(frozen=True)
class Momentum(LectureOptimizer):
    """Gradient descent with momentum as the lecture writes it.

        v <- momentum * v + lr * g
        theta <- theta - v

    Source: the lecture; Polyak 1964. Equal to sgd with momentum while lr is constant; with
    a schedule, the steps already in v keep the learning rate they were made with.
    """

    momentum: Number = number(0.9, "fraction of the last step that is kept", at_least=0, below=1)

    state_names: ClassVar[tuple[str, ...]] = ("velocity",)

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        velocity_KP = add_scaled_(
            state["velocity"].mul_(fit(self.momentum, theta_KP)), gradient_KP, lr
        )
        return theta_KP.sub_(velocity_KP), state


@dataclass(frozen=True)
class Nag(Momentum):
    """Nesterov accelerated gradient as the lecture writes it: the gradient is taken at theta -
    momentum * v.

        v <- momentum * v + lr * g(theta - momentum * v)
        theta <- theta - v

    Source: the lecture; Nesterov 1983. torch's nesterov takes the gradient at theta and corrects
    the step; the loss reported here is that at the point ahead.
    """

    # The point ahead has its own tensor, so that callers create views of it only once.
    state_names: ClassVar[tuple[str, ...]] = ("velocity", "ahead")

    def lookahead(self, theta_KP: Tensor, state: State) -> Tensor:
        return add_scaled_(state["ahead"].copy_(theta_KP), state["velocity"], -self.momentum)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion: steps of one size along the sign of a momentum.

        theta <- (1 - lr * weight_decay) * theta - lr * sign(beta1 * m + (1 - beta1) * g)
        m <- beta2 * m + (1 - beta2) * g

    Source: Chen et al. 2023. A gradient that is not finite gives NaN.
    """

    lr: Number = number(0.0001, "step size", above=0)
    beta1: Number = number(0.9, "weight of the momentum in the step", at_least=0, below=1)
    beta2: Number = number(0.99, "decay of the momentum", at_least=0, below=1)
    weight_decay: Number = number(0.0, "shrinks theta by lr * weight_decay each step", at_least=0)

    state_names: ClassVar[tuple[str, ...]] = ("mean",)

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        mean_KP = state["mean"]
        decay_(theta_KP, gradient_KP, self.weight_decay, lr, decoupled=True)
        direction_KP = sign(average_(mean_KP.clone(), gradient_KP, self.beta1))
        average_(mean_KP, gradient_KP, self.beta2)
        return add_scaled_(theta_KP, direction_KP, -lr), state


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient backpropagation: each parameter has its own step size, which grows while the
    gradient keeps its sign.

        s = sign(g)
        size <- clip(size * (eta_plus if s * s_last > 0, eta_minus if < 0, else 1),
                     step_min, step_max)
        s = 0 if s * s_last < 0
        theta <- theta - s * size

    Source: Riedmiller and Braun 1993 in the form of torch.optim.Rprop. Meant for
    training=batch. The
    learning rate is the first step size: a schedule acts on the first step only. A gradient that is
    not finite gives NaN.
    """

    eta_minus: Number = number(
        0.5, "factor of a step size after a change of sign", above=0, below=1
    )
    eta_plus: Number = number(1.2, "factor of a step size while the sign stays", above=1)
    step_min: Number = number(1e-6, "smallest step size", above=0)
    step_max: Number = number(50.0, "largest step size", above=0)

    scales_with_lr: ClassVar[bool] = False  # it is the first step size

    def check(self) -> None:
        if (
            not isinstance(self.step_min, Tensor)
            and not isinstance(self.step_max, Tensor)
            and self.step_min > self.step_max
        ):
            raise FieldError("step_min", self.step_min, f"is above step_max = {self.step_max!r}")

    def init(self, theta_KP: Tensor) -> State:
        return {
            "sign": torch.zeros_like(theta_KP),
            "size": torch.zeros_like(theta_KP).add_(fit(self.lr, theta_KP)),
        }

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        last_KP, size_KP = state["sign"], state["size"]
        if isinstance(step, Tensor):
            size_KP.copy_(torch.where(step == 1, fit(lr, size_KP), size_KP))
        elif step == 1:
            size_KP.zero_().add_(fit(lr, size_KP))
        sign_KP = sign(gradient_KP)
        agreement_KP = sign_KP * last_KP
        factor_KP = torch.where(
            agreement_KP > 0, fit(self.eta_plus, size_KP), torch.ones_like(size_KP)
        )
        factor_KP = torch.where(agreement_KP < 0, fit(self.eta_minus, size_KP), factor_KP)
        size_KP.mul_(factor_KP).clamp_min_(fit(self.step_min, size_KP)).clamp_max_(
            fit(self.step_max, size_KP)
        )
        last_KP.copy_(sign_KP.masked_fill_(agreement_KP < 0, 0.0))
        return theta_KP.addcmul_(sign_KP, size_KP, value=-1), state

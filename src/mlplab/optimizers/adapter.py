"""Any optimizer of torch.optim, for one network.

Shapes: K = 1 member, P parameters.
"""

import copy
import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from mlplab.errors import FieldError
from mlplab.optimizers.base import GradientAt, Optimizer, State, Step
from mlplab.schema import Number, anything, number, text

_NOT_OPTIONS = ("params", "lr")  # arguments of a torch optimizer set by this class


@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """Any class of torch.optim by its name, such as LBFGS, ASGD or Adafactor: one network at a
    time.

    The network is one flat parameter for torch. L-BFGS evaluates the objective several times per
    step, on one batch: use training=batch. The state is the torch optimizer itself, under "torch".
    Since it is not a tensor, such networks cannot be stacked to a population; `export_state` and
    `import_state` convert it for checkpoints.
    """

    lr: Number = number(
        1.0, "step size (1 suits L-BFGS; most others need far less)", above=0, varies=False
    )
    class_name: str = text("LBFGS", "name of a class of torch.optim")
    options: Mapping[str, object] = anything(
        {},
        "keyword arguments of that class except lr, such as {max_iter: 10, line_search_fn:"
        " strong_wolfe}",
    )

    single_network: ClassVar[bool] = True
    scales_with_lr: ClassVar[bool] = False  # unknown, and torch has one lr for the flat parameter
    eager_only: ClassVar[str] = "its steps are those of a class of torch.optim"

    def check(self) -> None:
        allowed = self._check_names()
        for key, value in self.options.items():
            if not _plain(value):
                raise FieldError(
                    f"options.{key}",
                    value,
                    "is not a finite number, true, false, null, a string, or a list of these",
                )
        self._trial(
            "class_name",
            {},
            "cannot train a network as one vector of parameters with dense gradients",
        )
        self._trial(
            "options",
            self.options,
            f"is rejected by {self.class_name}, whose options are {', '.join(allowed)}",
        )

    def _check_names(self) -> list[str]:
        """The options of the class. Raises FieldError if the class or an option does not exist."""
        classes = available()
        if self.class_name not in classes:
            raise FieldError(
                "class_name",
                self.class_name,
                "is not in torch.optim" + _nearest(self.class_name, list(classes)),
            )
        if not isinstance(self.options, Mapping):
            raise FieldError("options", self.options, "is not a mapping of names to values")
        allowed = [
            name
            for name in inspect.signature(classes[self.class_name]).parameters
            if name not in _NOT_OPTIONS
        ]
        for key in self.options:
            if key not in allowed:
                raise FieldError(
                    "options",
                    key,
                    "is set as optimizer.lr"
                    if key == "lr"
                    else f"is not an option of {self.class_name}" + _nearest(str(key), allowed),
                )
        return allowed

    def _trial(self, key: str, options: Mapping[str, object], reason: str) -> None:
        """Try one step on a small vector.

        torch's classes reject options with exceptions of any kind; they become FieldError.
        """
        theta_KP = torch.ones(1, 3)
        try:
            state = self._build(theta_KP, options)
            self.step(
                theta_KP, lambda x_KP: (x_KP.square().sum(1) / 2, x_KP.clone()), state, 1, self.lr
            )
        except Exception as error:
            raise FieldError(key, getattr(self, key), f"{reason}: {error}") from error

    def init(self, theta_KP: Tensor) -> State:
        """The torch optimizer, on a parameter that shares theta's memory."""
        return self._build(theta_KP, self.options)

    def _build(self, theta_KP: Tensor, options: Mapping[str, object]) -> State:
        arguments = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in options.items()
        }
        optimizer = available()[self.class_name](
            [nn.Parameter(theta_KP.detach().view(-1))], lr=float(self.lr), **arguments
        )
        return cast(State, {"torch": optimizer})

    def update(
        self, theta_KP: Tensor, gradient_KP: Tensor, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State]:
        """One step from a gradient. Raises TypeError for L-BFGS, which evaluates the objective."""
        if self.class_name == "LBFGS":
            raise TypeError("L-BFGS evaluates the objective itself: call step instead of update")
        return self.step(theta_KP, lambda x_KP: (torch.zeros(1), gradient_KP), state, step, lr)[:2]

    def step(
        self, theta_KP: Tensor, gradient_at: GradientAt, state: State, step: Step, lr: Number
    ) -> tuple[Tensor, State, Tensor]:
        optimizer = cast(torch.optim.Optimizer, state["torch"])
        group = optimizer.param_groups[0]
        group["lr"] = float(lr)
        parameter_P = group["params"][0]
        if parameter_P.data_ptr() != theta_KP.data_ptr():
            parameter_P.data = theta_KP.detach().view(-1)

        def closure() -> Tensor:
            # torch.optim enables autograd around a closure, but the objective computes its gradient
            with torch.no_grad():
                loss_K, gradient_KP = gradient_at(theta_KP)
            parameter_P.grad = gradient_KP.reshape(-1)
            return loss_K[0]

        loss = optimizer.step(closure)  # type: ignore[arg-type]
        return theta_KP, state, torch.as_tensor(loss).detach().reshape(1)

    def export_state(self, state: State) -> dict[str, object]:
        """A copy of torch's state_dict."""
        return copy.deepcopy(cast(torch.optim.Optimizer, state["torch"]).state_dict())

    def import_state(self, theta_KP: Tensor, exported: dict[str, object]) -> State:
        state = self.init(theta_KP)
        cast(torch.optim.Optimizer, state["torch"]).load_state_dict(copy.deepcopy(exported))
        return state


def available() -> dict[str, Callable[..., torch.optim.Optimizer]]:
    """The optimizer classes of the installed torch."""
    return {
        name: value
        for name, value in inspect.getmembers(torch.optim, inspect.isclass)
        if issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }


def _plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(item) for item in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, str))


def _nearest(name: str, names: list[str]) -> str:
    """The end of an error message: the names closest to `name`, or all if none is close."""
    by_lowercase = {valid.lower(): valid for valid in names}
    close = difflib.get_close_matches(name.lower(), by_lowercase, n=3, cutoff=0.5)
    return (
        "; nearest: " + ", ".join(by_lowercase[match] for match in close)
        if close
        else "; available: " + ", ".join(names)
    )

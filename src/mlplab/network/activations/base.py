"""Base class of activations: elementwise functions of the hidden vectors of all members.

Shapes: K members, B examples in the batch, H hidden units, Q learnable parameters per layer.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor, nn

from mlplab.schema import Component


@dataclass(frozen=True)
class Activation(Component):
    """An elementwise function between two layers.

    A subclass implements `value`, or names torch's `function` if it has no hyperparameters. A
    hyperparameter is a float, or a [K, 1] tensor if members differ in it; both give the same
    results. At a kink the gradient is that of torch's function, which agrees with the lecture:
    relu'(0) = 0.
    """

    function: ClassVar[Callable[[Tensor], Tensor] | None] = None
    formula: ClassVar[str] = ""
    derivative: ClassVar[str] = ""
    output_range: ClassVar[str] = ""
    continuity: ClassVar[str] = ""  # how many derivatives are continuous; C^-1 has jumps
    torch_class: ClassVar[type[nn.Module] | None] = None  # takes the hyperparameters in order

    def __init_subclass__(
        cls,
        function: Callable[[Tensor], Tensor] | None = None,
        formula: str = "",
        derivative: str = "",
        output_range: str = "",
        continuity: str = "",
        torch_class: type[nn.Module] | None = None,
    ) -> None:
        """Set the class attributes of a subclass from the keywords of its class statement."""
        super().__init_subclass__()
        cls.function = function or cls.function
        cls.formula = formula or cls.formula
        cls.derivative = derivative or cls.derivative
        cls.output_range = output_range or cls.output_range
        cls.continuity = continuity or cls.continuity
        cls.torch_class = torch_class or cls.torch_class

    @classmethod
    def facts(cls) -> dict[str, str]:
        return {
            "f(x) = ": cls.formula,
            "f'(x) = ": cls.derivative,
            "range ": cls.output_range,
            "continuity ": cls.continuity,
        }

    def __call__(self, z_KBH: Tensor, parameters_K1Q: Tensor | None = None) -> Tensor:
        """Return the hidden vectors, [K, B, H] in the dtype of z.

        Only an activation with learnable parameters uses `parameters_K1Q`.
        """
        return self.value(z_KBH)

    def value(self, z_KBH: Tensor) -> Tensor:
        """Return the function values, [K, B, H]."""
        function = type(self).function
        if function is None:
            raise NotImplementedError
        return function(z_KBH)

    def module(self) -> nn.Module:
        """Return the function of one member as a torch module, torch's class if it has one."""
        if self.torch_class is None:
            return Elementwise(self)
        return self.torch_class(*(float(getattr(self, field.name)) for field in fields(self)))

    def num_parameters(self) -> int:
        """The number of parameters that the activation learns per layer."""
        return 0

    def initial_parameters(self) -> list[float]:
        """The values of these parameters before training."""
        return []

    def warning(self) -> str | None:
        """A warning for the user before training, or None."""
        return None


class Elementwise(nn.Module):
    """Torch module of an activation for which torch has no class: x [..., H] -> [..., H]."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x)

    def extra_repr(self) -> str:
        return repr(self.activation)

"""Initializers of the weights and biases of a layer.

Members are initialized one at a time, each from its own generator.

Shapes: O outputs (fan_out) and I inputs (fan_in) of the layer; a weight matrix is [O, I], as in
torch, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mlplab.errors import FieldError
from mlplab.schema import Component, anything, number


@dataclass(frozen=True)
class Initializer(Component):
    """The initial values of one layer."""

    variance: ClassVar[str] = ""  # of a weight, by the fields, fan_in and fan_out
    depends_on_size: ClassVar[bool] = True  # whether the weights depend on the size of the layer

    bias: float = number(0.0, "value of every bias")

    def __init_subclass__(cls, variance: str = "", depends_on_size: bool = True) -> None:
        super().__init_subclass__()
        cls.variance, cls.depends_on_size = variance, depends_on_size

    @classmethod
    def facts(cls) -> dict[str, str]:
        return {"variance of a weight: ": cls.variance}

    def of_layer(self, layer: int, num_layers: int) -> Initializer:
        """Return the initializer of one layer of the network, counted from 0."""
        return self

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        """Write the initial weights in place."""
        raise NotImplementedError

    def fill_bias(self, bias_O: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Write the initial biases in place."""
        nn.init.constant_(bias_O, self.bias)

    def fill_blocks(
        self, weight_GOI: Tensor, positions: Sequence[int], generator: torch.Generator
    ) -> None:
        """Write the initial weights of G blocks of one size in place, each like those of a layer.

        `positions` are the indices of the blocks in `Layer.blocks`, by which an initializer with
        values for each block finds them.
        """
        if not self.depends_on_size:
            self.fill(weight_GOI.view(-1, weight_GOI.shape[2]), generator)
            return
        for weight_OI in weight_GOI:
            self.fill(weight_OI, generator)

    def fill_block_biases(
        self, bias_GO: Tensor, positions: Sequence[int], fan_in: int, generator: torch.Generator
    ) -> None:
        """Write the initial biases of G blocks of one size in place."""
        self.fill_bias(bias_GO.view(-1), fan_in, generator)


@dataclass(frozen=True)
class RandomInitializer(Initializer):
    """An initializer that draws random weights.

    A subclass implements `draw`, its standard scheme; the gain multiplies the result. torch fills a
    tensor in memory order, so the weights of one that is not contiguous are drawn into another
    tensor: a transposed view then gets the same weights.
    """

    gain: float = number(1.0, "factor on the drawn weights", above=0)

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        is_same = weight_OI.is_contiguous() and weight_OI.dtype == torch.float64
        drawn_OI = weight_OI if is_same else torch.empty(weight_OI.shape, dtype=torch.float64)
        self.draw(drawn_OI, generator)
        with torch.no_grad():
            if self.gain != 1:
                drawn_OI.mul_(self.gain)
            if not is_same:
                weight_OI.copy_(drawn_OI)

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        """Write the weights for gain 1 into a contiguous matrix, in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class Zeros(Initializer, variance="0", depends_on_size=False):
    """All weights are 0.

    The units of a hidden layer then stay equal, so only a network without hidden layers can learn.
    """

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.zeros_(weight_OI)


@dataclass(frozen=True)
class Constant(Initializer, variance="0", depends_on_size=False):
    """All weights are the same number.

    The units of a hidden layer receive equal gradients and stay equal, so they act as one unit.
    """

    value: float = number(0.1, "value of every weight")

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.constant_(weight_OI, self.value)


@dataclass(frozen=True)
class Normal(RandomInitializer, variance="gain^2 * std^2", depends_on_size=False):
    """Normal numbers near zero: w ~ N(0, std^2).

    Source: the lecture's "random numbers near 0", which gives no value. std = 0.1 keeps A h + b in
    the steep range of sigmoid and tanh, yet is large enough to differentiate the units of a small
    layer. torch's normal_ defaults to std = 1, Keras to 0.05.
    """

    std: float = number(0.1, "standard deviation", above=0)

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.normal_(weight_OI, 0.0, self.std, generator=generator)


@dataclass(frozen=True)
class Uniform(RandomInitializer, variance="gain^2 * (high - low)^2 / 12", depends_on_size=False):
    """Uniform numbers near zero: w ~ U(low, high).

    Source: the lecture's "random numbers near 0", which gives no value. torch's uniform_ defaults
    to [0, 1], Keras to [-0.05, 0.05].
    """

    low: float = number(-0.1, "lower limit")
    high: float = number(0.1, "upper limit")

    def check(self) -> None:
        if self.low > self.high:
            raise FieldError("low", self.low, f"is above high = {self.high}")

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.uniform_(weight_OI, self.low, self.high, generator=generator)


@dataclass(frozen=True)
class TruncatedNormal(RandomInitializer, variance="gain^2 * 0.7737 * std^2", depends_on_size=False):
    """Normal numbers, redrawn if beyond two standard deviations: w ~ N(0, std^2), |w| <= 2 std.

    The standard deviation after truncation is 0.8796 std. The limits scale with std as in Keras;
    torch's defaults are -2 and 2 whatever std is.
    """

    std: float = number(0.1, "standard deviation before truncation", above=0)

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.trunc_normal_(
            weight_OI, 0.0, self.std, -2 * self.std, 2 * self.std, generator=generator
        )


@dataclass(frozen=True)
class XavierNormal(RandomInitializer, variance="gain^2 * 2 / (fan_in + fan_out)"):
    """Xavier (Glorot), normal: std = sqrt(2 / (fan_in + fan_out)), for sigmoid and tanh.

    Source: lecture, where the second argument of N(0, sqrt(...)) is the standard deviation; Glorot,
    Bengio 2010. Keras truncates at two deviations.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.xavier_normal_(weight_OI, generator=generator)


@dataclass(frozen=True)
class XavierUniform(RandomInitializer, variance="gain^2 * 2 / (fan_in + fan_out)"):
    """Xavier (Glorot), uniform: |w| <= sqrt(6 / (fan_in + fan_out)), for sigmoid and tanh.

    Source: lecture; Glorot, Bengio 2010.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(weight_OI, generator=generator)


@dataclass(frozen=True)
class HeNormal(RandomInitializer, variance="gain^2 * 2 / fan_in"):
    """He (Kaiming), normal: std = sqrt(2 / fan_in), for relu.

    Source: lecture, where the second argument of N(0, sqrt(...)) is the standard deviation; He et
    al. 2015. Keras truncates at two deviations.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.kaiming_normal_(weight_OI, nonlinearity="relu", generator=generator)


@dataclass(frozen=True)
class HeUniform(RandomInitializer, variance="gain^2 * 2 / fan_in"):
    """He (Kaiming), uniform: |w| <= sqrt(6 / fan_in), for relu.

    Source: lecture; He et al. 2015.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(weight_OI, nonlinearity="relu", generator=generator)


@dataclass(frozen=True)
class LecunNormal(RandomInitializer, variance="gain^2 / fan_in"):
    """LeCun, normal: std = sqrt(1 / fan_in), for selu and near-linear units.

    Source: LeCun et al. 1998 ("Efficient BackProp"). This is He's scheme without the factor for
    relu. Keras truncates at two standard deviations.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.kaiming_normal_(weight_OI, nonlinearity="linear", generator=generator)


@dataclass(frozen=True)
class LecunUniform(RandomInitializer, variance="gain^2 / fan_in"):
    """LeCun, uniform: |w| <= sqrt(3 / fan_in), for selu and near-linear units.

    Source: LeCun et al. 1998 ("Efficient BackProp"), who give the variance 1 / fan_in but do not
    specify the distribution.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(weight_OI, nonlinearity="linear", generator=generator)


@dataclass(frozen=True)
class Orthogonal(RandomInitializer, variance="gain^2 / max(fan_in, fan_out)"):
    """Orthonormal rows, or columns if there are more outputs than inputs; gain is their length.

    Source: Saxe, McClelland, Ganguli 2014.
    """

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.orthogonal_(weight_OI, generator=generator)


@dataclass(frozen=True)
class Sparse(RandomInitializer, variance="gain^2 * (1 - sparsity) * std^2"):
    """Normal numbers, with a fraction of the outgoing weights of each input set to zero.

    ceil(sparsity * fan_out) weights of each column are 0, but at least one is kept, since a layer
    of one unit would otherwise receive no input. torch's sparse_ is not used because it keeps none
    in that case and selects the zeros with the global generator. Source: Martens 2010, who zeroes
    incoming weights of a unit, while torch zeroes outgoing weights of an input. torch's std
    defaults to 0.01.
    """

    sparsity: float = number(0.5, "fraction of weights set to zero", at_least=0, below=1)
    std: float = number(0.1, "standard deviation of the nonzero weights", above=0)

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.normal_(weight_OI, 0.0, self.std, generator=generator)
        outputs, inputs = weight_OI.shape
        num_zeros = min(math.ceil(self.sparsity * outputs), outputs - 1)
        for column in range(inputs):
            weight_OI[torch.randperm(outputs, generator=generator)[:num_zeros], column] = 0


@dataclass(frozen=True)
class TorchDefault(RandomInitializer, variance="gain^2 / (3 * fan_in)"):
    """The default of torch's nn.Linear: weights and biases uniform, |w| <= 1 / sqrt(fan_in).

    For the weights this is He's uniform scheme for a leaky relu with slope sqrt(5). The gain does
    not affect the biases.
    """

    bias: float = number(0.0, "offset added to every bias; biases are drawn like the weights")

    def draw(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(weight_OI, math.sqrt(5), generator=generator)

    def fill_bias(self, bias_O: Tensor, fan_in: int, generator: torch.Generator) -> None:
        limit = 1 / math.sqrt(fan_in)
        nn.init.uniform_(bias_O, self.bias - limit, self.bias + limit, generator=generator)


@dataclass(frozen=True)
class Given(Initializer):
    """Weights and biases that are written down, as in a picture or on a slide.

    `weights` has one matrix for each layer, of which each row is one unit: its weight for each
    input of the layer. As the initializer of one layer, it may be the matrix of that layer. Without
    weights all are 0. Filling a layer of another shape raises FieldError.
    """

    weights: object = anything(
        [], "a matrix for each layer, a row for each unit: [[[1, 0], [0, 1]], [[1, -1]]]; [] for 0"
    )
    biases: object = anything(
        [], "a list for each layer, a number for each unit; [] sets all to `bias`"
    )

    def check(self) -> None:
        for key, value, depth in (("weights", self.weights, 3), ("biases", self.biases, 2)):
            if not isinstance(value, (list, tuple)) or not (
                _is_nested(value, depth) or _is_nested(value, depth - 1)
            ):
                raise FieldError(
                    key,
                    value,
                    "is not a list of finite numbers for each layer, such as"
                    + (" [[[1, 0], [0, 1]], [[1, -1]]]" if depth == 3 else " [[0, -1.5], [0.5]]"),
                )

    def of_layer(self, layer: int, num_layers: int) -> Initializer:
        chosen = {
            key: _of_layer(key, value, depth, layer, num_layers)
            for key, value, depth in (("weights", self.weights, 3), ("biases", self.biases, 2))
        }
        return _GivenLayer(bias=self.bias, layer=layer, **chosen)

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        self.of_layer(0, 1).fill(weight_OI, generator)

    def fill_bias(self, bias_O: Tensor, fan_in: int, generator: torch.Generator) -> None:
        self.of_layer(0, 1).fill_bias(bias_O, fan_in, generator)


@dataclass(frozen=True)
class _GivenLayer(Initializer):
    """The matrix and the biases of one layer; None leaves the default."""

    layer: int = 0
    weights: object = None
    biases: object = None

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        self._write("weights", "units x inputs", self.weights, weight_OI, 0.0)

    def fill_bias(self, bias_O: Tensor, fan_in: int, generator: torch.Generator) -> None:
        self._write("biases", "units", self.biases, bias_O, self.bias)

    def _write(self, key: str, axes: str, value: Any, target: Tensor, default: float) -> None:
        if value is None:
            nn.init.constant_(target, default)
            return
        widths = {len(row) for row in value} if target.ndim == 2 else {1}
        shape = (len(value), *widths) if target.ndim == 2 else (len(value),)
        if shape != tuple(target.shape):
            wanted, given = (" x ".join(map(str, sizes)) for sizes in (target.shape, shape))
            given = given if len(widths) == 1 else "rows of different lengths"
            raise FieldError(
                f"initializer.{key} of layer {self.layer + 1}",
                value,
                f"does not fit the layer: it has {given}, the layer needs {wanted} ({axes})",
            )
        with torch.no_grad():
            target.copy_(torch.tensor(value, dtype=torch.float64))


def _is_nested(value: object, depth: int) -> bool:
    """Whether the value is a finite number (depth 0), or a list of such values of depth - 1."""
    if depth == 0:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    return isinstance(value, (list, tuple)) and all(_is_nested(item, depth - 1) for item in value)


def _of_layer(key: str, value: Any, depth: int, layer: int, num_layers: int) -> object:
    """Return the entry of one layer, or None if nothing is given."""
    if not value:
        return None
    if not _is_nested(value, depth):
        return value
    if len(value) != num_layers:
        raise FieldError(
            f"initializer.{key}", value, f"is for {len(value)} layers, the network has {num_layers}"
        )
    return value[layer]


INITIALIZERS: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "constant": Constant,
    "normal": Normal,
    "uniform": Uniform,
    "truncated_normal": TruncatedNormal,
    "xavier_normal": XavierNormal,
    "xavier_uniform": XavierUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "orthogonal": Orthogonal,
    "sparse": Sparse,
    "torch_default": TorchDefault,
    "given": Given,
}

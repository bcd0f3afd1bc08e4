"""Embeddings of numbers by waves: cosines and sines of fixed or learned frequencies.

Shapes: O outputs of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.data.feature_groups import NUMBER
from mlplab.embeddings.base import Embedding
from mlplab.embeddings.stack import COPY, Stack
from mlplab.network.activations import Activation, Relu, Sine
from mlplab.network.initializers import Initializer, TorchDefault
from mlplab.schema import flag, integer, number

WAVE = "wave"
"""The kind of the waves of a number."""


@dataclass(frozen=True)
class WaveInitializer(Initializer):
    """Normal frequencies c ~ N(0, sigma^2) and phases, both in cycles, of the blocks of a layer.

    Attributes:
        sigma: the standard deviation of the frequencies.
        size: the units of a block.
        paired: whether the first half of a block are cosines, and the other half the sines of the
            same frequencies; otherwise the phases are uniform.
    """

    sigma: float = 1.0
    size: int = 1
    paired: bool = False

    def fill(self, weight_OI: Tensor, generator: torch.Generator) -> None:
        drawn = self.size // 2 if self.paired else self.size
        count = len(weight_OI) // self.size
        frequencies = torch.randn(count, 1, drawn, generator=generator, dtype=torch.float64)
        repeated = frequencies.expand(count, self.size // drawn, drawn)
        weight_OI.copy_(self.sigma * repeated.reshape(-1, 1))

    def fill_bias(self, bias_O: Tensor, fan_in: int, generator: torch.Generator) -> None:
        if self.paired:
            # cos(2 pi z) = sin(2 pi (z + 1/4))
            bias_O.copy_(torch.arange(len(bias_O)) % self.size < self.size // 2).mul_(0.25)
        else:
            uniform = torch.rand(len(bias_O), generator=generator, dtype=torch.float64)
            bias_O.copy_(uniform - 0.5)


def add_waves(
    stack: Stack,
    frequencies: int,
    sigma: float,
    lr_factor: float,
    paired: bool,
    keep: bool = False,
) -> None:
    """Add a layer of waves of each number: sin(2 pi (c x + phase)) for its weights c and biases.

    The learning rate of a phase is relative to radians, as in the papers.
    """
    size = 2 * frequencies if paired else frequencies
    stack.add(
        NUMBER,
        size,
        WAVE,
        WaveInitializer(sigma=sigma, size=size, paired=paired),
        Sine(frequency=2 * math.pi),
        keep,
        lr_factor=lr_factor,
        bias_lr_factor=lr_factor / (2 * math.pi),
    )


def add_linear(
    stack: Stack, outputs: int, lr_factor: float, activation: Activation | None = None
) -> None:
    """Add a layer with a linear map of the waves of each number."""
    stack.add(
        WAVE,
        outputs,
        COPY,
        TorchDefault(),
        activation,
        lr_factor=lr_factor,
        bias_lr_factor=lr_factor,
    )


@dataclass(frozen=True)
class Periodic(Embedding):
    """Cosines and sines of each number, of random frequencies that stay as they are drawn.

        cos(2 pi c_i x), sin(2 pi c_i x),   c_i ~ N(0, sigma^2),   i = 1..frequencies

    x is the scaled number. Source: Rahimi, Recht 2007 (random Fourier features); Tancik et al.
    2020.
    """

    frequencies: int = integer(8, "number of frequencies of each number", at_least=1)
    sigma: float = number(0.3, "standard deviation of the frequencies, in cycles per unit", above=0)
    keep: bool = flag(True, "pass on the number itself, too")

    def embed_numbers(self, stack: Stack) -> None:
        add_waves(stack, self.frequencies, self.sigma, 0.0, paired=True, keep=self.keep)


@dataclass(frozen=True)
class Plr(Embedding):
    """Periodic, linear, ReLU: waves of learned frequencies, and units of those of each number.

        relu(W v + b),   v = cos(2 pi c_i x), sin(2 pi c_i x),   c_i ~ N(0, sigma^2) at the start

    The cosine and the sine of a frequency are learned separately, with their phases. Source:
    Gorishniy, Rubachev, Babenko 2022.
    """

    frequencies: int = integer(16, "number of frequencies of each number", at_least=1)
    sigma: float = number(
        0.1, "standard deviation of the first frequencies, in cycles per unit", above=0
    )
    outputs: int = integer(8, "units of each number", at_least=1)
    lr_factor: float = number(
        1.0, "learning rate of the embedding, relative to optimizer.lr", at_least=0
    )

    def embed_numbers(self, stack: Stack) -> None:
        add_waves(stack, self.frequencies, self.sigma, self.lr_factor, paired=True)
        add_linear(stack, self.outputs, self.lr_factor, Relu())


@dataclass(frozen=True)
class Pbld(Embedding):
    """Periodic with bias, linear, densely connected: waves of learned frequencies and phases, a
    linear map of those of each number, and the number itself.

        (x, W v + b),   v_i = cos(2 pi (c_i x + phase_i)),   c_i ~ N(0, sigma^2) at the start

    Source: Holzmueller, Grinsztajn, Steinwart 2024 (RealMLP).
    """

    frequencies: int = integer(16, "number of frequencies of each number", at_least=1)
    sigma: float = number(
        0.1, "standard deviation of the first frequencies, in cycles per unit", above=0
    )
    outputs: int = integer(4, "units of each number, one of which is the number", at_least=2)
    lr_factor: float = number(
        0.1, "learning rate of the embedding, relative to optimizer.lr", at_least=0
    )

    def embed_numbers(self, stack: Stack) -> None:
        add_waves(stack, self.frequencies, self.sigma, self.lr_factor, paired=False, keep=True)
        add_linear(stack, self.outputs - 1, self.lr_factor)

"""Estimates of the time of an epoch with each engine, by which engine=auto chooses, and by which
the native engine divides work among threads.

They depend on sizes alone. Both engines are estimated with one thread: the members of a sweep share
the cores, and a lone run has the engine that it has in a sweep.

The constants are nanoseconds in float32, fitted to `scripts/benchmark/crossover.py` (2026-11-29,
AMD EPYC with AVX2, torch 2.13). Only the ratio of the engines matters, in which machines differ
far less than in the times.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlplab.data.preparation.examples import Prepared
from mlplab.network.blocks import Block
from mlplab.network.layer import Layer
from mlplab.network.mlp import PopulationLayer
from mlplab.settings import Settings
from mlplab.training.population import Population

BLOCK = 32
"""The examples that the kernel computes at once; a smaller batch costs as much."""
CACHED_WEIGHTS, SHARED_CACHED_WEIGHTS = 1 << 18, 1 << 21
"""Weights that stay in a core's cache, and in the last one, from one block to the next."""
NARROW = 16
"""The units of a layer below which the kernel's gradient is slow: NARROW of kernel.c."""


@dataclass(frozen=True)
class Workload:
    """What an epoch computes.

    `widths` are the inputs and the units of each layer, the outputs included; `num_evaluated` is
    the number of examples that are evaluated in an epoch, on average.
    """

    widths: tuple[int, ...]
    batch_size: int
    steps: int
    num_evaluated: float
    is_double: bool = False
    blocks: tuple[tuple[Block, ...] | None, ...] = ()
    """Those of each layer, None for one whose units read all inputs; may be left out."""

    @classmethod
    def of(cls, settings: Settings, prepared: Prepared) -> Workload:
        """Return the workload of a member."""
        num_outputs = prepared.task.num_classes or prepared.task.num_targets
        num_val = len(prepared.val) if prepared.val is not None else 0
        batch_size = settings.training.portion(len(prepared.train))
        return cls(
            (prepared.num_features, *(layer.units or num_outputs for layer in settings.layers)),
            batch_size,
            -(-len(prepared.train) // batch_size),
            (len(prepared.train) + num_val) / settings.training.evaluate_every,
            settings.dtype == "float64",
            _blocks(settings.layers),
        )

    @classmethod
    def of_population(cls, population: Population) -> Workload:
        """Return the workload of each member of a population."""
        network, batches, data = population.network, population.batches, population.data
        evaluated = sum(data[split].num_examples for split in ("train", "val") if split in data)
        return cls(
            (network.num_features, *(layer.units for layer in network.layers)),
            min(batches.batch_size, batches.used),
            batches.per_epoch,
            evaluated / population.training.evaluate_every,
            population.theta_KP.dtype == torch.float64,
            _blocks(network.layers),
        )

    @property
    def num_weights(self) -> int:
        return sum(weights for layer in self._sizes for weights, _ in layer)

    @property
    def _sizes(self) -> list[list[tuple[int, int]]]:
        """The weights and the outputs of each affine block, by layer; most layers are one block."""
        pairs = itertools.pairwise(self.widths)
        return [
            [(inputs * outputs, outputs)]
            if blocks is None
            else [(block.num_weights, block.outputs) for block in blocks if not block.identity]
            for (inputs, outputs), blocks in itertools.zip_longest(pairs, self.blocks)
        ]

    def _multiplications(self, examples: float, evaluated: float) -> float:
        """Of the matrix products: those of the first layer have no gradient of their inputs."""
        first, weights = sum(size for size, _ in self._sizes[0]), self.num_weights
        return examples * (3 * weights - first) + evaluated * weights

    def native_nanoseconds(self) -> float:
        """The time of an epoch with the native engine."""
        examples = self.steps * -(-self.batch_size // BLOCK) * BLOCK
        weights, passes = self.num_weights, 3 * examples + self.num_evaluated
        narrow = sum(size for layer in self._sizes for size, outputs in layer if outputs < NARROW)
        uncached = max(0, weights - CACHED_WEIGHTS)
        per_number = (
            0.05 * self._multiplications(examples, self.num_evaluated)
            + 0.023 * uncached * passes
            + 0.04 * max(0, weights - SHARED_CACHED_WEIGHTS) * passes
            + 0.85 * narrow * examples
            + 1.7 * self.widths[0] * examples
            + (0.66 * weights + 1.3 * uncached) * self.steps
        )
        return 580 * self.steps + per_number * (1 + self.is_double)

    def eager_nanoseconds(self) -> float:
        """The time of an epoch with torch."""
        examples, units = self.steps * self.batch_size, sum(self.widths[1:])
        per_number = (
            0.034 * self._multiplications(examples, self.num_evaluated)
            + 9.0 * units * (2 * examples + self.num_evaluated)
            + 5.8 * self.widths[0] * examples
            + 7.5 * self.num_weights * self.steps
        )
        operations = 190_000 + 150_000 * (len(self.widths) - 1)
        return operations * self.steps + per_number * (1 + self.is_double)


def _blocks(
    layers: Sequence[Layer] | Sequence[PopulationLayer],
) -> tuple[tuple[Block, ...] | None, ...]:
    """Return the blocks of each layer; nothing if no layer has blocks."""
    return tuple(layer.blocks for layer in layers) if any(layer.blocks for layer in layers) else ()

"""A monitored metric that torch computes from the outputs of the native kernel.

Shapes: N examples, C outputs.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mlplab import native
from mlplab.training.batches import DeviceDataset
from mlplab.training.evaluation import Scoring
from mlplab.training.population import Population
from mlplab.training.threads import limit_threads


class TorchMetric:
    """What the kernel calls at each evaluation of a member, from any of its threads.

    Each member is measured by itself on one thread, so that the bits of its metric depend neither
    on the population nor on the number of threads. `address` is that of the C function.
    """

    def __init__(self, population: Population) -> None:
        self._population = population
        self._function = native.OutsideMetric(self._call)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value
        self._members: dict[int, tuple[Scoring, list[DeviceDataset]]] = {}
        self._error: BaseException | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the kernel run; an exception of the metric, which cannot pass C, is raised after."""
        with limit_threads(0):
            yield
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _call(self, member: int, is_val: int, address: int) -> float:
        if self._error is not None:
            return math.nan
        try:
            scoring, splits = self._of_member(member)
            examples = splits[is_val]
            return float(scoring.monitored_metric(self._outputs(address, examples), examples))
        except BaseException as error:
            self._error = error
            return math.nan

    def _of_member(self, member: int) -> tuple[Scoring, list[DeviceDataset]]:
        """How a member is scored, and its examples: train, and val if there are any."""
        if member not in self._members:
            rows, population = torch.tensor([member]), self._population
            splits = [population.data[s] for s in ("train", "val") if s in population.data]
            self._members[member] = (
                population.scoring.select(rows),
                [split.select(rows) for split in splits],
            )
        return self._members[member]

    def _outputs(self, address: int, examples: DeviceDataset) -> Tensor:
        """A copy of the outputs that the kernel has at this address, [1, N, C]."""
        outputs_1NC = self._population.theta_KP.new_empty(
            1, examples.num_examples, self._population.network.layers[-1].units
        )
        ctypes.memmove(outputs_1NC.data_ptr(), address, outputs_1NC.nbytes)
        return outputs_1NC

"""The memory of a population as the native kernel sees it: addresses of its tensors, and arrays.

Shapes: K members, L layers, N examples, F features, Y targets, U units of the schedule, E
evaluations, M columns of a history.
"""

from __future__ import annotations

import contextlib
import ctypes
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab import metrics, native
from mlplab.schedules import Plateau
from mlplab.training.averaging import Averaging
from mlplab.training.batches import DeviceDataset
from mlplab.training.native_arrays import arrays_of, blocks, column, numbers
from mlplab.training.native_layers import layer_arrays, sections_of
from mlplab.training.native_metric import TorchMetric
from mlplab.training.native_rates import LearningRates
from mlplab.training.population import Population

_SPLITS = ("train", "val")


class NativeMemory:
    """What the kernel needs to know of one population, which must be on the CPU.

    Keeps the arrays that the structure `c` points to. `objectives_KS` are the objectives of the
    steps since the last evaluation.
    """

    def __init__(self, population: Population, names: Sequence[str]) -> None:
        self.population = population
        self.c = native.Population()
        self._kept: list[object] = []
        self._addressed: dict[str, Tensor] = {}
        self._lists: dict[str, list[Tensor | None]] = {}
        self.torch_metric: TorchMetric | None = None
        self.dtype = str(population.theta_KP.dtype).removeprefix("torch.")
        training, batches = population.training, population.batches
        self.interval = batches.per_epoch * training.evaluate_every  # steps between evaluations
        self.objectives_KS = torch.zeros(
            population.num_members, self.interval, dtype=population.theta_KP.dtype
        )
        self._set_structure(names)
        self._set_functions()
        self._set_numbers()
        self._set_examples()
        self.rates = LearningRates(population)

    def _set_structure(self, names: Sequence[str]) -> None:
        c, population = self.c, self.population
        training, batches, task = population.training, population.batches, population.scoring.task
        metric = "loss" if training.monitor == "auto" else training.monitor
        c.num_members, c.num_layers = population.num_members, len(population.network.layers)
        c.num_outputs = population.network.layers[-1].units
        c.num_targets = 0 if task.classifies else task.num_targets
        c.num_parameters = population.network.layout.num_parameters
        c.num_columns = len(names)
        c.batch_size, c.num_used = batches.batch_size, batches.used
        c.num_train = population.data["train"].num_examples
        c.num_val = population.data["val"].num_examples if "val" in population.data else 0
        c.per_epoch, c.evaluate_every = batches.per_epoch, training.evaluate_every
        self._set_metric(metric)
        c.shuffle, c.sums = batches.shuffle, population.scoring.loss.reduction == "sum"
        c.monitor_column = names.index(f"{'val' if c.num_val else 'train'}/{metric}")
        c.monitor_sign = -1 if metrics.direction(metric) == "max" else 1
        c.lr_per_step = population.schedule.unit == "step"
        states = population.optimizer_state.values()
        sizes = [state[0].numel() * state.element_size() for state in states]
        self._put("state_sizes", np.array([*sizes, 0], np.int64))
        self._set_layers()

    def _set_layers(self) -> None:
        """The widths of the layers, and where their parameters are."""
        c, population = self.c, self.population
        for field, array in layer_arrays(population.network).items():
            self._put(field, array)
        if population.dropout is not None:
            rates = [column(x.dropout, c.num_members) for x in population.network.layers]
            self._put("dropout", np.stack(rates, axis=1))
            self._put("dropout_keys", population.dropout.keys_K1.reshape(-1).contiguous())
        if (factors := population.lr_factors) is not None:
            sections, factors_KS = sections_of(factors.expand(c.num_members, -1))
            c.num_sections = len(sections)
            self._put("sections", sections)
            self._put("lr_factors", factors_KS)
            states = population.optimizer_state.values()
            strides = [x.element_size() if x[0].numel() > 1 else 0 for x in states]
            self._put("state_strides", np.array([*strides, 0], np.intc))

    def _set_metric(self, monitored: str) -> None:
        """What measures a monitored metric that is not among those of every evaluation."""
        scoring = self.population.scoring
        if monitored in ("loss", *metrics.CHEAP[scoring.task.kind]):
            return
        if monitored in native.METRICS:
            self.c.metric = native.METRICS.index(monitored)
            return
        self.c.metric = len(native.METRICS)
        self.torch_metric = TorchMetric(self.population)
        self.c.outside = self.torch_metric.address

    def _set_functions(self) -> None:
        population, c = self.population, self.c
        names = [
            native.function_name("activation", layer.activation, self.dtype)
            for layer in population.network.layers
            if layer.activation is not None
        ]
        for suffix in ("", "_value", "_slope"):
            addresses = [native.function(name, self.dtype, suffix) for name in names]
            self._put(f"activation{suffix}s", np.array([*addresses, 0], np.uintp))
        loss = native.function_name("loss", population.scoring.loss, self.dtype)
        optimizer = native.function_name("optimizer", population.optimizer, self.dtype)
        c.loss = native.function(loss, self.dtype)
        c.loss_value = native.function(loss, self.dtype, "_value")
        c.prediction = native.function(loss, self.dtype, "_prediction")
        c.optimizer = native.function(optimizer, self.dtype)
        c.lookahead = native.function(optimizer, self.dtype, "_lookahead")

    def _set_numbers(self) -> None:
        population = self.population
        training, num_members = population.training, population.num_members
        layers = population.network.layers
        by_layer = [numbers(layer.activation, num_members) for layer in layers]
        self._put("activation_numbers", np.stack(by_layer, axis=1))
        self._put("loss_numbers", numbers(population.scoring.loss, num_members))
        self._put("optimizer_numbers", numbers(population.optimizer, num_members))
        self._put("min_delta", column(training.min_delta, num_members))
        for name in ("clip_value", "clip_norm"):
            if (limit := getattr(training, name)) is not None:
                self._put(name, column(limit, num_members))
        if any(isinstance(n, Tensor) or n > 0 for n in (training.l1, training.l2)):
            self._put("l1", column(training.l1, num_members))
            self._put("l2", column(training.l2, num_members))
        if isinstance(schedule := population.schedule, Plateau):
            keys = ("gamma", "patience", "threshold", "cooldown", "min_factor")
            plateau = [column(getattr(schedule, key), num_members) for key in keys]
            self._put("plateau", np.stack(plateau, axis=1))
            self.c.plateau_is_relative = schedule.threshold_mode == "rel"
            self._put("base_lr", column(population.optimizer.lr, num_members))
        if (averaging := population.averaging) is not None:
            self._put("average_decay", averaging.decay_K)
            self._put("average_starts", averaging.start_K)
            self._put("average_every", averaging.every_K)
        starts_K = population.start_K
        starts_K = torch.zeros(num_members, dtype=torch.int64) if starts_K is None else starts_K
        self._put("starts", starts_K.contiguous())
        self._put("keys", population.batches.keys_K1.numpy().reshape(-1).copy())

    def _set_examples(self) -> None:
        population, c = self.population, self.c
        data = {split: population.data[split] for split in _SPLITS if split in population.data}
        c.is_shared = all(examples.shared for examples in data.values())
        weights = [e.weights for e in data.values() if e.weights is not None]
        c.is_weight_shared = all(len(w) == 1 for w in weights)
        copies = 1 if c.is_shared else population.num_members
        rows = 1 if c.is_weight_shared else population.num_members
        if (of_train := data["train"].weights) is not None:
            self._put("example_weights", of_train.expand(rows, -1).contiguous())
        for split, examples in data.items():
            arrays = arrays_of(examples, copies)
            for field in ("x", "y"):
                self._put(f"{split}_{field}", arrays[f"{field}_blocks"])
                if split == "train":
                    self._put(field, arrays[field])
            if examples.weights is not None:
                self._put(f"{split}_weights", blocks(examples.weights.expand(rows, -1)))
            if examples.mask is not None:
                mask = examples.mask.to(examples.x.dtype).expand(copies, -1)
                self._put(f"{split}_mask", blocks(mask))
        if not population.scoring.task.classifies:
            self._set_target_units(data, copies)

    def _set_target_units(self, data: dict[str, DeviceDataset], copies: int) -> None:
        """The units of the targets, and their sums of squares, with which r2 compares."""
        scoring, num_targets = self.population.scoring, self.population.scoring.task.num_targets
        units = {"shift": scoring.target_shift, "scale": scoring.target_scale}
        ones = torch.ones(1, 1, num_targets, dtype=torch.float64)
        values = {
            name: (ones * (name == "scale") if value is None else value).expand(copies, -1, -1)
            for name, value in units.items()
        }
        for name, value in values.items():
            self._put(f"target_{name}", value.contiguous())
        for split, examples in data.items():
            y = examples.y.expand(copies, -1, -1).double() * values["scale"] + values["shift"]
            squares = (
                metrics.total_squares(y)
                if examples.mask is None
                else torch.cat(
                    [
                        metrics.total_squares(y[k : k + 1, mask])
                        for k, mask in enumerate(examples.mask.expand(copies, -1))
                    ]
                )
            )
            self._put(f"{split}_squares", squares.contiguous())

    def _put(self, field: str, array: Tensor | NDArray[np.generic]) -> None:
        """Make a field of the structure the address of an array, and keep the array."""
        self._kept.append(array)
        is_tensor = isinstance(array, Tensor)
        setattr(self.c, field, array.data_ptr() if is_tensor else array.ctypes.data)  # type: ignore[union-attr]

    def _set_lists(self) -> None:
        """The addresses of tensors of which there are several, unless they are the same."""
        population, early_stopping = self.population, self.population.early_stopping
        lists: dict[str, list[Tensor | None]] = {"states": [*population.optimizer_state.values()]}
        self.c.num_states = len(lists["states"])
        if population.buffers:
            for field, buffers in (
                ("buffers", population.buffers),
                ("best_buffers", early_stopping.best.buffers),
                ("last_buffers", early_stopping.last.buffers),
            ):
                lists[field] = [
                    buffers.get(f"{layer}.{name}")
                    for layer in range(self.c.num_layers)
                    for name in ("mean", "variance")
                ]
        for field, tensors in lists.items():
            known = self._lists.get(field, [])
            if len(known) != len(tensors) or not all(map(operator.is_, known, tensors)):
                self._lists[field] = tensors
                addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
                self._put(field, np.array([*addresses, 0], np.uintp))

    def set_stretch(
        self, first: int, last: int, stretch: Mapping[str, NDArray[Any]], initial: bool
    ) -> None:
        """Prepare to train from after step `first` to step `last`; see `run`.

        `stretch` has the arrays that the kernel reads or fills. With `initial`, the first event is
        the evaluation of the weights before the first step.
        """
        c, population = self.c, self.population
        early_stopping, averaging = population.early_stopping, population.averaging
        c.initial, c.first_step, c.last_step = initial, first, last
        c.num_events = stretch["rows"].shape[1]
        lr_KU = self.rates.values_KU(first, max(last, first + 1))
        self._stretch = {**stretch, "lr": lr_KU}
        for field, array in self._stretch.items():
            setattr(c, field, array.ctypes.data)
        self._set_lists()
        for field, tensor in {
            "theta": population.theta_KP,
            "best_theta": early_stopping.best.theta_KP,
            "best_step": early_stopping.best.step_K,
            "last_theta": early_stopping.last.theta_KP,
            "last_evaluated": early_stopping.last.step_K,
            "best_value": early_stopping.best_value_K,
            "since_best": early_stopping.evals_since_best_K,
            "state": early_stopping.state_K,
            "diverged_step": early_stopping.diverged_step_K,
            "patience": early_stopping.patience_K,
            "ends": early_stopping.last_step_K,
            "objectives": self.objectives_KS,
            **{f"plateau_{name}": value for name, value in population.schedule_state.items()},
            **({} if averaging is None else _averages(averaging)),
        }.items():
            if self._addressed.get(field) is not tensor:  # replaced since the last stretch
                assert tensor.is_contiguous()
                self._addressed[field] = tensor
                setattr(c, field, tensor.data_ptr())


def _averages(averaging: Averaging) -> dict[str, Tensor]:
    return {"average": averaging.theta_KP, "averaged": averaging.count_K}


def run(memories: Sequence[NativeMemory], threads: int) -> None:
    """Train the members of populations of one dtype through the stretches that were set.

    The threads take the members in this order. Raises MemoryError, and what a metric that torch
    computes raises.
    """
    addresses = (ctypes.c_void_p * len(memories))(*(ctypes.addressof(m.c) for m in memories))
    with contextlib.ExitStack() as stack:
        for memory in memories:
            if memory.torch_metric is not None:
                stack.enter_context(memory.torch_metric.in_use())
        if not native.kernel(memories[0].dtype).run(addresses, len(memories), threads):
            raise MemoryError("the native kernel")

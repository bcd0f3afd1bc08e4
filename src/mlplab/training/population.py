"""A population: K networks of one structure that train as one tensor, built from K settings.

Shapes: K members, N examples, P parameters, T targets.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlplab import randomness
from mlplab.data.preparation.examples import Prepared
from mlplab.losses import Loss
from mlplab.network.initial_theta import initial_theta
from mlplab.network.initial_weights import fill_rows
from mlplab.network.mlp import MLP, Buffers, Dropout, stack_layers
from mlplab.optimizers import Optimizer, State
from mlplab.schedules import Schedule
from mlplab.schema import Number
from mlplab.settings import Settings
from mlplab.stacking import select, stack, stack_numbers
from mlplab.training.averaging import NEVER, Averaging
from mlplab.training.batches import Batches, DeviceDataset, device_dataset
from mlplab.training.evaluation import Scoring, outputs, score
from mlplab.training.objective import Objective
from mlplab.training.stopping import EarlyStopping
from mlplab.training_options import MEMBER_OPTIONS, Training


@dataclass
class Population:
    """The state of K members in training, and everything they share."""

    members: Tensor  # int64 [K]: the members' indices in the list of settings
    network: MLP
    theta_KP: Tensor
    buffers: Buffers
    optimizer: Optimizer
    optimizer_state: State
    schedule: Schedule
    schedule_state: dict[str, Tensor]
    training: Training
    scoring: Scoring
    data: dict[str, DeviceDataset]  # train, and val and test if the data has them
    batches: Batches
    dropout: Dropout | None
    early_stopping: EarlyStopping
    averaging: Averaging | None
    total_units: float | Tensor  # length of the run in the schedule's unit
    # int64 [K]: the epoch of the population's clock at which each member started; None: all at 0
    start_K: Tensor | None = None

    @functools.cached_property
    def objective(self) -> Objective:
        """The objective and its gradient, made on first use: the native engine has its own."""
        return Objective(
            self.network,
            self.scoring.loss,
            self.training,
            self.theta_KP,
            self.buffers,
            self.dropout,
        )

    @property
    def num_members(self) -> int:
        return self.theta_KP.shape[0]

    def member_time(self, clock: int, units_per_epoch: int = 1) -> int | Tensor:
        """The time since each member's start, given the population's clock, in the same units.

        Returns int64 [K, 1], or an int if all members started together.
        """
        if self.start_K is None:
            return clock
        return clock - units_per_epoch * self.start_K.unsqueeze(1)

    @functools.cached_property
    def lr_factors(self) -> Tensor | None:
        """The factor of the learning rate of each parameter, float64 [1 or K, P]; None: 1."""
        return self.network.lr_factors(self.theta_KP.device)

    @property
    def evaluated_KP(self) -> Tensor:
        """The weights that are evaluated and saved: theta, or its average."""
        if self.averaging is None:
            return self.theta_KP
        return self.averaging.evaluated(self.theta_KP)

    def evaluate(self) -> dict[str, Tensor]:
        """Return "<split>/<metric>" -> float64 [K] of the current weights, for train and val.

        `final_metrics` measures the best ones.
        """
        if self.averaging is None:
            views = self.objective.bound(self.theta_KP)
        else:
            layout = self.network.layout
            views = layout.layers(layout.split(self.evaluated_KP))
        measured: dict[str, Tensor] = {}
        for split in ("train", "val"):
            if (data := self.data.get(split)) is not None:
                outputs_KNC = outputs(self.network, views, self.buffers, data, self.num_members)
                values = score(outputs_KNC, self.scoring, data, full=False)
                measured |= {f"{split}/{name}": value_K for name, value_K in values.items()}
        return measured

    def select(self, rows: Tensor) -> Population:
        """The population of the members at `rows` (int64 indices); their values do not change."""
        rows = rows.to(self.theta_KP.device)
        data = {split: examples.select(rows) for split, examples in self.data.items()}
        dropout = (
            Dropout(self.dropout.keys_K1[rows], self.dropout.num_layers) if self.dropout else None
        )
        training = select(self.training, rows)
        return dataclasses.replace(
            self,
            members=self.members[rows.cpu()],  # on the CPU, whatever the device
            network=self.network.select(rows),
            theta_KP=self.theta_KP[rows],
            buffers={name: value[rows] for name, value in self.buffers.items()},
            optimizer=select(self.optimizer, rows),
            optimizer_state={name: value[rows] for name, value in self.optimizer_state.items()},
            schedule=select(self.schedule, rows),
            schedule_state={name: value[rows] for name, value in self.schedule_state.items()},
            training=training,
            scoring=self.scoring.select(rows),
            data=data,
            batches=self.batches.select(data["train"], rows),
            dropout=dropout,
            early_stopping=self.early_stopping.select(rows),
            averaging=self.averaging.select(rows) if self.averaging is not None else None,
            total_units=(
                self.total_units[rows] if isinstance(self.total_units, Tensor) else self.total_units
            ),
            start_K=self.start_K[rows] if self.start_K is not None else None,
        )


def build(
    settings: Sequence[Settings], prepared: Sequence[Prepared], device: torch.device
) -> Population:
    """Build one population of K settings that differ only in numbers and seeds.

    Raises ValueError if they differ in anything else.
    """
    first = settings[0]
    dtype = getattr(torch, first.dtype)
    loss = stack([s.loss for s in settings], device)
    network = MLP(
        prepared[0].num_features,
        stack_layers([s.layers for s in settings], loss.num_outputs(prepared[0].task), device),
    )
    seeds = [s.seed for s in settings]
    theta_KP, buffers = initial_weights(network, settings, prepared, dtype, device)
    optimizer = stack([s.optimizer for s in settings], device)
    schedule = stack([s.schedule for s in settings], device)
    training = _stack_training(settings, device)
    data = _data(settings, prepared, dtype, device)
    batches = Batches(
        data["train"],
        randomness.keys(seeds, "order", device),
        training.portion(data["train"].num_examples),
        training.shuffle,
        getattr(training, "drop_last", False),
        at_least_two=network.has_batch_norm,
    )
    last_steps = [_last_step(s.training, batches.per_epoch) for s in settings]
    early_stopping = EarlyStopping(
        theta_KP,
        buffers,
        torch.tensor(last_steps, device=device),
        torch.tensor([s.training.patience or NEVER for s in settings], device=device),
        training.min_delta,
    )
    return Population(
        members=torch.arange(len(settings)),
        network=network,
        theta_KP=theta_KP,
        buffers=buffers,
        optimizer=optimizer,
        optimizer_state=optimizer.init(theta_KP),
        schedule=schedule,
        schedule_state=schedule.init(len(settings), device),
        training=training,
        scoring=_scoring(loss, settings[0].training.monitor, prepared, device),
        data=data,
        batches=batches,
        dropout=_dropout(network, seeds, device),
        early_stopping=early_stopping,
        averaging=Averaging.of(
            [s.training for s in settings], last_steps, batches.per_epoch, theta_KP
        ),
        total_units=_total_units(settings, last_steps, batches.per_epoch, device),
    )


def initial_weights(
    network: MLP,
    settings: Sequence[Settings],
    prepared: Sequence[Prepared],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Buffers]:
    """The weights and running statistics that the members start from."""
    seeds, layers = [s.seed for s in settings], [s.layers for s in settings]
    theta_KP = initial_theta(network.layout, layers, seeds).to(device, dtype)
    buffers = network.buffers(len(settings), dtype, device)
    features = [p.input_names for p in prepared]
    targets = [p.class_names if p.task.classifies else p.target_names for p in prepared]
    weights = [s.initial for s in settings]
    fill_rows(weights, network, features, targets, theta_KP, buffers)
    return theta_KP, buffers


def _total_units(
    settings: Sequence[Settings], last_steps: Sequence[int], per_epoch: int, device: torch.device
) -> Number:
    """The lengths of the members in the units of their schedules."""
    units = [
        float(step if s.schedule.unit == "step" else math.ceil(step / per_epoch))
        for step, s in zip(last_steps, settings, strict=True)
    ]
    return stack_numbers(units, device)


def _dropout(network: MLP, seeds: list[int], device: torch.device) -> Dropout | None:
    if not network.has_dropout:
        return None
    return Dropout(randomness.keys(seeds, "dropout", device), len(network.layers))


def _stack_training(settings: Sequence[Settings], device: torch.device) -> Training:
    """Stack the training options without those in which members differ elsewhere: EarlyStopping
    has lengths and patience, Averaging the averages.
    """
    if len(settings) == 1:
        return settings[0].training
    defaults = {key: getattr(Training, key) for key in MEMBER_OPTIONS}
    return stack([dataclasses.replace(s.training, **defaults) for s in settings], device)


def _last_step(training: Training, per_epoch: int) -> int:
    return training.steps if training.steps is not None else training.epochs * per_epoch


def _data(
    settings: Sequence[Settings],
    prepared: Sequence[Prepared],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, DeviceDataset]:
    splits = {}
    for name in ("train", "val", "test"):
        examples = [getattr(p, name) for p in prepared]
        if examples[0] is not None:
            splits[name] = device_dataset(examples, dtype, device)
    for name, data in splits.items():
        example_weights = [getattr(p, name).weights for p in prepared]
        if example_weights[0] is not None:
            distinct = example_weights[:1] if data.shared else example_weights
            splits[name] = dataclasses.replace(
                data, weights=torch.from_numpy(np.stack(distinct)).to(device, dtype)
            )
    splits = {
        name: _masked(data, [getattr(p, name).mask for p in prepared])
        for name, data in splits.items()
    }
    class_weights = [
        s.loss.class_weights_C(torch.from_numpy(p.train.real().y), p.task.num_classes)
        for s, p in zip(settings, prepared, strict=True)
    ]
    if class_weights[0] is None:
        return splits
    return {name: _weighted(data, class_weights, dtype) for name, data in splits.items()}


def _masked(data: DeviceDataset, masks: Sequence[np.ndarray | None]) -> DeviceDataset:
    """Give padding rows the weight 0."""
    if all(mask is None for mask in masks):
        return data
    distinct = masks[:1] if data.shared else masks
    size = data.num_examples
    mask_KN = torch.from_numpy(
        np.stack([mask if mask is not None else np.ones(size, bool) for mask in distinct])
    ).to(data.x.device)
    weights = mask_KN.to(data.x.dtype) if data.weights is None else data.weights * mask_KN
    return dataclasses.replace(data, weights=weights, mask=mask_KN)


def _weighted(
    data: DeviceDataset, class_weights: Sequence[Tensor | None], dtype: torch.dtype
) -> DeviceDataset:
    """Turn class weights into weights of the examples: [K or 1, N]."""
    rows = [w for w in class_weights if w is not None]
    shared = data.shared and all(torch.equal(w, rows[0]) for w in rows)
    table_KC = torch.stack(rows[:1] if shared else rows).to(data.x.device, dtype)
    by_class_KN = table_KC.gather(1, data.y.expand(table_KC.shape[0], -1))
    return dataclasses.replace(
        data, weights=by_class_KN if data.weights is None else by_class_KN * data.weights
    )


def _scoring(
    loss: Loss, monitor: str, prepared: Sequence[Prepared], device: torch.device
) -> Scoring:
    scalers = [p.target_scaler for p in prepared]
    if scalers[0] is None or prepared[0].task.classifies:
        return Scoring(prepared[0].task, loss, monitor=monitor)
    shared = all(p is prepared[0] for p in prepared)
    distinct = scalers[:1] if shared else scalers
    shift, scale = (
        torch.from_numpy(np.stack([getattr(s, key) for s in distinct])).unsqueeze(1).to(device)
        for key in ("shift", "scale")
    )
    return Scoring(prepared[0].task, loss, shift, scale, monitor)

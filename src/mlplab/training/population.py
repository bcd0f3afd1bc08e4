"""K networks of one structure that train as one tensor: what they are, and how a list of settings
becomes them.

Shapes: K members, N examples, P parameters, T targets.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlplab import randomness
from mlplab.data.preparation.examples import Prepared
from mlplab.losses import Loss
from mlplab.network.mlp import MLP, Buffers, Dropout, initial_theta, stack_layers
from mlplab.optimizers import Optimizer, State
from mlplab.schedules import Schedule
from mlplab.settings import Settings
from mlplab.stacking import select, stack, stack_numbers
from mlplab.training.batches import Batches, DeviceDataset, resident
from mlplab.training.evaluation import Scoring
from mlplab.training.objective import Objective
from mlplab.training.stopping import EarlyStopping
from mlplab.training_options import Training

NEVER = 2**62


@dataclass
class Population:
    """Everything that changes while K members train, and everything they share."""

    members: Tensor  # int64 [K]: the members' places in the list of settings
    network: MLP
    theta_KP: Tensor
    buffers: Buffers
    optimizer: Optimizer
    optimizer_state: State
    schedule: Schedule
    schedule_state: dict[str, Tensor]
    training: Training
    scoring: Scoring
    data: dict[str, DeviceDataset]  # train, and val and test where there are such
    batches: Batches
    dropout: Dropout | None
    watch: EarlyStopping
    total_units: float | Tensor  # length of the run in the schedule's unit
    # int64 [K]: at which epoch of the population's clock each member began; None: all at 0
    start_K: Tensor | None = None

    def __post_init__(self) -> None:
        self.objective = self._objective()

    def _objective(self) -> Objective:
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

    def own(self, clock: int, each: int = 1) -> int | Tensor:
        """The members' own time at this time of the population's clock, in units of which an epoch
        has `each`: [K, 1], an int where all began with it.
        """
        return clock if self.start_K is None else clock - each * self.start_K.unsqueeze(1)

    def select(self, rows: Tensor) -> Population:
        """The population of some of its members (int64 indices), whose numbers do not change by
        it.
        """
        rows = rows.to(self.theta_KP.device)
        data = {part: examples.select(rows) for part, examples in self.data.items()}
        dropout = (
            Dropout(self.dropout.keys_K1[rows], self.dropout.num_layers) if self.dropout else None
        )
        training = select(self.training, rows)
        scoring = dataclasses.replace(
            self.scoring.select(rows), loss=select(self.scoring.loss, rows)
        )
        return dataclasses.replace(
            self,
            members=self.members[rows.cpu()],  # they lie on the CPU, whatever the device
            network=self.network.select(rows),
            theta_KP=self.theta_KP[rows],
            buffers={name: value[rows] for name, value in self.buffers.items()},
            optimizer=select(self.optimizer, rows),
            optimizer_state={name: value[rows] for name, value in self.optimizer_state.items()},
            schedule=select(self.schedule, rows),
            schedule_state={name: value[rows] for name, value in self.schedule_state.items()},
            training=training,
            scoring=scoring,
            data=data,
            batches=self.batches.select(data["train"], rows),
            dropout=dropout,
            watch=self.watch.select(rows),
            total_units=(
                self.total_units[rows] if isinstance(self.total_units, Tensor) else self.total_units
            ),
            start_K=self.start_K[rows] if self.start_K is not None else None,
        )


def build(
    settings: Sequence[Settings], prepared: Sequence[Prepared], device: torch.device
) -> Population:
    """One population of K settings that differ in nothing but numbers and seeds. Raises ValueError
    where they differ in more.
    """
    first = settings[0]
    dtype = getattr(torch, first.dtype)
    loss = stack([s.loss for s in settings], device)
    network = MLP(
        prepared[0].num_features,
        stack_layers([s.layers for s in settings], loss.num_outputs(prepared[0].task), device),
    )
    seeds = [s.seed for s in settings]
    theta_KP = torch.stack([initial_theta(network.layout, s.layers, s.seed) for s in settings]).to(
        device, dtype
    )
    buffers = network.buffers(len(settings), dtype, device)
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
    watch = EarlyStopping(
        theta_KP,
        buffers,
        torch.tensor(last_steps, device=device),
        torch.tensor([s.training.patience or NEVER for s in settings], device=device),
        training.min_delta,
    )
    units = [
        _units(step, s.schedule, batches.per_epoch)
        for step, s in zip(last_steps, settings, strict=True)
    ]
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
        scoring=_scoring(loss, prepared, device),
        data=data,
        batches=batches,
        dropout=_dropout(network, seeds, device),
        watch=watch,
        total_units=stack_numbers(units, device),
    )


def _dropout(network: MLP, seeds: list[int], device: torch.device) -> Dropout | None:
    if not network.has_dropout:
        return None
    return Dropout(randomness.keys(seeds, "dropout", device), len(network.layers))


def _stack_training(settings: Sequence[Settings], device: torch.device) -> Training:
    """Lengths and patience are kept a member in the Watch; here they only would stand in the way of
    stacking.
    """
    return stack(
        [dataclasses.replace(s.training, epochs=1, steps=None, patience=None) for s in settings],
        device,
    )


def _last_step(training: Training, per_epoch: int) -> int:
    return training.steps if training.steps is not None else training.epochs * per_epoch


def _units(last_step: int, schedule: Schedule, per_epoch: int) -> float:
    return float(last_step if schedule.unit == "step" else math.ceil(last_step / per_epoch))


def _data(
    settings: Sequence[Settings],
    prepared: Sequence[Prepared],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, DeviceDataset]:
    parts = {}
    for name in ("train", "val", "test"):
        examples = [getattr(p, name) for p in prepared]
        if examples[0] is not None:
            parts[name] = resident([(e.x, e.y) for e in examples], dtype, device)
    for name, part in parts.items():
        own = [getattr(p, name).weights for p in prepared]
        if own[0] is not None:
            chosen = own[:1] if part.shared else own
            parts[name] = dataclasses.replace(
                part, weights=torch.from_numpy(np.stack(chosen)).to(device, dtype)
            )
    parts = {
        name: _masked(part, [getattr(p, name).mask for p in prepared])
        for name, part in parts.items()
    }
    weights = [
        s.loss.class_weights_C(torch.from_numpy(p.train.real().y), p.task.num_classes)
        for s, p in zip(settings, prepared, strict=True)
    ]
    if weights[0] is None:
        return parts
    return {name: _weighted(part, weights, dtype) for name, part in parts.items()}


def _masked(part: DeviceDataset, masks: Sequence[np.ndarray | None]) -> DeviceDataset:
    """Rows that fill up get the weight 0."""
    if all(mask is None for mask in masks):
        return part
    chosen = masks[:1] if part.shared else masks
    size = part.num_examples
    mask_KN = torch.from_numpy(
        np.stack([mask if mask is not None else np.ones(size, bool) for mask in chosen])
    ).to(part.x.device)
    weights = mask_KN.to(part.x.dtype) if part.weights is None else part.weights * mask_KN
    return dataclasses.replace(part, weights=weights, mask=mask_KN)


def _weighted(
    part: DeviceDataset, weights: Sequence[Tensor | None], dtype: torch.dtype
) -> DeviceDataset:
    """Class weights become weights of the examples: [K or 1, N]."""
    rows = [w for w in weights if w is not None]
    shared = part.shared and all(torch.equal(w, rows[0]) for w in rows)
    table_KC = torch.stack(rows[:1] if shared else rows).to(part.x.device, dtype)
    by_class_KN = table_KC.gather(1, part.y.expand(table_KC.shape[0], -1))
    return dataclasses.replace(
        part, weights=by_class_KN if part.weights is None else by_class_KN * part.weights
    )


def _scoring(loss: Loss, prepared: Sequence[Prepared], device: torch.device) -> Scoring:
    scalers = [p.target_scaler for p in prepared]
    if scalers[0] is None:
        return Scoring(prepared[0].task, loss)
    shared = all(p is prepared[0] for p in prepared)
    chosen = scalers[:1] if shared else scalers
    shift, scale = (
        torch.from_numpy(np.stack([getattr(s, key) for s in chosen])).unsqueeze(1).to(device)
        for key in ("shift", "scale")
    )
    return Scoring(prepared[0].task, loss, shift, scale)

"""One update of one network, computed by the components that train it.

The network is a population of one, advanced by the eager stepper up to the update; the update
itself is recorded, so its numbers are those of the training, bit for bit.

Shapes: B examples of the batch, I inputs and O outputs of a layer, H units, P parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import ConfigError, IncompatibleSettingsError
from mlplab.network.activations import Activation
from mlplab.network.layout import Entry
from mlplab.network.mlp import MLP
from mlplab.one_step.recording import RecordedBatches, RecordingNetwork, RowBatches, Signal
from mlplab.optimizers import Optimizer
from mlplab.runs.checkpoints import Saved
from mlplab.settings import Settings
from mlplab.training import PreparedMember, Session, prepare_members
from mlplab.training.backward import gradients
from mlplab.training.batches import Batch
from mlplab.training.checkpoint import restore
from mlplab.training.eager import EagerStepper
from mlplab.training.objective import Objective
from mlplab.training.population import Population
from mlplab.training.steppers import Group
from mlplab.training_options import Training

Array = NDArray[np.float64]

QUOTIENT_STEP = 1e-5
"""Distance of the two points of the difference quotient, relative to the weight if that is > 1."""


@dataclass(frozen=True)
class Parameter:
    """A parameter tensor of a layer: weight [O, I], or bias and others [O].

    `gradient` is that of the mean loss, `total` that of the objective, with penalties and after
    clipping. `state` has the tensors of the optimizer before and after the update.
    """

    name: str  # weight, bias, norm_scale, norm_shift, slopes
    before: Array
    gradient: Array
    total: Array
    after: Array
    state: dict[str, tuple[Array, Array]]


@dataclass(frozen=True)
class LayerStep:
    """What one layer computes for the batch on the way forward and back.

    h = f(z), times `drop` if the layer has dropout. `dz` and `dh` are derivatives of the mean loss;
    `dh` is that by the output of the activation. All are [B, H], and `x` [B, I].
    """

    number: int  # from 1
    normalization: str
    activation: Activation | None
    x: Array
    z: Array
    h: Array
    slope: Array | None
    drop: Array | None
    dz: Array
    dh: Array | None
    parameters: dict[str, Parameter]


@dataclass(frozen=True)
class Check:
    """A derivative of the mean loss beside its difference quotient, both in float64."""

    layer: int  # from 1
    unit: int
    input: int
    derivative: float
    quotient: float


@dataclass(frozen=True)
class OneStep:
    """An update of a network, and what it was computed from."""

    settings: Settings
    prepared: Prepared
    step: int
    num_steps: int
    epoch: int
    lr: float
    rows: tuple[int, ...] | None  # of the train split; None for the batch of the training
    x: Array
    y: NDArray[Any]
    weights: Array | None
    layers: tuple[LayerStep, ...]
    losses: Array  # [B]
    predictions: Array  # [B, C]
    penalty: float
    objective: float
    again: float  # the objective with the weights after the update
    predictions_again: Array
    gradient_norm: float  # before clipping, with penalties
    ahead: bool  # the gradient was taken at another point than the weights before the update
    theta: Tensor  # [P], after the update, in the dtype of the training
    check: Check | None


def one_step(
    settings: Settings,
    step: int = 1,
    rows: Sequence[int] | None = (0,),
    dropout: bool = True,
    saved: Saved | None = None,
) -> OneStep:
    """Compute update number `step` of a training, from 1.

    The update is made on these rows of the train split, or on the batch of the training if `rows`
    is None. The updates before it are trained as usual, from the checkpoint `saved` if there is
    one. Without `dropout`, nothing is dropped in this update. Raises ConfigError for a step or a
    row that there is not.
    """
    member = prepare_members([dataclasses.replace(settings, device="cpu", engine="eager")])[0]
    group = Session.of([member]).groups[0]
    with torch.no_grad():
        _advance_to(group, step, saved)
        return _record(group, member, step, rows, dropout)


def _advance_to(group: Group, step: int, saved: Saved | None) -> None:
    """Train up to the update before `step`, which is the next one."""
    population, stepper = group.population, group.stepper
    last_step = int(population.early_stopping.last_step_K[0])
    if not 1 <= step <= last_step:
        raise ConfigError(
            f"--step {step}: this training has the updates 1 to {last_step:,} (training.epochs and"
            " training.steps set how many)."
        )
    assert isinstance(stepper, EagerStepper)
    if saved is not None:
        restore(group, saved.tree, [])
    elif not group.started:
        stepper.start(_ignore)
    if stepper.step < step - 1:
        stepper.advance({}, _ignore, lambda: stepper.step >= step - 1)
    if stepper.step != step - 1:
        raise ConfigError(
            f"--step {step}: the training ended after update {stepper.step:,}"
            " (it diverged, or it was stopped early by training.patience)."
        )


def _ignore(*_: object) -> None:
    pass


def _record(
    group: Group, member: PreparedMember, step: int, rows: Sequence[int] | None, dropout: bool
) -> OneStep:
    population, stepper = group.population, group.stepper
    assert isinstance(stepper, EagerStepper)
    if not dropout:
        population.dropout = None
    batches: RowBatches | RecordedBatches
    if rows is None:
        batches = RecordedBatches(population.batches)
    else:
        _check_rows(rows, population)
        batches = RowBatches(population.batches, rows)
    population.batches = batches
    network = RecordingNetwork(population.network)
    full = _objective(population, network)
    population.__dict__["objective"] = full
    before_P, state = population.theta_KP[0].clone(), _state(population)
    buffers = {name: value.clone() for name, value in population.buffers.items()}
    stepper.advance({}, _ignore, lambda: stepper.step >= step)
    signals, total_P = network.passes[0], full.gradient_KP[0].clone()
    batch = batches.last if isinstance(batches, RecordedBatches) else next(batches.epoch(1))
    after_P, after_state = population.theta_KP[0].clone(), _state(population)
    at_P = _point_of_gradient(population, before_P, state)
    data = _DataTerm(population, batch, step, buffers)
    gradient_P = data.gradient(at_P)
    parameters = _parameters(population, before_P, gradient_P, total_P, after_P, state, after_state)
    layers = tuple(_layer(population, signal, signals, step, parameters) for signal in signals)
    loss_B = population.scoring.loss(signals[-1].z.detach(), batch[1])[0]
    outputs_BC = signals[-1].z.detach()
    penalty = data.penalty(at_P)
    return OneStep(
        settings=member.settings,
        prepared=member.prepared,
        step=step,
        num_steps=int(population.early_stopping.last_step_K[0]),
        epoch=stepper.epoch,
        lr=float(torch.as_tensor(stepper.lr)),
        rows=None if rows is None else tuple(rows),
        x=_array(batch[0][0]),
        y=batch[1][0].numpy(),
        weights=None if batch[2] is None else _array(batch[2][0]),
        layers=layers,
        losses=_array(loss_B),
        predictions=_array(population.scoring.loss.predict(outputs_BC)[0]),
        penalty=penalty,
        objective=data.value(at_P) + penalty,
        again=data.value(after_P) + data.penalty(after_P),
        predictions_again=data.predictions(after_P),
        gradient_norm=data.unclipped_norm(at_P),
        ahead=not torch.equal(at_P, before_P),
        theta=after_P,
        check=data.check(at_P, gradient_P),
    )


def _check_rows(rows: Sequence[int], population: Population) -> None:
    count = population.data["train"].num_examples
    for row in rows:
        if not 0 <= row < count:
            raise ConfigError(
                f"Row {row}: the train split has the rows 0 to {count - 1:,}, as pictures and"
                " `frames` count them."
            )
    if population.network.has_batch_norm and len(rows) == 1:
        raise IncompatibleSettingsError(
            "One row has no variance, which model.normalization=batch divides by: choose several,"
            " as in --rows 0-9, or --batch."
        )


def _objective(population: Population, network: RecordingNetwork) -> Objective:
    return Objective(
        network,
        population.scoring.loss,
        population.training,
        population.theta_KP,
        population.buffers,
        population.dropout,
    )


def _state(population: Population) -> dict[str, Tensor]:
    """A copy of the tensors of the optimizer's state that have a number for each parameter."""
    exported = population.optimizer.export_state(population.optimizer_state)
    shape = population.theta_KP.shape
    return {
        name: value.clone()
        for name, value in exported.items()
        if isinstance(value, Tensor) and value.shape == shape and name != "ahead"
    }


def _point_of_gradient(
    population: Population, before_P: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """The weights at which the gradient is taken: those before the update, or ahead of them."""
    optimizer = population.optimizer
    if type(optimizer).lookahead is Optimizer.lookahead:
        return before_P
    memory = {**state, "ahead": torch.empty_like(population.theta_KP)}
    return optimizer.lookahead(before_P.unsqueeze(0), memory)[0].clone()


class _DataTerm:
    """The mean loss on the batch, without penalties and clipping, at any weights."""

    def __init__(
        self,
        population: Population,
        batch: Batch,
        step: int,
        buffers: dict[str, Tensor],
    ) -> None:
        self.population, self.batch, self.step, self.buffers = population, batch, step, buffers
        self.training = dataclasses.replace(
            population.training, l1=0.0, l2=0.0, clip_norm=None, clip_value=None
        )

    def _evaluate(
        self,
        theta_P: Tensor,
        training: Training,
        dtype: torch.dtype,
        network: MLP | None = None,
    ) -> tuple[float, Tensor]:
        population = self.population
        theta_KP = theta_P.to(dtype).clone().unsqueeze(0)
        buffers = {name: value.to(dtype, copy=True) for name, value in self.buffers.items()}
        objective = Objective(
            network or population.network,
            population.scoring.loss,
            training,
            theta_KP,
            buffers,
            population.dropout,
        )
        value_K, gradient_KP = objective(theta_KP, _as(self.batch, dtype), self.step)
        return float(value_K[0]), gradient_KP[0]

    def gradient(self, theta_P: Tensor) -> Tensor:
        """The gradient of the mean loss, [P]."""
        return self._evaluate(theta_P, self.training, theta_P.dtype)[1]

    def value(self, theta_P: Tensor) -> float:
        """The mean loss."""
        return self._evaluate(theta_P, self.training, theta_P.dtype)[0]

    def predictions(self, theta_P: Tensor) -> Array:
        """The predictions [B, C], of the forward pass of the training."""
        network = RecordingNetwork(self.population.network)
        self._evaluate(theta_P, self.training, theta_P.dtype, network)
        outputs_KBC = network.passes[0][-1].z.detach()
        return _array(self.population.scoring.loss.predict(outputs_KBC)[0])

    def penalty(self, theta_P: Tensor) -> float:
        """The penalty on the weights."""
        training = self.population.training
        mask_P = self.population.network.layout.mask("weight", theta_P.device, torch.float64)
        weights_P = theta_P.double() * mask_P
        penalty_P = training.l1 * weights_P.abs() + training.l2 / 2 * weights_P.square()
        return float(penalty_P.sum())

    def unclipped_norm(self, theta_P: Tensor) -> float:
        """The norm of the gradient with penalties, before clipping."""
        unclipped = dataclasses.replace(self.population.training, clip_norm=None, clip_value=None)
        return float(self._evaluate(theta_P, unclipped, theta_P.dtype)[1].norm())

    def check(self, theta_P: Tensor, gradient_P: Tensor) -> Check | None:
        """The largest derivative of the first layer by a difference quotient, or of the network if
        those of the first layer are all 0; None if one is not finite.
        """
        layout = self.population.network.layout
        if not bool(gradient_P.isfinite().all()):
            return None
        views = layout.split(gradient_P.view(1, -1))
        weights = [i for i, e in enumerate(layout.entries) if e.name == "weight"]
        chosen = next((i for i in weights if bool(views[i].any())), weights[-1])
        entry, offset = layout.entries[chosen], sum(layout.sizes[:chosen])
        local = int(views[chosen].abs().argmax())
        index = offset + local
        theta = theta_P.double()
        distance = QUOTIENT_STEP * max(1.0, abs(float(theta[index])))
        values = []
        for sign in (1, -1):
            moved = theta.clone()
            moved[index] += sign * distance
            values.append(self._evaluate(moved, self.training, torch.float64)[0])
        derivative = float(self._evaluate(theta, self.training, torch.float64)[1][index])
        source, unit = divmod(local, entry.shape[1])
        return Check(
            entry.layer + 1, unit, source, derivative, (values[0] - values[1]) / (2 * distance)
        )


def _as(batch: Batch, dtype: torch.dtype) -> Batch:
    x, y, w = batch
    return (
        x.to(dtype),
        y.to(dtype) if y.is_floating_point() else y,
        None if w is None else w.to(dtype),
    )


def _parameters(
    population: Population,
    before_P: Tensor,
    gradient_P: Tensor,
    total_P: Tensor,
    after_P: Tensor,
    state: dict[str, Tensor],
    after_state: dict[str, Tensor],
) -> dict[int, dict[str, Parameter]]:
    """The parameters of each layer, by its index from 0."""
    layout = population.network.layout

    def of(flat: Tensor) -> list[Array]:
        views = layout.split(flat.view(1, -1))
        return [_lecture_shape(e, v[0]) for e, v in zip(layout.entries, views, strict=True)]

    columns = [of(flat) for flat in (before_P, gradient_P, total_P, after_P)]
    states = {
        name: (of(state[name][0]), of(after_state[name][0]))
        for name in state
        if name in after_state
    }
    layers: dict[int, dict[str, Parameter]] = {}
    for i, entry in enumerate(layout.entries):
        before, gradient, total, after = (column[i] for column in columns)
        of_state = {name: (old[i], new[i]) for name, (old, new) in states.items()}
        parameter = Parameter(entry.name, before, gradient, total, after, of_state)
        layers.setdefault(entry.layer, {})[entry.name] = parameter
    return layers


def _lecture_shape(entry: Entry, value: Tensor) -> Array:
    """A weight as [O, I], which the lecture multiplies by a column; others as [O]."""
    return _array(value.T) if entry.name == "weight" else _array(value[0])


def _layer(
    population: Population,
    signal: Signal,
    signals: Sequence[Signal],
    step: int,
    parameters: dict[int, dict[str, Parameter]],
) -> LayerStep:
    i, layer = signal.layer, population.network.layers[signal.layer]
    z, h, slope, drop, dh = signal.z.detach(), signal.z.detach(), None, None, None
    if layer.activation is not None:
        slopes = parameters[i].get("slopes")
        learned = None if slopes is None else torch.from_numpy(slopes.before).view(1, 1, -1)
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            value = layer.activation(leaf, None if learned is None else learned.to(z.dtype))
            (slope,) = gradients(value, torch.ones_like(value), [leaf])
        h = value.detach()
    if i + 1 < len(signals):
        following = signals[i + 1].h.grad
        dh = torch.zeros_like(h) if following is None else following
        if population.dropout is not None and layer.dropout != 0:
            drop = population.dropout(step, 0, torch.ones_like(h), layer.dropout, i)
            dh = dh * drop
    dz = torch.zeros_like(z) if signal.z.grad is None else signal.z.grad
    return LayerStep(
        i + 1,
        layer.normalization,
        layer.activation,
        _array(signal.h[0]),
        _array(z[0]),
        _array(h[0]),
        None if slope is None else _array(slope[0]),
        None if drop is None else _array(drop[0]),
        _array(dz[0]),
        None if dh is None else _array(dh[0]),
        parameters[i],
    )


def _array(value: Tensor) -> Array:
    return np.asarray(value.detach().double().cpu().numpy())

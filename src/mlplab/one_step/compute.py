"""One update of one network, computed by the components that train it.

The network is a population of one, advanced by the eager stepper up to the update; the update
itself is recorded, so its numbers are those of the training, bit for bit.

Shapes: B examples of the batch, I inputs and O outputs of a layer, H units, P parameters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import ConfigError, IncompatibleSettingsError
from mlplab.network.activations import Activation
from mlplab.network.layout import Entry
from mlplab.network.mlp import MLP
from mlplab.one_step.mean_loss import Array, Check, MeanLoss, to_array
from mlplab.one_step.recording import RecordedBatches, RecordingNetwork, RowBatches, Signal
from mlplab.optimizers import Optimizer
from mlplab.runs.checkpoints import Saved
from mlplab.settings import Settings
from mlplab.training import PreparedMember, Session, prepare_members
from mlplab.training.backward import gradients
from mlplab.training.checkpoint import restore
from mlplab.training.eager import EagerStepper
from mlplab.training.objective import Objective
from mlplab.training.population import Population
from mlplab.training.steppers import Group


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
    objective = _objective(population, network)
    population.__dict__["objective"] = objective
    before_P, state = population.theta_KP[0].clone(), _state(population)
    buffers = {name: value.clone() for name, value in population.buffers.items()}
    stepper.advance({}, _ignore, lambda: stepper.step >= step)
    batch = batches.last if isinstance(batches, RecordedBatches) else next(batches.epoch(1))
    at_P = _point_of_gradient(population, before_P, state)
    mean_loss = MeanLoss(population, batch, step, buffers)
    _check_finite(mean_loss.value(at_P), step)
    parameters = _parameters(
        population,
        (before_P, mean_loss.gradient(at_P), objective.gradient_KP[0], population.theta_KP[0]),
        (state, _state(population)),
    )
    signals = network.passes[0]
    layers = [_layer(population, signal, signals, step, parameters) for signal in signals]
    outputs_KBC = signals[-1].z.detach()
    after_P = population.theta_KP[0].clone()
    return OneStep(
        settings=member.settings,
        prepared=member.prepared,
        step=step,
        num_steps=int(population.early_stopping.last_step_K[0]),
        epoch=stepper.epoch,
        lr=float(stepper.lr),
        rows=None if rows is None else tuple(rows),
        x=to_array(batch[0][0]),
        y=batch[1][0].numpy(),
        weights=None if batch[2] is None else to_array(batch[2][0]),
        layers=tuple(layers),
        losses=to_array(population.scoring.loss(outputs_KBC, batch[1])[0]),
        predictions=to_array(population.scoring.loss.predict(outputs_KBC)[0]),
        predictions_again=mean_loss.predictions(after_P),
        penalty=mean_loss.penalty(at_P),
        objective=mean_loss.value(at_P) + mean_loss.penalty(at_P),
        again=mean_loss.value(after_P) + mean_loss.penalty(after_P),
        gradient_norm=mean_loss.unclipped_norm(at_P),
        ahead=not torch.equal(at_P, before_P),
        theta=after_P,
        check=mean_loss.check(at_P, mean_loss.gradient(at_P)),
    )


def _check_finite(value: float, step: int) -> None:
    if not math.isfinite(value):
        raise ConfigError(
            f"--step {step}: the loss is not finite, since the training diverged before this"
            " update. Choose an earlier one, or a smaller optimizer.lr."
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


def _parameters(
    population: Population,
    values: tuple[Tensor, Tensor, Tensor, Tensor],
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> dict[int, dict[str, Parameter]]:
    """The parameters of each layer, by its index from 0.

    `values` are the weights before the update, the gradient of the mean loss, that of the
    objective, and the weights after the update, each [P]; `states` those of the optimizer before
    and after it.
    """
    layout, network = population.network.layout, population.network

    def of(flat: Tensor, is_weights: bool = False) -> list[Array]:
        views = layout.split(flat.view(1, -1))
        return [
            _lecture_shape(e, _dense(network, e, v, is_weights)[0])
            for e, v in zip(layout.entries, views, strict=True)
        ]

    columns = [of(flat, i in (0, 3)) for i, flat in enumerate(values)]
    state, after_state = states
    columns_of_state = {
        name: (of(state[name][0]), of(after_state[name][0]))
        for name in state
        if name in after_state
    }
    layers: dict[int, dict[str, Parameter]] = {}
    for i, entry in enumerate(layout.entries):
        before, gradient, total, after = (column[i] for column in columns)
        of_state = {name: (old[i], new[i]) for name, (old, new) in columns_of_state.items()}
        parameter = Parameter(entry.name, before, gradient, total, after, of_state)
        layers.setdefault(entry.layer, {})[entry.name] = parameter
    return layers


def _dense(network: MLP, entry: Entry, values: Tensor, is_weights: bool) -> Tensor:
    """The values of a block layer's parameters, [1, 1, W], at their weights in a layer whose units
    read all inputs, [1, I, O], and biases [1, 1, O]; 0 elsewhere. Copies have the weight 1.
    """
    plan = network.plans[entry.layer]
    if plan is None:
        return values
    if entry.name == "bias":
        return plan.dense_bias(values)
    inputs = network.layers[entry.layer - 1].units if entry.layer else network.num_features
    dense = plan.dense(values, inputs)
    return dense if is_weights else dense - plan.dense(torch.zeros_like(values), inputs)


def _lecture_shape(entry: Entry, value: Tensor) -> Array:
    """A weight as [O, I], which the lecture multiplies by a column; others as [O]."""
    return to_array(value.T) if entry.name == "weight" else to_array(value[0])


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
            if (plan := population.network.plans[i]) is not None:
                value = torch.where(plan.copies(z.device), leaf, value)
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
        to_array(signal.h[0]),
        to_array(z[0]),
        to_array(h[0]),
        None if slope is None else to_array(slope[0]),
        None if drop is None else to_array(drop[0]),
        to_array(dz[0]),
        None if dh is None else to_array(dh[0]),
        parameters[i],
    )

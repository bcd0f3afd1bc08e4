"""Temperature scaling of the best weights, fitted on the validation split.

    p(T) = predict(outputs / T)      T > 0

Dividing the outputs by one temperature is dividing the weights and biases of the output layer by
it, so a calibrated network is a network like any other: predictions, exports and ensembles need
nothing else. The most probable class does not change. Source: Guo et al., "On calibration of modern
neural networks", ICML 2017.

Shapes: K members, N examples, P parameters, C outputs, G temperatures.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mlplab.errors import IncompatibleSettingsError
from mlplab.losses import Loss
from mlplab.network.layout import Layout
from mlplab.stacking import select
from mlplab.task import Task
from mlplab.training.evaluation import outputs
from mlplab.training.population import Population
from mlplab.training.threads import limit_threads
from mlplab.training_options import Training

DEVIATION_ABOVE, DEVIATION_BELOW = 0.3, 0.1
"""Standard deviations of the prior of log T above and below its mode 0: ten examples cannot move T
far from 1, a thousand can. T < 1 makes predictions more confident than the network is, and the val
split, which selected the weights, flatters them; without the prior, T < 1 on 30 rows that are all
right makes the log loss of other rows several times as large.
"""
MAX_LOG_TEMPERATURE = math.log(20)
GRID, REFINEMENTS = 25, 4
EPS = torch.finfo(torch.float64).eps


def scales_temperature(training: Training, task: Task, has_val: bool) -> bool:
    """Whether the best weights are divided by a temperature. Raises IncompatibleSettingsError if it
    is requested and cannot be fitted.
    """
    if training.calibration == "none":
        return False
    reason = (
        "is for classes, and this dataset has values to predict"
        if not task.classifies
        else "needs a val split, which this dataset does not have"
        if not has_val
        else None
    )
    if reason is None:
        return True
    if training.calibration == "temperature":
        raise IncompatibleSettingsError(
            f"training.calibration=temperature {reason}: leave it out, or choose"
            " training.calibration=auto, which calibrates where it can."
        )
    return False


@torch.no_grad()
def calibrated(population: Population) -> tuple[Population, list[float] | None]:
    """Return a population whose best weights are calibrated, and the temperature of each member; or
    the same population and None if its settings do not ask for it.

    The result of a member does not depend on the other members.
    """
    val = population.data.get("val")
    task, training = population.scoring.task, population.training
    if val is None or not scales_temperature(training, task, has_val=True):
        return population, None
    temperatures = [_fit_member(population, k) for k in range(population.num_members)]
    early_stopping = copy.copy(population.early_stopping)
    best = early_stopping.best
    theta_KP = divided_by(
        population.network.layout, best.theta_KP, torch.tensor(temperatures, dtype=torch.float64)
    )
    early_stopping.best = dataclasses.replace(best, theta_KP=theta_KP)
    return dataclasses.replace(population, early_stopping=early_stopping), temperatures


def divided_by(layout: Layout, theta_KP: Tensor, temperature_K: Tensor) -> Tensor:
    """Return the weights of networks whose outputs are divided by these temperatures: [K, P]."""
    is_normalized = any(
        entry.name == "norm_scale" and entry.layer == layout.num_layers - 1
        for entry in layout.entries
    )
    names = ("norm_scale", "norm_shift") if is_normalized else ("weight", "bias")
    divisor_K1 = temperature_K.to(theta_KP.device).unsqueeze(1)
    columns = [
        (columns_KP / divisor_K1).to(columns_KP.dtype)
        if entry.layer == layout.num_layers - 1 and entry.name in names
        else columns_KP
        for entry, columns_KP in zip(
            layout.entries, torch.split(theta_KP, layout.sizes, dim=1), strict=True
        )
    ]
    return torch.cat(columns, 1)


def _fit_member(population: Population, k: int) -> float:
    """The temperature of one member: 1 if its outputs are not finite."""
    row = torch.tensor([k], device=population.theta_KP.device)
    network, best = population.network.select(row), population.early_stopping.best
    data = population.data["val"].select(row)
    data = dataclasses.replace(data, x=data.x.double())
    layout = network.layout
    views = layout.layers(layout.split(best.theta_KP[row].double()))
    buffers = {name: value[row].double() for name, value in best.buffers.items()}
    with limit_threads(0):  # the number of threads changes bits
        outputs_NC = outputs(network, views, buffers, data, 1)[0].cpu()
    y_N = data.y[0].cpu()
    if data.mask is not None:
        outputs_NC, y_N = outputs_NC[data.mask[0].cpu()], y_N[data.mask[0].cpu()]
    loss = population.scoring.loss
    eps = torch.finfo(population.theta_KP.dtype).eps
    return fit_temperature(select(loss, row.cpu()), outputs_NC, y_N, eps)


def fit_temperature(loss: Loss, outputs_NC: Tensor, y_N: Tensor, metric_eps: float = EPS) -> float:
    """Return the temperature that minimizes the log loss of classes y, int64 [N], and a prior.

        N * log loss(T) + (log T)^2 / (2 deviation^2)

    The log loss is never above that at T = 1, also if probabilities are clipped at `metric_eps`, as
    in the metric of a training in single precision. 1 if an output is not finite.
    """
    if not bool(outputs_NC.isfinite().all()):
        return 1.0
    return temperature_of(partial(hits, loss, outputs_NC, y_N), len(y_N), metric_eps)


def temperature_of(
    hits_of: Callable[[Tensor], Tensor], num_rows: int, metric_eps: float = EPS
) -> float:
    """Return the temperature as `fit_temperature` does; `hits_of` returns what `hits` does for
    temperatures [G], and may be a mean over several networks that share them.
    """
    if num_rows == 0:
        return 1.0
    low, high = -MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE
    best = 0.0
    for _ in range(REFINEMENTS):
        # 0 stays a candidate, so that nothing can get worse
        grid_G = torch.cat([torch.tensor([0.0, best]), torch.linspace(low, high, GRID)]).double()
        hit_GN = hits_of(grid_G.exp())
        log_loss_G, metric_G = (-hit_GN.clamp(min=eps).log().mean(1) for eps in (EPS, metric_eps))
        objective_G = num_rows * log_loss_G.masked_fill(metric_G > metric_G[0], torch.inf)
        deviation_G = torch.where(grid_G > 0, DEVIATION_ABOVE, DEVIATION_BELOW)
        objective_G += (grid_G / deviation_G).square() / 2
        best = float(grid_G[objective_G.argmin()])
        width = (high - low) / (GRID - 1)
        low, high = best - width, best + width
    return math.exp(best)


def hits(loss: Loss, outputs_NC: Tensor, y_N: Tensor, temperatures_G: Tensor) -> Tensor:
    """Return the probability of the right class at each temperature, [G, N]."""
    values = [
        loss.predict((outputs_NC / temperature).unsqueeze(0))[0].gather(-1, y_N[:, None])
        for temperature in temperatures_G
    ]
    return torch.cat(values, 1).t()

"""Choices that are right each for itself and do not fit each other, found before any data are
made.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mlplab.config.provenance import Sources
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.settings import Settings

MAX_PARAMETERS = 2_000_000_000
_METRICS = {"classification": ("loss", "accuracy"), "regression": ("loss", "r2", "rmse", "mae")}


def check(settings: Settings, sources: Sources, trains: bool = True) -> None:
    """Raise ConfigError where the parts do not fit each other, or this machine, whose device only
    training needs.
    """
    _check_loss(settings)
    _check_monitor(settings, sources)
    _check_size(settings, sources)
    _check_batch_norm(settings)
    if trains:
        _check_device(settings, sources)


def _check_loss(settings: Settings) -> None:
    kind = settings.dataset.task_kind
    if not kind or kind in settings.loss.tasks:
        return
    from mlplab.config.registry import table

    fitting = [word for word, loss in table("loss").items() if kind in getattr(loss, "tasks", ())]
    serves = " and ".join(settings.loss.tasks)
    raise ConfigError(
        f"loss={settings.choice('loss')} is for {serves}, and dataset={settings.choice('dataset')} is a"
        f" {kind}. loss=auto chooses by itself; losses for {kind}: {', '.join(fitting)}."
    )


def _check_monitor(settings: Settings, sources: Sources) -> None:
    monitor, kind = settings.training.monitor, settings.dataset.task_kind
    fitting = _METRICS.get(kind, (monitor,))
    if monitor != "auto" and monitor not in fitting:
        origin = sources.of("training.monitor")
        raise ConfigError(
            f"`training.monitor = {monitor}`{f' ({origin})' if origin else ''} cannot be measured:"
            f" dataset={settings.choice('dataset')} is a {kind}. There, training.monitor is auto,"
            f" {', '.join(fitting)}."
        )


def _check_size(settings: Settings, sources: Sources) -> None:
    """At least so many parameters, whatever the data: one input, one output."""
    widths = [1, *(layer.units for layer in settings.layers[:-1]), 1]
    least = sum(a * b + b for a, b in pairwise(widths))
    if least > MAX_PARAMETERS:
        origin = sources.of("model.hidden")
        gigabytes = 4 * least * (2 if settings.dtype == "float64" else 1) / 1e9
        raise ConfigError(
            f"`model.hidden`{f' ({origin})' if origin else ''} makes a network of at least"
            f" {least:.2g} parameters, {gigabytes:.2g} GB for the weights alone; the largest that"
            f" mlplab trains has {MAX_PARAMETERS:.0e}. Choose smaller widths, such as"
            " model.hidden=64-64."
        )


def _check_batch_norm(settings: Settings) -> None:
    if settings.training.portion(2) < 2 and any(
        layer.normalization == "batch" for layer in settings.layers
    ):
        raise ConfigError(
            "`model.normalization = batch` measures mean and variance over the examples of an"
            f" update, and training={settings.choice('training')} makes updates of one example here."
            " Choose training=minibatch with training.batch_size >= 2, training=batch, or"
            " model.normalization=layer."
        )


def _check_device(settings: Settings, sources: Sources) -> None:
    if settings.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        origin = sources.of("device")
        raise ConfigError(
            f"`device = cuda`{f' ({origin})' if origin else ''}: torch {torch.__version__} finds no"
            " CUDA device here. device=auto or device=cpu trains on the CPU."
        )

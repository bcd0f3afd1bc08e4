"""Checks that choices, each valid by itself, fit each other, before any data is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlplab.config.provenance import Sources
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.settings import Settings

MAX_PARAMETERS = 2_000_000_000


def check(settings: Settings, sources: Sources, trains: bool = True) -> None:
    """Raise ConfigError if the components do not fit each other or, if `trains`, the machine."""
    _check_loss(settings)
    _check_monitor(settings, sources)
    _check_size(settings, sources)
    _check_batch_norm(settings)
    _check_average(settings, sources)
    settings.check_lr_factors()
    _check_ensemble(settings, sources)
    if trains:
        _check_device(settings, sources)
        _check_engine(settings, sources)


def _check_loss(settings: Settings) -> None:
    kind = settings.dataset.task_kind
    if not kind or kind in settings.loss.tasks:
        return
    from mlplab.config.registry import table

    losses = [name for name, loss in table("loss").items() if kind in getattr(loss, "tasks", ())]
    raise ConfigError(
        f"loss={settings.choice('loss')} is for {' and '.join(settings.loss.tasks)}, but"
        f" dataset={settings.choice('dataset')} is a {kind} task. loss=auto selects a fitting loss;"
        f" losses for {kind}: {', '.join(losses)}."
    )


def _check_ensemble(settings: Settings, sources: Sources) -> None:
    if settings.ensemble is None:
        return
    fold = getattr(settings.validation, "fold", None)
    if fold is not None:
        conflict = f"validation.fold={fold}: its members train on every fold; leave out one key"
    elif settings.debug is not None:
        conflict = f"debug={settings.debug}: leave out one of the two keys"
    elif settings.init_from is not None:
        conflict = "init_from: its members start from weights of their own; leave out one key"
    else:
        return
    raise ConfigError(
        f"`ensemble = {settings.ensemble}`{sources.remark('ensemble')} cannot be combined with"
        f" {conflict}."
    )


def _check_monitor(settings: Settings, sources: Sources) -> None:
    """Check the name. If the task is unknown before the data is read, `prepare_members` checks
    that the metric is for the task.
    """
    from mlplab import metrics

    monitor, kind = settings.training.monitor, settings.dataset.task_kind
    kinds = [kind] if kind else list(metrics.FINAL)
    names = dict.fromkeys(["auto", *(name for kind in kinds for name in metrics.names_for(kind))])
    if monitor not in names:
        task = f": dataset={settings.choice('dataset')} is a {kind} task" if kind else ""
        raise ConfigError(
            f"`training.monitor = {monitor}`{sources.remark('training.monitor')} cannot be"
            f" measured{task}. {did_you_mean(monitor, names)}training.monitor is one of"
            f" {', '.join(names)}."
        )


def _check_size(settings: Settings, sources: Sources) -> None:
    """Check the smallest possible number of parameters: that with one input and one output."""
    from mlplab.network import weights_by_layer

    num_biases = 1 + sum(layer.units for layer in settings.layers)
    num_parameters = sum(weights_by_layer(settings.layers, 1, 1)) + num_biases
    if num_parameters > MAX_PARAMETERS:
        gigabytes = 4 * num_parameters * (2 if settings.dtype == "float64" else 1) / 1e9
        raise ConfigError(
            f"`model.hidden`{sources.remark('model.hidden')} makes a network of at least"
            f" {num_parameters:.2g} parameters, {gigabytes:.2g} GB for the weights alone; mlplab"
            f" trains at most {MAX_PARAMETERS:.0e}. Choose smaller widths, such as"
            " model.hidden=64-64."
        )


def _check_batch_norm(settings: Settings) -> None:
    if settings.training.portion(2) < 2 and any(
        layer.normalization == "batch" for layer in settings.layers
    ):
        raise ConfigError(
            "`model.normalization = batch` computes mean and variance over the examples of an"
            f" update, but with training={settings.choice('training')} an update has one example."
            " Choose training=minibatch with training.batch_size >= 2, training=batch, or"
            " model.normalization=layer."
        )


def _check_average(settings: Settings, sources: Sources) -> None:
    average = settings.training.average
    if average != "none" and any(layer.normalization == "batch" for layer in settings.layers):
        raise ConfigError(
            f"`training.average = {average}`{sources.remark('training.average')} evaluates averaged"
            " weights, but the running statistics of `model.normalization = batch` are those of"
            " other weights. Choose model.normalization=layer, or training.average=none."
        )


def _check_device(settings: Settings, sources: Sources) -> None:
    if settings.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            f"`device = cuda`{sources.remark('device')}: torch {torch.__version__} finds no"
            " CUDA device here. device=auto or device=cpu trains on the CPU."
        )


def _check_engine(settings: Settings, sources: Sources) -> None:
    if settings.engine != "native":
        return
    from mlplab.native import obstacle

    if (reason := obstacle(settings)) is not None:
        raise ConfigError(f"`engine = native`{sources.remark('engine')}: {reason}")

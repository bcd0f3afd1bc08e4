"""The modes of the key `debug`: what they change in the settings of a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from mlplab.errors import ConfigError
from mlplab.schema import rules
from mlplab.training_options import Batch, Training

if TYPE_CHECKING:
    from mlplab.network.layer import Layer

C = TypeVar("C")

OVERFIT_STEPS, OVERFIT_EVERY = 2000, 10
"""The updates of debug=overfit, each from all of its rows, and the updates between evaluations."""


def for_debugging(mode: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of settings as a mode of `debug` changes them.

    overfit: no dropout, penalties, weight decay or label smoothing; all rows in each update.
    fast: one update.
    """
    training: Training = fields["training"]
    if mode == "fast":
        return fields | {"training": dataclasses.replace(training, steps=1, patience=None)}
    kept = {key: getattr(training, key) for key in ("clip_norm", "clip_value", "time_limit")}
    layers: tuple[Layer, ...] = fields["layers"]
    return fields | {
        "training": Batch(epochs=OVERFIT_STEPS, evaluate_every=OVERFIT_EVERY, **kept),
        "layers": tuple(dataclasses.replace(layer, dropout=0.0) for layer in layers),
        "optimizer": _without(fields["optimizer"], "weight_decay"),
        "loss": _without(fields["loss"], "label_smoothing"),
    }


def several_jobs(mode: object, what: str) -> ConfigError:
    """Return the error for a sweep or search, as `what` calls it, with the key `debug`."""
    return ConfigError(
        f"debug={mode} tries one configuration, and this describes {what}: give each key one value,"
        " without seeds= and validation=kfold, or leave out debug."
    )


def _without(component: C, key: str) -> C:
    """The component with a number set to 0, if it has it."""
    if key not in rules(type(component)):
        return component
    return dataclasses.replace(component, **{key: 0.0})  # type: ignore[type-var]

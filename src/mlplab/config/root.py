"""The groups of the configuration, and the keys at its root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlplab.schema import Component, anything, choice, flag, integer, text

DEFAULTS: dict[str, str | None] = {
    "dataset": "two_layer_radial",
    "embedding": "none",
    "model": "mlp",
    "activation": "tanh",
    "initializer": "xavier_uniform",
    "loss": "auto",
    "optimizer": "adam",
    "schedule": "constant",
    "training": "minibatch",
    "validation": "holdout",
    "tracking": "full",
    "experiment": None,
}
"""The default choice of each group, in the order of composition.

An experiment comes last because it overrides the others.
"""

GROUPS = tuple(DEFAULTS)
ADDED_GROUPS: Mapping[str, Mapping[str, object]] = {
    "validation": {"name": "holdout"},
    "embedding": {"name": "none", "scale_lr_factor": None},
}
"""Groups that run folders of earlier versions lack, with the choice that these runs had."""
COMPONENT_GROUPS = GROUPS[:-1]
"""The groups whose choices are classes."""


@dataclass(frozen=True)
class Root(Component):
    """The keys at the root of the configuration, without the groups."""

    name: str | None = text(
        None,
        "folder of the run in outputs/runs; null takes the name of the experiment, or else of the"
        " dataset",
        optional=True,
    )
    seed: int | None = integer(
        0,
        "seed of all random numbers; null draws one, which the run records",
        at_least=0,
        at_most=2**32 - 1,
        optional=True,
        varies=True,
    )
    device: str = choice(
        "auto",
        ("auto", "cpu", "cuda"),
        "where to compute; auto uses CUDA if it is available and faster for this size",
    )
    engine: str = choice(
        "auto",
        ("auto", "eager", "native"),
        "what trains: eager is torch, native is compiled C, far faster for small networks; auto is"
        " native if it supports the choices and is estimated to be faster",
    )
    dtype: str = choice("float32", ("float32", "float64"), "floating-point precision")
    deterministic: bool = flag(
        False,
        "refuse operations and resumptions that could change any bit of the results; costs no"
        " speed on a CPU",
    )
    debug: str | None = choice(
        None,
        ("overfit", "fast"),
        "a trial of the configuration, below outputs/debug: overfit tells whether the network can"
        " learn ten rows, fast takes one step on one batch of each split",
        optional=True,
    )
    init_from: str | None = text(
        None,
        "folder of a run, or SWEEP:NUMBER, whose weights the training starts from; null draws them",
        optional=True,
    )
    ensemble: int | None = integer(
        None,
        "number of networks that are trained together with sampled hyperparameters and selected"
        " into one model, a packed ensemble; null trains one network",
        at_least=2,
        at_most=10_000,
        optional=True,
    )
    ensemble_ranges: str | Mapping[str, object] | None = anything(
        None,
        "ranges of the hyperparameters of `ensemble`, which replace those of configs/ensemble.yaml:"
        " a YAML file, or a mapping such as {optimizer.lr: 'tag(log,interval(0.001,0.01))'}",
    )

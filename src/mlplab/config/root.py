"""The groups of the configuration, and the keys that stand beside them at the root."""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.schema import Component, choice, flag, integer, text

DEFAULTS: dict[str, str | None] = {
    "dataset": "two_layer_radial",
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
"""Every group, in the order of composition, and its choice where nothing is said. An experiment
comes last: it overrides the others.
"""

GROUPS = tuple(DEFAULTS)
COMPONENT_GROUPS = GROUPS[:-1]
"""The groups whose words are classes."""


@dataclass(frozen=True)
class Root(Component):
    """The keys at the root of the configuration."""

    name: str | None = text(
        None,
        "folder of the run below outputs/runs; null is the word of the experiment, or else of the"
        " dataset",
        optional=True,
    )
    seed: int | None = integer(
        0,
        "everything random follows from it; null draws one, which the run records",
        at_least=0,
        at_most=2**32 - 1,
        optional=True,
        varies=True,
    )
    device: str = choice(
        "auto",
        ("auto", "cpu", "cuda"),
        "where to compute; auto takes CUDA where it is there and faster for this size",
    )
    dtype: str = choice("float32", ("float32", "float64"), "precision of the numbers")
    deterministic: bool = flag(
        False,
        "refuse operations and resumptions that could give other bits; on a CPU nothing is slower"
        " by it",
    )

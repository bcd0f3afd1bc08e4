"""Settings made from Python, without the configuration: what the tests of the engine train."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.network.layer import Layer
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.settings import Settings, Tracking
from mlplab.training_options import STYLES


def part(table: dict[str, Any], word: str | Any, **fields: Any) -> Any:
    return table[word](**fields) if isinstance(word, str) else word


def make_settings(
    seed: int = 0,
    dataset: Any = "two_layer_radial",
    hidden: Sequence[int] = (6, 6),
    activation: Any = "tanh",
    initializer: Any = "xavier_uniform",
    loss: Any = "auto",
    optimizer: Any = "adam",
    schedule: Any = "constant",
    training: Any = "minibatch",
    dtype: str = "float64",
    layer: dict[str, Any] | None = None,
    **training_fields: Any,
) -> Settings:
    """`layer` gives fields of every hidden layer; words may be parts instead."""
    if isinstance(dataset, str):
        dataset = DATASETS[dataset](
            **({"num_samples": 200} if "num_samples" in field_names(DATASETS[dataset]) else {})
        )
    init = part(INITIALIZERS, initializer)
    layers = [
        Layer(units, part(ACTIVATIONS, activation), init, **(layer or {})) for units in hidden
    ]
    return Settings(
        name="test",
        seed=seed,
        device="cpu",
        dtype=dtype,
        dataset=dataset,
        layers=(*layers, Layer(0, None, init)),
        loss=part(LOSSES, loss),
        optimizer=part(OPTIMIZERS, optimizer),
        schedule=part(SCHEDULES, schedule),
        training=part(STYLES, training, **training_fields),
        tracking=Tracking(level="off"),
        config={},
    )


def field_names(part_class: type) -> set[str]:
    return {field.name for field in dataclasses.fields(part_class)}

"""Settings built in Python without a configuration, for the tests of the training engine."""

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


def build_component(table: dict[str, Any], component: str | Any, **fields: Any) -> Any:
    return table[component](**fields) if isinstance(component, str) else component


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
    """Return settings. `layer` has fields of every hidden layer; components may replace names."""
    if isinstance(dataset, str):
        dataset = DATASETS[dataset](
            **({"num_samples": 200} if "num_samples" in field_names(DATASETS[dataset]) else {})
        )
    init = build_component(INITIALIZERS, initializer)
    layers = [
        Layer(units, build_component(ACTIVATIONS, activation), init, **(layer or {}))
        for units in hidden
    ]
    return Settings(
        name="test",
        seed=seed,
        device="cpu",
        dtype=dtype,
        dataset=dataset,
        layers=(*layers, Layer(0, None, init)),
        loss=build_component(LOSSES, loss),
        optimizer=build_component(OPTIMIZERS, optimizer),
        schedule=build_component(SCHEDULES, schedule),
        training=build_component(STYLES, training, **training_fields),
        tracking=Tracking(level="off"),
        config={},
    )


def field_names(component_class: type) -> set[str]:
    return {field.name for field in dataclasses.fields(component_class)}

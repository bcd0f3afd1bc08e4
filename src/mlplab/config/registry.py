"""The choices of each group and their classes.

A call of `table` imports the components of the group and thereby torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from mlplab.config import plugins
from mlplab.schema import Component

_TABLES = {
    "dataset": ("mlplab.data.preparation.registry", "DATASETS"),
    "embedding": ("mlplab.embeddings", "EMBEDDINGS"),
    "model": ("mlplab.config.model", "MODELS"),
    "activation": ("mlplab.network.activations", "ACTIVATIONS"),
    "initializer": ("mlplab.network.initializers", "INITIALIZERS"),
    "loss": ("mlplab.losses", "LOSSES"),
    "optimizer": ("mlplab.optimizers", "OPTIMIZERS"),
    "schedule": ("mlplab.schedules", "SCHEDULES"),
    "training": ("mlplab.training_options", "STYLES"),
    "validation": ("mlplab.validation", "VALIDATIONS"),
}
TRACKING_LEVELS = {
    "full": (
        "Everything: tables, TensorBoard events, pictures, histograms, frames for playback, and"
        " checkpoints."
    ),
    "scalars": "Everything except pictures, histograms and frames.",
    "summary": "Tables and summary without TensorBoard events.",
    "off": "Configuration and summary only.",
}
_COMMON = ("checkpoint_seconds", "checkpoint_epochs", "jobs", "mirror")
TRACKING_KEYS = {
    "full": ("picture_share", *_COMMON),
    "scalars": _COMMON,
    "summary": _COMMON,
    "off": _COMMON,
}
"""The keys of each level besides its name."""


def table(group: str) -> Mapping[str, type[Component]]:
    """Return the classes of a group by name, including those of plugins.

    The choices of `tracking` are levels of one class.
    """
    if group == "tracking":
        from mlplab.settings import Tracking

        return dict.fromkeys(TRACKING_LEVELS, Tracking)
    module, name = _TABLES[group]
    shipped: dict[str, type[Component]] = getattr(import_module(module), name)
    return {**shipped, **plugins.registered(group)}

"""The words of each group and the classes that they mean. Asking for a table imports its parts, and
with them torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from mlplab.config import plugins
from mlplab.schema import Component

_WHERE = {
    "dataset": ("mlplab.data.preparation.registry", "DATASETS"),
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
        "Everything: tables, TensorBoard events, pictures, histograms, the frames for playback,"
        " checkpoints."
    ),
    "scalars": "Everything but pictures, histograms and frames.",
    "summary": "Tables and summary, without TensorBoard events.",
    "off": "Configuration and summary only.",
}
_CHECKPOINTS = ("checkpoint_seconds", "checkpoint_epochs")
TRACKING_KEYS = {
    "full": ("picture_share", *_CHECKPOINTS),
    "scalars": _CHECKPOINTS,
    "summary": _CHECKPOINTS,
    "off": _CHECKPOINTS,
}
"""The keys that a level has beside its word."""


def table(group: str) -> Mapping[str, type[Component]]:
    """Word -> class, parts of plugins included. The words of `tracking` are levels of one class."""
    if group == "model":
        from mlplab.config.model import Mlp

        return {"mlp": Mlp}
    if group == "tracking":
        from mlplab.settings import Tracking

        return dict.fromkeys(TRACKING_LEVELS, Tracking)
    module, name = _WHERE[group]
    shipped: dict[str, type[Component]] = getattr(import_module(module), name)
    return {**shipped, **plugins.registered(group)}

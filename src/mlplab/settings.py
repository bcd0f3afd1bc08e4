"""One experiment in plain typed values: what the configuration becomes at the door, and all that
the code below it sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplab.schema import Component, choice, integer, number
from mlplab.validation import Holdout, Validation

if TYPE_CHECKING:
    from mlplab.data.table import Dataset
    from mlplab.losses import Loss
    from mlplab.network.layer import Layer
    from mlplab.optimizers import Optimizer
    from mlplab.schedules import Schedule
    from mlplab.training_options import Training


@dataclass(frozen=True)
class Tracking(Component):
    """How much of a run is written down."""

    level: str = choice(
        "full",
        ("full", "scalars", "summary", "off"),
        "full: everything; scalars: no pictures; summary: no event file; off: config and summary"
        " only",
    )
    picture_share: float = number(
        0.1,
        "largest share of the training time that pictures over the steps may take; they come less"
        " often rather than slower",
        varies=False,
        at_least=0,
        at_most=1,
    )
    checkpoint_seconds: float | None = number(
        30.0,
        "seconds between two checkpoints, more where one takes longer than a hundredth of that; 0"
        " saves after every step, null not by time",
        varies=False,
        at_least=0,
        optional=True,
    )
    checkpoint_epochs: int | None = integer(
        None, "epochs between two checkpoints; null counts no epochs", at_least=1, optional=True
    )


@dataclass(frozen=True)
class Settings:
    """Everything a run needs. `config` is the resolved configuration as plain dicts and lists, to
    be written beside the results.
    """

    name: str
    seed: int
    device: str  # auto, cpu, cuda
    dtype: str  # float32, float64
    dataset: Dataset
    layers: tuple[Layer, ...]  # hidden layers, then the output layer
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    training: Training
    tracking: Tracking
    config: dict[str, object]
    overrides: tuple[str, ...] = ()
    deterministic: bool = False
    validation: Validation = Holdout()

    def word(self, group: str) -> str:
        """The word that chose this group's part, as it stands in the configuration."""
        part = self.config.get(group)
        return str(part.get("name")) if isinstance(part, dict) else str(part)

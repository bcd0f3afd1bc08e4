"""The typed settings of one run: the validated configuration that all other code works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.data.feature_groups import Grouping
from mlplab.errors import FieldError, IncompatibleSettingsError
from mlplab.schema import Component, anything, choice, integer, number
from mlplab.validation import Holdout, Validation

if TYPE_CHECKING:
    from mlplab.data.table import Dataset
    from mlplab.embeddings import Embedding
    from mlplab.losses import Loss
    from mlplab.network.initial_weights import InitialWeights
    from mlplab.network.layer import Layer
    from mlplab.optimizers import Optimizer
    from mlplab.schedules import Schedule
    from mlplab.training_options import Training


@dataclass(frozen=True)
class Tracking(Component):
    """How much of a run is recorded."""

    level: str = choice(
        "full",
        ("full", "scalars", "summary", "off"),
        "full: everything; scalars: no pictures; summary: no event file; off: only config and"
        " summary",
    )
    picture_share: float = number(
        0.1,
        "maximum fraction of the training time spent on pictures over the steps; if it is reached,"
        " they are drawn less often",
        varies=False,
        at_least=0,
        at_most=1,
    )
    checkpoint_seconds: float | None = number(
        30.0,
        "seconds between checkpoints, more if saving one takes longer than a hundredth of that; 0"
        " saves after every step, null disables saving by time",
        varies=False,
        at_least=0,
        optional=True,
    )
    checkpoint_epochs: int | None = integer(
        None,
        "epochs between checkpoints; null disables saving by epochs",
        at_least=1,
        optional=True,
    )
    jobs: str = choice(
        "auto",
        ("auto", "folders", "packed"),
        "how a sweep stores its jobs: a folder for each, or packed, many in one file, from which"
        " `mlplab open` makes the folder of a job; auto packs more than 200 jobs",
    )
    mirror: list[str] = anything(
        [],
        "trackers to which the run is mirrored while it trains, such as [mlflow, wandb]; `mlplab"
        " mirror` does it later",
    )

    def check(self) -> None:
        """Raise FieldError unless `mirror` is a list of names."""
        is_list = isinstance(self.mirror, (list, tuple))
        if not is_list or not all(isinstance(name, str) for name in self.mirror):
            raise FieldError("mirror", self.mirror, "is not a list of names, such as [mlflow]")


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs.

    `config` is the resolved configuration as plain dicts and lists; it is stored with the results.
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
    engine: str = "auto"  # auto, eager, native
    validation: Validation = Holdout()
    debug: str | None = None  # overfit, fast
    init_from: str | None = None
    """The folder of the run whose weights the training starts from, or SWEEP:NUMBER."""
    experiment: str | None = field(default=None, compare=False)
    """The experiment of the command line, typed or not; unknown for a stored configuration."""
    embedding: Embedding | None = None
    num_embedding_layers: int | None = None
    """How many of `layers`, from the first on, embed the inputs; None before the data is known."""
    initial: InitialWeights | None = None
    """The weights that `init_from` names, once they are read."""
    ensemble: int | None = None
    """The number of members of a packed ensemble."""
    ensemble_ranges: str | Mapping[str, object] | None = None
    folder: Path | None = None
    """The folder of a run or a sweep that the settings were read from."""
    command: tuple[str, ...] = ()
    """The command line that trains this run again, if it is not that of this process, such as for a
    job of a sweep that a worker trains or `mlplab resume` finishes.
    """

    def stored_in(self, folder: Path) -> Settings:
        """Return the settings as they apply when they are read back from a run or a sweep."""
        return replace(self, dataset=self.dataset.stored_in(folder), folder=folder)

    def with_next_seed(self, k: int) -> Settings:
        """Return the settings with the seed that is k after theirs; 0 follows the highest one."""
        return replace(self, seed=(self.seed + k) % 2**32)

    @property
    def grouping(self) -> Grouping:
        """What the embedding needs to know of the features: nothing for a packed ensemble, whose
        members have embeddings of their own.
        """
        if self.embedding is None or self.ensemble is not None:
            return Grouping()
        return self.embedding.grouping

    def check_lr_factors(self) -> None:
        """Raise IncompatibleSettingsError if a layer multiplies its learning rate, but the steps of
        the optimizer are not proportional to it.
        """
        if self.optimizer.scales_with_lr:
            return
        if any(layer.has_lr_factors for layer in self.layers):
            raise IncompatibleSettingsError(
                f"`optimizer = {self.choice('optimizer')}`: a layer of this network multiplies its"
                " learning rate, to which the steps of this optimizer are not proportional. Choose"
                " another one, such as optimizer=adam."
            )

    def choice(self, group: str) -> str:
        """Return the name of the group's choice, such as "adam", as the configuration has it."""
        node = self.config.get(group)
        return str(node.get("name")) if isinstance(node, dict) else str(node)

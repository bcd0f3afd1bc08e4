"""From a list of settings to trained networks: one run is a list of one.

Shapes: K members.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mlplab.data.preparation.examples import Prepared, prepare, prepare_folds
from mlplab.errors import IncompatibleSettingsError
from mlplab.losses import Loss, resolve_auto_loss
from mlplab.network.layer import Layer
from mlplab.schema import Component, rules
from mlplab.settings import Settings
from mlplab.training.device import choose
from mlplab.training.loop import Listener, Loop
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population, build
from mlplab.validation import KFold


@dataclass(frozen=True)
class PreparedMember:
    """Settings whose loss is decided, with their data."""

    settings: Settings
    prepared: Prepared


class DataCache:
    """Prepared data by what decides them, so that equal data are made once and shared. It forgets
    the oldest beyond `limit` bytes.
    """

    def __init__(self, limit: int = 256 << 20) -> None:
        self.limit, self.size = limit, 0
        self._found: dict[str, list[Prepared]] = {}

    def prepared(self, settings: Settings) -> Prepared:
        """The data of these settings. Raises DataError."""
        seed = settings.dataset.seed if settings.dataset.seed is not None else settings.seed
        kfold = settings.validation if isinstance(settings.validation, KFold) else None
        fold_spec = (kfold.folds, kfold.repeats) if kfold else None
        key = repr(
            (
                type(settings.dataset),
                dataclasses.astuple(settings.dataset),
                seed,
                settings.loss.original_units,
                fold_spec,
            )
        )
        if key not in self._found:
            self._found[key] = _made(settings, kfold)
            self.size += _num_bytes(self._found[key])
            while self.size > self.limit and len(self._found) > 1:
                self.size -= _num_bytes(self._found.pop(next(iter(self._found))))
        return self._found[key][0 if kfold is None else kfold.fold or 0]


def _made(settings: Settings, kfold: KFold | None) -> list[Prepared]:
    """One, or one a fold."""
    original_units = settings.loss.original_units
    if kfold is None:
        return [prepare(settings.dataset, settings.seed, target_scaling_default=not original_units)]
    if kfold.fold is None:
        raise IncompatibleSettingsError(
            "A run trains one fold: validation.fold=0, for example. `mlplab train` and mlplab.sweep"
            " train all of them together."
        )
    return prepare_folds(
        settings.dataset, settings.seed, kfold, target_scaling_default=not original_units
    )


def _num_bytes(folds: Sequence[Prepared]) -> int:
    parts = [
        part
        for prepared in folds
        for part in (prepared.train, prepared.val, prepared.test)
        if part is not None
    ]
    return sum(part.x.nbytes + part.y.nbytes for part in parts)


def prepare_members(
    settings: Sequence[Settings], cache: DataCache | None = None
) -> list[PreparedMember]:
    """Make the data and settle the loss of each. Raises DataError or IncompatibleSettingsError."""
    cache = DataCache() if cache is None else cache
    return [_ready(s, cache.prepared(s)) for s in settings]


def _ready(settings: Settings, prepared: Prepared) -> PreparedMember:
    loss = resolve_auto_loss(settings.loss, prepared.task)
    if reason := loss.incompatibility(prepared.task) or _out_of_range(loss, prepared):
        words = f"loss={settings.choice('loss')} {reason}"
        raise IncompatibleSettingsError(
            f"The loss does not fit the data: {words} (dataset={settings.choice('dataset')})."
        )
    return PreparedMember(dataclasses.replace(settings, loss=loss), prepared)


def _out_of_range(loss: Loss, prepared: Prepared) -> str | None:
    """A loss of counts cannot take a negative target, one of shares none above 1."""
    if loss.target_range == "any":
        return None
    parts = [part.y for part in (prepared.train, prepared.val, prepared.test) if part is not None]
    lowest, highest = min(float(y.min()) for y in parts), max(float(y.max()) for y in parts)
    if loss.target_range == "share":
        return (
            f"needs targets from 0 to 1, they go from {lowest:.6g} to {highest:.6g}"
            if lowest < 0 or highest > 1
            else None
        )
    return (
        f"needs targets that are not negative, the lowest is {lowest:.6g}" if lowest < 0 else None
    )


def structure_key(settings: Settings, prepared: Prepared) -> tuple[tuple[str, Hashable], ...]:
    """What must agree for settings to share a population, each under its name: everything but the
    numbers that may vary, and the seeds.
    """
    layers, training = (
        settings.layers,
        dataclasses.replace(settings.training, epochs=1, steps=None, patience=None),
    )
    parts = {name: getattr(prepared, name) for name in ("train", "val", "test")}
    return (
        ("model.hidden", tuple(layer.units for layer in layers[:-1])),
        ("activation", tuple(_kind(layer.activation) for layer in layers[:-1])),
        ("bias", tuple(layer.bias for layer in layers)),
        ("normalization", tuple(layer.normalization for layer in layers)),
        *((name, _kind(getattr(settings, name))) for name in ("loss", "optimizer", "schedule")),
        ("training", _kind(training)),
        ("device", settings.device),
        ("dtype", settings.dtype),
        *(
            (f"shape of the {name} data", part.x.shape if part is not None else None)
            for name, part in parts.items()
        ),
        ("task", (prepared.task, prepared.target_scaler is None)),
    )


def _kind(part: Component | None) -> Hashable:
    """The class of a part and the fields in which members cannot differ; of a number that may vary,
    only whether it is one.
    """
    if part is None:
        return None
    fixed = tuple(
        (
            key,
            (
                repr(getattr(part, key))
                if not rule.varies
                else isinstance(getattr(part, key), (int, float))
            ),
        )
        for key, rule in rules(part).items()
    )
    return type(part).__name__, fixed


def build_populations(members: Sequence[PreparedMember]) -> tuple[Population, str]:
    """A population of these members and why it trains where it does."""
    settings = [member.settings for member in members]
    if settings[0].optimizer.alone and len(settings) > 1:
        raise ValueError("this optimizer trains one network at a time")
    prepared = [member.prepared for member in members]
    portion = settings[0].training.portion(len(prepared[0].train.x))
    try:
        device, reason = choose(
            settings[0].device,
            len(settings),
            _num_weights(settings[0].layers, prepared[0]),
            portion,
        )
    except ValueError as error:
        raise IncompatibleSettingsError(str(error)) from None
    return build(settings, prepared, device), reason


def _num_weights(layers: Sequence[Layer], prepared: Prepared) -> int:
    widths = [
        prepared.num_features,
        *(
            layer.units or prepared.task.num_classes or prepared.task.num_targets
            for layer in layers
        ),
    ]
    return sum(a * b for a, b in itertools.pairwise(widths))


def train_population(
    settings: Sequence[Settings], listener: Listener | None = None
) -> list[Outcome]:
    """Train settings that can share a population, as one. Raises ValueError where they cannot; see
    `structure_key`.
    """
    loop = Loop(build_populations(prepare_members(settings))[0], listener)
    loop.run()
    return loop.outcomes()

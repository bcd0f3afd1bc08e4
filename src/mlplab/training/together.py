"""From a list of settings to trained networks: one run is a list of one.

Shapes: K members.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from mlplab.data import Prepared, prepare
from mlplab.losses import Loss, settled
from mlplab.schema import Part, rules
from mlplab.settings import Layer, Settings
from mlplab.training.device import choose
from mlplab.training.loop import Listener, Loop, Outcome
from mlplab.training.population import Population, build


class MisfitError(ValueError):
    """Settings that do not fit each other or this machine, found once the data are known. One paragraph."""


@dataclass(frozen=True)
class Ready:
    """Settings whose loss is decided, with their data."""

    settings: Settings
    prepared: Prepared


def ready(settings: Sequence[Settings]) -> list[Ready]:
    """Make the data and settle the loss of each; equal data are made once and shared. Raises DataError or MisfitError."""
    cache: dict[Hashable, Prepared] = {}
    found = []
    for s in settings:
        key = (type(s.dataset), dataclasses.astuple(s.dataset), s.dataset.seed if s.dataset.seed is not None else s.seed, s.loss.own_units)
        key_text = repr(key)
        if key_text not in cache:
            cache[key_text] = prepare(s.dataset, s.seed, target_scaling_default=not s.loss.own_units)
        prepared = cache[key_text]
        loss = settled(s.loss, prepared.task)
        if reason := loss.misfit(prepared.task) or _negative(loss, prepared):
            words = f"loss={s.word('loss')} {reason}"
            raise MisfitError(f"The loss does not fit the data: {words} (dataset={s.word('dataset')}).")
        found.append(Ready(dataclasses.replace(s, loss=loss), prepared))
    return found


def _negative(loss: Loss, prepared: Prepared) -> str | None:
    """A loss of counts cannot take a negative target."""
    if loss.target_range == "any":
        return None
    lowest = min(float(part.y.min()) for part in (prepared.train, prepared.val, prepared.test) if part is not None)
    return f"needs targets that are not negative, the lowest is {lowest:.6g}" if lowest < 0 else None


def structure(settings: Settings, prepared: Prepared) -> Hashable:
    """What must agree for settings to share a population: everything but the numbers that may vary, and the seeds."""
    return (
        tuple((layer.units, layer.bias, layer.normalization, _kind(layer.activation)) for layer in settings.layers),
        *(_kind(part) for part in (settings.loss, settings.optimizer, settings.schedule)),
        _kind(dataclasses.replace(settings.training, epochs=1, steps=None, patience=None)),
        (settings.device, settings.dtype),
        tuple((split, getattr(prepared, split).x.shape if getattr(prepared, split) else None) for split in ("train", "val", "test")),
        (prepared.task, prepared.target_scaler is None),
    )


def _kind(part: Part | None) -> Hashable:
    """The class of a part and the fields in which members cannot differ; of a number that may vary, only whether it is one."""
    if part is None:
        return None
    fixed = tuple(
        (key, repr(getattr(part, key)) if not rule.varies else isinstance(getattr(part, key), (int, float)))
        for key, rule in rules(part).items()
    )
    return type(part).__name__, fixed


def populate(members: Sequence[Ready]) -> tuple[Population, str]:
    """A population of these members and why it trains where it does."""
    settings = [member.settings for member in members]
    if settings[0].optimizer.alone and len(settings) > 1:
        raise ValueError("this optimizer trains one network at a time")
    prepared = [member.prepared for member in members]
    portion = settings[0].training.portion(len(prepared[0].train.x))
    try:
        device, reason = choose(settings[0].device, len(settings), _num_weights(settings[0].layers, prepared[0]), portion)
    except ValueError as error:
        raise MisfitError(str(error)) from None
    return build(settings, prepared, device), reason


def _num_weights(layers: Sequence[Layer], prepared: Prepared) -> int:
    widths = [prepared.num_features, *(layer.units or prepared.task.num_classes or prepared.task.num_targets for layer in layers)]
    return sum(a * b for a, b in itertools.pairwise(widths))


def train_together(settings: Sequence[Settings], listener: Listener | None = None) -> list[Outcome]:
    """Train settings that can share a population, as one. Raises ValueError where they cannot; see `structure`."""
    loop = Loop(populate(ready(settings))[0], listener)
    loop.run()
    return loop.outcomes()

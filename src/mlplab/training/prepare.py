"""Prepare a list of settings for training as one population; a single run is a list of one.

Shapes: K members.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mlplab import metrics
from mlplab.data.preparation.debugging import few_examples
from mlplab.data.preparation.examples import Prepared, prepare, prepare_folds, prepare_held_out
from mlplab.data.preparation.grouping import with_groups
from mlplab.errors import IncompatibleSettingsError
from mlplab.losses import Loss, resolve_auto_loss
from mlplab.network.layer import Layer, hidden_widths, weights_by_layer
from mlplab.schema import Component, rules
from mlplab.settings import Settings
from mlplab.training.auto_values import Memo, auto_keys, resolved
from mlplab.training.calibration import scales_temperature
from mlplab.training.device import choose_device
from mlplab.training.embedding import with_embedding
from mlplab.training.engine import choose_engine, eager_reason
from mlplab.training.population import Population, build
from mlplab.training_options import MEMBER_OPTIONS
from mlplab.validation import KFold


@dataclass(frozen=True)
class PreparedMember:
    """Settings with the loss and the engine resolved, and their prepared data."""

    settings: Settings
    prepared: Prepared

    @classmethod
    def of(cls, settings: Settings, prepared: Prepared) -> PreparedMember:
        """Return settings whose loss is resolved, with the layers of their embedding and the engine
        that trains them here.
        """
        settings = with_embedding(settings, prepared.groups, prepared.num_features)
        engine = choose_engine(settings, prepared)
        return cls(dataclasses.replace(settings, engine=engine), prepared)

    @property
    def eager_reason(self) -> str | None:
        """Why `engine=auto` leaves this member to torch; None if it does not."""
        if self.settings.engine == "native":
            return None
        if self.settings.config.get("engine", "auto") != "auto":
            return "as requested"
        return eager_reason(self.settings, self.prepared)


class DataCache:
    """Prepared data keyed by everything that determines it, so equal data is made once and shared.

    The oldest entries are dropped once the cache holds more than `limit` bytes.
    """

    def __init__(self, limit: int = 256 << 20) -> None:
        self.limit, self.size = limit, 0
        self._folds_by_key: dict[str, list[Prepared]] = {}
        self.choices: dict[Hashable, tuple[Settings, Settings]] = {}
        """Settings, and the same with what depends on the data, which members that differ in their
        seeds share.
        """
        self.auto_values: Memo = {}

    def prepared(self, settings: Settings) -> Prepared:
        """Return the data of these settings, cached. Raises DataError."""
        key = data_key(settings)
        kfold = settings.validation if isinstance(settings.validation, KFold) else None
        if key not in self._folds_by_key:
            self._folds_by_key[key] = _prepare_folds(settings, kfold)
            self.size += _num_bytes(self._folds_by_key[key])
            while self.size > self.limit and len(self._folds_by_key) > 1:
                self.size -= _num_bytes(self._folds_by_key.pop(next(iter(self._folds_by_key))))
        return self._folds_by_key[key][0 if kfold is None else kfold.fold or 0]


def data_key(settings: Settings) -> str:
    """What determines the prepared data of these settings, of all folds together."""
    seed = settings.dataset.seed if settings.dataset.seed is not None else settings.seed
    kfold = settings.validation if isinstance(settings.validation, KFold) else None
    fold_spec = (kfold.folds, kfold.repeats, trains_all_folds(settings)) if kfold else None
    dataset = settings.dataset
    units = settings.loss.original_units
    return repr((type(dataset), dataset, seed, units, fold_spec, settings.grouping))


def _prepare_folds(settings: Settings, kfold: KFold | None) -> list[Prepared]:
    """One dataset, or one per fold of a cross-validation."""
    scale_targets = not settings.loss.original_units
    if kfold is None:
        prepared = prepare(settings.dataset, settings.seed, target_scaling_default=scale_targets)
        return with_groups([prepared], settings.grouping)
    if trains_all_folds(settings):
        whole = prepare_held_out(settings.dataset, settings.seed, kfold, scale_targets)
        return with_groups([whole], settings.grouping)
    if kfold.fold is None:
        raise IncompatibleSettingsError(
            "A single run trains one fold: set validation.fold=0, for example. `mlplab train` and"
            " mlplab.sweep train all folds."
        )
    folds = prepare_folds(
        settings.dataset, settings.seed, kfold, target_scaling_default=scale_targets
    )
    return with_groups(folds, settings.grouping)


def trains_all_folds(settings: Settings) -> bool:
    """Whether this is a packed ensemble, whose members train on every fold."""
    kfold = settings.validation
    return settings.ensemble is not None and isinstance(kfold, KFold) and kfold.fold is None


def _num_bytes(folds: Sequence[Prepared]) -> int:
    splits = [
        examples
        for prepared in folds
        for examples in (prepared.train, prepared.val, prepared.test)
        if examples is not None
    ]
    return sum(examples.x.nbytes + examples.y.nbytes for examples in splits)


def prepare_members(
    settings: Sequence[Settings], cache: DataCache | None = None
) -> list[PreparedMember]:
    """Prepare the data of each settings object, and resolve its loss and what follows from data.

    Returns one member per settings object, in order. Raises DataError or
    IncompatibleSettingsError.
    """
    cache = DataCache() if cache is None else cache
    return [
        _resolve_member(s, _prepared(s, cache), cache.choices)
        for s in with_auto_values(settings, cache)
    ]


def with_auto_values(
    settings: Sequence[Settings], cache: DataCache | None = None
) -> list[Settings]:
    """Return the settings with the values that `auto` stands for with their data, which is read
    only if there are such keys. Raises DataError.
    """
    cache = DataCache() if cache is None else cache
    return [
        resolved(one, cache.prepared(one), cache.auto_values) if auto_keys(one) else one
        for one in settings
    ]


def _prepared(settings: Settings, cache: DataCache) -> Prepared:
    prepared = cache.prepared(settings)
    if settings.debug is None:
        return prepared
    batch_size = settings.training.portion(len(prepared.train))
    return few_examples(settings.debug, prepared, batch_size)


def _resolve_member(
    settings: Settings,
    prepared: Prepared,
    choices: dict[Hashable, tuple[Settings, Settings]],
) -> PreparedMember:
    key = _choices_key(settings, prepared)
    if key not in choices:
        loss = resolve_auto_loss(settings.loss, prepared.task)
        _check_fit(settings, prepared, loss)
        member = PreparedMember.of(dataclasses.replace(settings, loss=loss), prepared)
        # the settings are kept, so that the ids in the key stay theirs
        choices[key] = settings, member.settings
        return member
    _, resolved = choices[key]
    if resolved.loss.target_range != "any":
        _check_fit(settings, prepared, resolved.loss)
    names = ("loss", "engine", "layers", "num_embedding_layers")
    known = {name: getattr(resolved, name) for name in names}
    return PreparedMember(dataclasses.replace(settings, **known), prepared)


def _choices_key(settings: Settings, prepared: Prepared) -> Hashable:
    """What the loss and the engine depend on: components that jobs of a sweep share, and sizes."""
    names = ("dataset", "embedding", "layers", "loss", "optimizer", "schedule", "training")
    return (
        tuple([id(getattr(settings, name)) for name in names]),
        (settings.device, settings.dtype, settings.engine),
        (prepared.task, prepared.num_features, len(prepared.train)),
        prepared.groups.sizes if prepared.groups is not None else None,
        len(prepared.val) if prepared.val is not None else 0,
    )


def _check_fit(settings: Settings, prepared: Prepared, loss: Loss) -> None:
    """Raise IncompatibleSettingsError if the loss or the monitor does not fit the data."""
    if reason := loss.incompatibility(prepared.task) or _out_of_range(loss, prepared):
        raise IncompatibleSettingsError(
            f"The loss does not fit the data: loss={settings.choice('loss')} {reason}"
            f" (dataset={settings.choice('dataset')})."
        )
    has_val = prepared.val is not None or prepared.held_out is not None
    scales_temperature(settings.training, prepared.task, has_val)
    monitor, names = settings.training.monitor, ("auto", *metrics.names_for(prepared.task.kind))
    if monitor not in names:
        raise IncompatibleSettingsError(
            f"training.monitor={monitor} does not fit the data:"
            f" dataset={settings.choice('dataset')} is a {prepared.task.kind} task, for which it"
            f" is one of {', '.join(names)}."
        )


def _out_of_range(loss: Loss, prepared: Prepared) -> str | None:
    """Why the targets are outside the range of the loss: counts >= 0, fractions in [0, 1]."""
    if loss.target_range == "any":
        return None
    targets = [s.y for s in (prepared.train, prepared.val, prepared.test) if s is not None]
    lowest, highest = min(float(y.min()) for y in targets), max(float(y.max()) for y in targets)
    if loss.target_range == "share":
        return (
            f"needs targets from 0 to 1, but they range from {lowest:.6g} to {highest:.6g}"
            if lowest < 0 or highest > 1
            else None
        )
    return f"needs nonnegative targets, but the lowest is {lowest:.6g}" if lowest < 0 else None


def structure_key(settings: Settings, prepared: Prepared) -> tuple[tuple[str, Hashable], ...]:
    """Everything that settings must agree on to share a population, as (name, value) pairs.

    Left out are the seeds and the numbers that may differ between members.
    """
    layers = settings.layers
    splits = {name: getattr(prepared, name) for name in ("train", "val", "test")}
    return (
        ("model.hidden", tuple(hidden_widths(layers))),
        ("activation", tuple(_kind(layer.activation) for layer in layers[:-1])),
        ("bias", tuple(layer.bias for layer in layers)),
        ("normalization", tuple(layer.normalization for layer in layers)),
        ("blocks", tuple(layer.blocks for layer in layers)),
        *((name, _kind(getattr(settings, name))) for name in ("loss", "optimizer", "schedule")),
        ("training", _kind(settings.training, MEMBER_OPTIONS)),
        ("device", settings.device),
        ("engine", settings.engine),
        ("dtype", settings.dtype),
        *(
            (f"shape of the {name} data", examples.x.shape if examples is not None else None)
            for name, examples in splits.items()
        ),
        ("task", (prepared.task, prepared.target_scaler is None)),
        ("target_clamp", prepared.target_bounds is not None),
    )


def population_key(member: PreparedMember, number: int) -> Hashable:
    """The key that members of one population share; `number` is unique to the member.

    A member whose optimizer trains one network at a time has a key of its own.
    """
    is_single = member.settings.optimizer.single_network
    return structure_key(member.settings, member.prepared), number if is_single else None


def session_key(member: PreparedMember) -> Hashable:
    """What members agree in that train in one session of a sweep: those of the native engine do,
    whatever their structures, and others with one structure.
    """
    if member.settings.engine == "native":
        return "native"
    return structure_key(member.settings, member.prepared)


def by_population(members: Mapping[int, PreparedMember]) -> dict[Hashable, list[int]]:
    """The numbers of members that can share a population, by their key."""
    numbers: dict[Hashable, list[int]] = {}
    for number, member in members.items():
        numbers.setdefault(population_key(member, number), []).append(number)
    return numbers


def _kind(component: Component | None, without: tuple[str, ...] = ()) -> Hashable:
    """The class of a component and the fields in which members cannot differ.

    Of a number that may vary, only whether it is a number counts.
    """
    try:
        return _known_kind(component, without)
    except TypeError:  # a field is a list
        return _known_kind.__wrapped__(component, without)


@functools.lru_cache(maxsize=1024)
def _known_kind(component: Component | None, without: tuple[str, ...]) -> Hashable:
    if component is None:
        return None
    fixed = tuple(
        (
            key,
            (
                repr(getattr(component, key))
                if not rule.varies
                else isinstance(getattr(component, key), (int, float))
            ),
        )
        for key, rule in rules(component).items()
        if key not in without
    )
    return type(component).__name__, fixed


def build_population(members: Sequence[PreparedMember]) -> tuple[Population, str]:
    """Build one population of these members.

    Returns it with the reason for the choice of its device. Raises IncompatibleSettingsError if
    the requested device is missing, and ValueError if the members cannot share a population.
    """
    settings = [member.settings for member in members]
    if settings[0].optimizer.single_network and len(settings) > 1:
        raise ValueError("this optimizer trains one network at a time")
    if len({one.engine for one in settings}) > 1:
        raise ValueError("one population has one engine: set engine=eager for all its members")
    for one in settings:
        one.check_lr_factors()
    prepared = [member.prepared for member in members]
    if settings[0].engine == "native":
        return build(settings, prepared, torch.device("cpu")), "the native engine trains on the CPU"
    portion = settings[0].training.portion(len(prepared[0].train.x))
    try:
        device, reason = choose_device(
            settings[0].device,
            len(settings),
            _num_weights(settings[0].layers, prepared[0]),
            portion,
        )
    except ValueError as error:
        raise IncompatibleSettingsError(str(error)) from None
    return build(settings, prepared, device), reason


def _num_weights(layers: Sequence[Layer], prepared: Prepared) -> int:
    num_outputs = prepared.task.num_classes or prepared.task.num_targets
    return sum(weights_by_layer(layers, prepared.num_features, num_outputs))

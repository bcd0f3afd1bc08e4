"""Settings built in Python without a configuration, for the tests of the training engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.network.layer import Layer
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.settings import Settings, Tracking
from mlplab.sweeps.search.trials import TrialMember, Trials
from mlplab.training import (
    Callback,
    Group,
    Outcome,
    Session,
    build_population,
    prepare_members,
)
from mlplab.training.checkpoint import capture, pack_rows
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
    engine: str = "eager",
    **training_fields: Any,
) -> Settings:
    """Return settings. `layer` has fields of every hidden layer; components may replace names.

    The engine is eager, which tests compare with plain torch and look at between any two steps; the
    tests in tests/native compare the native engine with it.
    """
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
        engine=engine,
    )


class AfterEachStep(Callback):
    """Calls a function with the session and the group after each step."""

    def __init__(self, call: Callable[[Session, Group], object]) -> None:
        self.call = call

    def should_pause(self, session: Session, group: Group) -> bool:
        self.call(session, group)
        return False


class TrialSession(Session):
    """A session of one group of trials of a search, which pauses at their rungs."""

    def __init__(self, trials: Sequence[TrialMember]) -> None:
        self.trials = Trials()
        super().__init__((), [self.trials])
        self.add_trials(trials)

    def add_trials(self, trials: Sequence[TrialMember]) -> None:
        self.trials.add(self.add([trial.member for trial in trials]), trials)
        (self.group,) = self.groups

    def at_rungs(self) -> list[tuple[int, int, float]]:
        return self.trials.at_rungs(self, self.group)

    def leave(self) -> list[tuple[TrialMember, Outcome]]:
        """Remove the trials that have ended, and return them with their outcomes."""
        ended = self.remove_ended(self.group)
        return [(self.trials.by_number[number], outcome) for number, outcome in ended.items()]


def make_session(settings: Sequence[Settings], *callbacks: Callback) -> Session:
    """Return a session that trains the settings as one population."""
    return Session([build_population(prepare_members(settings))[0]], callbacks)


def stored(group: Group) -> dict[str, object]:
    """Return the state of a group, and its history, as a checkpoint stores them."""
    return {"loop": capture(group), "rows": pack_rows(group.history_buffer.rows)}


def field_names(component_class: type) -> set[str]:
    return {field.name for field in dataclasses.fields(component_class)}

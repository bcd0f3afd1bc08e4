"""Trainings by either engine, and how far they are apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import pytest
import torch
from extended import train_extended
from harness import size
from kinks import KinkFinder
from torch import Tensor

from mlplab.losses import Loss
from mlplab.settings import Settings
from mlplab.training import Callback, Outcome, Session, prepare_members
from mlplab.training.objective import Objective
from mlplab.training.steppers import Group

EPOCHS = size(12, 50)  # 200 points, 120 of them for training, batches of 32: 48 or 200 steps
LR = {
    **{"sgd": 0.05, "momentum": 0.02, "nag": 0.02, "adagrad": 0.05, "rmsprop": 0.005},
    **{"adadelta": 1.0, "lion": 0.003},
}
"""Learning rates with which the trainings are well-conditioned."""


def session(settings: Sequence[Settings], engine: str, *callbacks: Callback) -> Session:
    members = prepare_members([dataclasses.replace(s, engine=engine) for s in settings])
    return Session.of(members, callbacks)


def train(settings: Sequence[Settings], engine: str, *callbacks: Callback) -> list[Outcome]:
    training = session(settings, engine, *callbacks)
    training.run()
    return training.outcomes()


class StopAfter(Callback):
    """Interrupts the training after some stretches, the first of which have 1, 4 and 16 steps."""

    def __init__(self, stretches: int) -> None:
        self.stretches = stretches

    def should_pause(self, session: Session, group: Group) -> bool:
        self.stretches -= 1
        return self.stretches < 0

    def on_pause(self, session: Session, group: Group) -> None:
        if self.stretches < 0:
            raise KeyboardInterrupt


def perturbed(settings: Settings) -> Outcome:
    """The training with the eager engine after changing the initial weights, and the share of each
    example in each gradient, in their last digits.

    Its result is far from the other one if a gradient is 0 but for rounding: rmsprop or adam
    divide it by its size. With hinge and two classes of the same size, the first gradient of the
    last bias is a sum of equal shares with both signs.
    """
    training = session([settings], "eager")
    theta_KP = training.groups[0].population.theta_KP
    generator = torch.Generator().manual_seed(0)

    def changed(values: Tensor) -> Tensor:
        noise = torch.randn(values.shape, generator=generator).to(values.dtype)
        return values * (1 + torch.finfo(values.dtype).eps * noise)

    theta_KP.copy_(changed(theta_KP))
    exact = Objective._coefficients
    with mock.patch.object(Objective, "_coefficients", lambda *of: changed(exact(*of))):
        training.run()
    return training.outcomes()[0]


def dataset_for(loss: Loss | type[Loss]) -> str:
    """Two classes, or values from 0 to 1, which every loss for values allows."""
    return "two_layer_radial" if "classification" in loss.tasks else "quadratic"


def distance(outcome: Outcome, other: Outcome) -> float:
    """The largest difference of two weights, relative to the largest weight."""
    size = max(1.0, float(other.last_theta_P.abs().max()))
    return float((outcome.last_theta_P - other.last_theta_P).abs().max()) / size


def history_distances(outcome: Outcome, other: Outcome) -> np.ndarray:
    """The differences of the histories [E, M], relative to the largest value of each column."""
    values, others = outcome.history.values, other.history.values
    assert values.shape == others.shape
    scale = np.maximum(np.nanmax(np.abs(others), axis=0), 1e-3)
    return np.nan_to_num(np.abs(values - others) / scale)


def assert_same_bits(outcome: Outcome, other: Outcome) -> None:
    """All that a training leaves is equal, but for the times of the evaluations."""
    assert torch.equal(outcome.last_theta_P, other.last_theta_P)
    assert torch.equal(outcome.theta_P, other.theta_P)
    assert (outcome.status, outcome.steps, outcome.best_step) == (
        *(other.status, other.steps, other.best_step),
    )
    np.testing.assert_array_equal(outcome.history.step, other.history.step)
    np.testing.assert_array_equal(outcome.history.values, other.history.values)


def both(settings: Settings) -> tuple[Outcome, Outcome]:
    """The outcomes with the native and with the eager engine."""
    (native,), (eager,) = train([settings], "native"), train([settings], "eager")
    return native, eager


def assert_parity(settings: Settings) -> None:
    """The engines give the same weights, history and best weights, but for rounding."""
    native, eager = both(settings)
    limit = 1e-10 if settings.dtype == "float64" else 1e-5
    assert native.status == eager.status == "done"
    if distance(native, eager) >= limit:
        if max(distance(other, eager) for other in rounded(settings)) >= limit:
            return
        assert distance_from_exact(native, settings) < limit
    np.testing.assert_array_equal(native.history.step, eager.history.step)
    np.testing.assert_array_equal(native.history.epoch, eager.history.epoch)
    assert_same_history(settings, native, eager, 10 * limit)
    assert_same_best(settings, native, eager, 10 * limit)


def rounded(settings: Settings) -> Iterator[Outcome]:
    """Trainings by torch that differ from another one by rounding, which shows its condition."""
    yield perturbed(settings)
    if settings.dtype == "float32":
        yield train([dataclasses.replace(settings, dtype="float64")], "eager")[0]


def distance_from_exact(outcome: Outcome, settings: Settings) -> float:
    """As `distance`, from the training in extended precision; infinite where there is none.

    Both engines round that training, and so are up to twice as far from each other as from it.
    """
    if settings.dtype != "float64":
        return math.inf
    try:
        exact_P = train_extended(settings)
    except NotImplementedError:
        return math.inf
    theta_P = outcome.last_theta_P.numpy()
    return float(np.abs(theta_P - exact_P).max() / max(1.0, np.abs(exact_P).max()))


def assert_same_history(settings: Settings, native: Outcome, eager: Outcome, limit: float) -> None:
    differs = history_distances(native, eager) >= limit
    if not differs.any() or differs_at_kinks_only(settings, differs, eager):
        return
    others = rounded(settings)
    assert max(history_distances(other, eager).max() for other in others) >= limit


def differs_at_kinks_only(settings: Settings, differs: np.ndarray, eager: Outcome) -> bool:
    """Whether the values that differ are of gradients taken where a unit's derivative jumps.

    Its input is then within one rounding of the kink, so that each engine may take either side.
    `differs` is [E, M]. Known only for a training of one step from one evaluation to the next.
    """
    rows, columns = differs.nonzero()
    if settings.training.evaluate_every != 1 or not np.array_equal(
        eager.history.step, np.arange(len(differs))
    ):
        return False
    finder = KinkFinder(settings)
    train([settings], "eager", finder)
    return set(rows.tolist()) <= set(finder.rows) and all(
        eager.history.names[column].startswith("gradient_norm") for column in columns
    )


def assert_same_best(settings: Settings, native: Outcome, eager: Outcome, limit: float) -> None:
    """The weights kept are of the same step, or of one that is as good but for rounding."""
    if native.best_step != eager.best_step:
        monitor = settings.training.monitor
        value_E = eager.history[f"val/{'loss' if monitor == 'auto' else monitor}"]
        best, other = (
            value_E[list(eager.history.step).index(outcome.best_step)]
            for outcome in (eager, native)
        )
        assert other == pytest.approx(best, rel=limit)

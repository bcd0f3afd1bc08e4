"""Trainings by either engine, and how far they are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mlplab.settings import Settings
from mlplab.training import Callback, Outcome, Session, prepare_members

EPOCHS = 50  # 200 points, 120 of them for training, batches of 32: 200 steps
LR = {"sgd": 0.05, "momentum": 0.02, "nag": 0.02, "adagrad": 0.05, "rmsprop": 0.005}
"""Learning rates with which the trainings are well-conditioned."""


def session(settings: Sequence[Settings], engine: str, *callbacks: Callback) -> Session:
    members = prepare_members([dataclasses.replace(s, engine=engine) for s in settings])
    return Session.of(members, callbacks)


def train(settings: Sequence[Settings], engine: str, *callbacks: Callback) -> list[Outcome]:
    training = session(settings, engine, *callbacks)
    training.run()
    return training.outcomes()


def perturbed(settings: Settings) -> Outcome:
    """The training with the eager engine after changing the initial weights in their last digits.

    Its result is far from the other one if a gradient is 0 but for rounding: rmsprop or adam
    divide it by its size.
    """
    training = session([settings], "eager")
    theta_KP = training.groups[0].population.theta_KP
    noise_KP = torch.randn(theta_KP.shape, generator=torch.Generator().manual_seed(0))
    theta_KP.mul_(1 + torch.finfo(theta_KP.dtype).eps * noise_KP.to(theta_KP.dtype))
    training.run()
    return training.outcomes()[0]


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
        assert distance(perturbed(settings), eager) >= limit
        return
    np.testing.assert_array_equal(native.history.step, eager.history.step)
    np.testing.assert_array_equal(native.history.epoch, eager.history.epoch)
    assert_same_history(settings, native, eager, 10 * limit)
    assert_same_best(settings, native, eager, 10 * limit)


def assert_same_history(settings: Settings, native: Outcome, eager: Outcome, limit: float) -> None:
    if history_distances(native, eager).max() >= limit:
        assert history_distances(perturbed(settings), eager).max() >= limit


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

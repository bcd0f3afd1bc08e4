"""The learning-rate range test: short trainings of one configuration, one for each rate.

All rates train together, as a population, from the same weights and on the same batches. It is not
the range test of Smith (2017), which raises the rate during one training, since there every loss
also depends on all smaller rates before it. Shapes: R rates, S seeds.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlplab.runs.initial_weights import with_initial_weights
from mlplab.settings import Settings
from mlplab.training import Callback, DataCache, Group, Outcome, Row, Session, prepare_members

LOWEST, HIGHEST, NUM_RATES, NUM_SEEDS = 1e-5, 10.0, 25, 3
SHARE = 0.4
"""Of the length of the training that a rate is tried for."""
MIN_STEPS = 20
MAX_EAGER_SEEDS = 1
"""Of the eager engine, whose networks are large."""
MIN_GAIN = 0.02
"""The fraction of the loss at the start by which it must improve for a suggestion."""
FLAT_BOTTOM = 0.2
"""The fraction above the lowest loss up to which rates around it count as equally good."""


class StepProgress(Callback):
    """Calls a function with the step of each evaluation that is read."""

    def __init__(self, update: Callable[[int], None]) -> None:
        self.update = update

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        self.update(rows[-1].step)


@dataclass(frozen=True)
class LearningRates:
    """The result of a range test.

    `losses_SR` are the best values of `metric` of each training, infinity if it diverged before the
    first evaluation, and `diverged_SR` whether it diverged or ended above where it began.
    """

    rates: tuple[float, ...]
    losses_SR: NDArray[np.float64]
    diverged_SR: NDArray[np.bool_]
    start: float  # of the loss, before the first step
    metric: str
    steps: int
    whole_steps: int  # of the training that is tried
    engine: str
    lr: float  # that the configuration has
    seconds: float

    @property
    def losses_R(self) -> NDArray[np.float64]:
        """The median of the seeds for each rate."""
        return np.asarray(np.median(self.losses_SR, axis=0))

    @property
    def smooth_R(self) -> NDArray[np.float64]:
        """The losses smoothed over neighboring rates, their logarithms if all are positive."""
        losses_R = self.losses_R
        finite_R = np.isfinite(losses_R)
        if not finite_R.any():
            return losses_R
        positive = float(losses_R[finite_R].min()) > 0
        values_R = np.log(losses_R, where=finite_R, out=losses_R.copy()) if positive else losses_R
        worst = float(values_R[finite_R].max())
        padded = np.pad(np.where(finite_R, values_R, worst), 1, mode="edge")
        smooth_R = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        smooth_R = np.exp(smooth_R) if positive else smooth_R
        return np.where(finite_R, smooth_R, np.inf)

    @property
    def suggestion(self) -> float | None:
        """The rate that is suggested, in the middle of the flat bottom of the smoothed losses; None
        if no rate lowers the loss.
        """
        losses_R = self.losses_R
        if not self.start - losses_R.min() > MIN_GAIN * abs(self.start):
            return None
        smooth_R = self.smooth_R
        first = last = int(np.argmin(smooth_R))
        lowest = float(smooth_R[first])
        is_flat_R = smooth_R <= lowest + FLAT_BOTTOM * min(abs(lowest), self.start - lowest)
        while first > 0 and is_flat_R[first - 1]:
            first -= 1
        while last + 1 < len(is_flat_R) and is_flat_R[last + 1]:
            last += 1
        return self.rates[(first + last) // 2]

    @property
    def diverges_from(self) -> float | None:
        """The lowest rate from which on most trainings diverge; None if none does."""
        unstable_R = self.diverged_SR.mean(axis=0) > 0.5
        if not unstable_R[-1]:
            return None
        stable = np.flatnonzero(~unstable_R)
        return self.rates[int(stable[-1]) + 1 if len(stable) else 0]

    @property
    def is_at_edge(self) -> bool:
        """Whether the suggestion is the first or the last rate that was tried."""
        return self.suggestion in (self.rates[0], self.rates[-1])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values; a loss that is not finite is None."""
        suggestion = self.suggestion
        return {
            "format": "mlplab-find-lr-1",
            "suggestion": suggestion,
            "override": None if suggestion is None else override(suggestion),
            "diverges_from": self.diverges_from,
            "metric": self.metric,
            "start": _finite(self.start),
            "steps": self.steps,
            "steps_of_training": self.whole_steps,
            "seeds": len(self.losses_SR),
            "engine": self.engine,
            "seconds": round(self.seconds, 3),
            "rates": [
                {"lr": lr, "loss": _finite(loss), "diverged": float(share)}
                for lr, loss, share in zip(
                    self.rates, self.losses_R, self.diverged_SR.mean(axis=0), strict=True
                )
            ],
        }


def override(rate: float) -> str:
    """Return the override that sets a learning rate."""
    return f"optimizer.lr={rate:.3g}"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def spaced(lowest: float, highest: float, count: int) -> tuple[float, ...]:
    """Return rates of equal ratios, rounded to three digits, so that they can be typed."""
    return tuple(float(f"{rate:.3g}") for rate in np.geomspace(lowest, highest, count).tolist())


def try_rates(
    settings: Settings,
    rates: Sequence[float],
    steps: int | None = None,
    seeds: int | None = None,
    follow: Callable[[int], Sequence[Callback]] = lambda steps: (),
) -> LearningRates:
    """Train the settings for a number of steps with each rate and each of several seeds.

    None takes the defaults: SHARE of the training, and NUM_SEEDS seeds, or one with the eager
    engine. The data and its splits are those of the first seed. `follow` returns callbacks for this
    number of steps. Nothing is written. Raises DataError or IncompatibleSettingsError.
    """
    begun, cache = time.monotonic(), DataCache()
    settings = with_initial_weights(settings)
    if settings.dataset.seed is None:
        dataset = dataclasses.replace(settings.dataset, seed=settings.seed)
        settings = dataclasses.replace(settings, dataset=dataset)
    first = prepare_members([settings], cache)[0]
    whole = whole_steps(settings, len(first.prepared.train))
    steps = steps or min(whole, max(MIN_STEPS, math.ceil(SHARE * whole)))
    is_eager = first.settings.engine == "eager"
    seeds = seeds or (MAX_EAGER_SEEDS if is_eager else NUM_SEEDS)
    training = dataclasses.replace(settings.training, steps=steps, patience=None)
    optimizers = [dataclasses.replace(settings.optimizer, lr=rate) for rate in rates]
    varied = [
        dataclasses.replace(settings.with_next_seed(i), optimizer=optimizer, training=training)
        for i in range(seeds)
        for optimizer in optimizers
    ]
    session = Session.of(prepare_members(varied, cache), follow(steps))
    session.run()
    outcomes = session.outcomes(metrics=False)
    names = outcomes[0].history.names
    metric = "val/loss" if "val/loss" in names else "train/loss"
    shape = (seeds, len(rates))
    return LearningRates(
        tuple(rates),
        np.array([_best(outcome, metric) for outcome in outcomes]).reshape(shape),
        np.array([_has_diverged(outcome) for outcome in outcomes]).reshape(shape),
        float(np.median([outcome.history[metric][0] for outcome in outcomes])),
        metric,
        steps,
        whole,
        first.settings.engine,
        float(settings.optimizer.lr),
        time.monotonic() - begun,
    )


def whole_steps(settings: Settings, num_examples: int) -> int:
    """Return the steps of the training of these settings on a number of examples."""
    training = settings.training
    if training.steps is not None:
        return training.steps
    portion = training.portion(num_examples)
    drops_last = getattr(training, "drop_last", False)
    batches = num_examples // portion if drops_last else -(-num_examples // portion)
    return training.epochs * max(1, batches)


def _best(outcome: Outcome, metric: str) -> float:
    """The lowest value of a training after its start; infinity if it diverged at once."""
    values = outcome.history[metric][1:]
    values = values[np.isfinite(values)]
    return float(values.min()) if len(values) else math.inf


def _has_diverged(outcome: Outcome) -> bool:
    losses = outcome.history["train/loss"]
    return outcome.status == "diverged" or not losses[-1] <= losses[0]

"""How members ended, read from the final state of a population.

Shapes: K members, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from mlplab.training.history import History
from mlplab.training.population import Population
from mlplab.training.stopping import DIVERGED, PRUNED, RUNNING, STOPPED


@dataclass
class Logged:
    """What callbacks logged of one member."""

    scalars: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    """By name: step, value, and time in seconds since 1970."""
    artifacts: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one member ended, with its best and its last finite weights and buffers, on the CPU."""

    status: str  # done, diverged, pruned, interrupted
    reason: str
    epochs: int
    steps: int
    best_epoch: int
    best_step: int
    history: History
    metrics: dict[str, float]  # of the best weights, "<split>/<metric>"
    theta_P: Tensor
    buffers: dict[str, Tensor]
    last_theta_P: Tensor
    last_buffers: dict[str, Tensor]
    logged: Logged
    temperature: float | None = None
    """What the outputs were divided by after training, if the best weights are calibrated."""


def outcomes_of(
    population: Population,
    measured: Mapping[str, Tensor],
    histories: Mapping[int, History],
    step: int,
    reasons: Mapping[int, str],
    logged: Mapping[int, Logged],
    temperatures: Sequence[float] | None = None,
) -> dict[int, Outcome]:
    """Return the outcomes of a population's members, keyed by the members' indices.

    `measured` are the metrics of the best weights, [K]. The same indices are the keys of
    `histories`, of `reasons` (why a caller ended a member) and of `logged`; `step` is the
    population's current step, and `temperatures` are those of its members, if it is calibrated.
    """
    early_stopping, per_epoch = population.early_stopping, population.batches.per_epoch
    best, last = early_stopping.best, early_stopping.last
    values_of = {name: value_K.tolist() for name, value_K in measured.items()}
    best_steps, diverged_steps = best.step_K.tolist(), early_stopping.diverged_step_K.tolist()
    best_theta, last_theta = best.theta_KP.cpu(), last.theta_KP.cpu()
    best_buffers, last_buffers = (
        {n: v.cpu() for n, v in snapshot.buffers.items()} for snapshot in (best, last)
    )
    outcomes = {}
    for k, (member, state) in enumerate(
        zip(population.members.tolist(), early_stopping.state_K.tolist(), strict=True)
    ):
        status, reason, steps = _ending(state, diverged_steps[k], histories[member], step)
        if state == PRUNED:
            status, reason = "pruned", "pruned"
        outcomes[member] = Outcome(
            status,
            reasons.get(member, reason),
            -(-steps // per_epoch),
            steps,
            -(-best_steps[k] // per_epoch),
            best_steps[k],
            histories[member],
            {name: values[k] for name, values in values_of.items()},
            best_theta[k],
            {n: v[k] for n, v in best_buffers.items()},
            last_theta[k],
            {n: v[k] for n, v in last_buffers.items()},
            logged.get(member, Logged()),
            None if temperatures is None else temperatures[k],
        )
    return outcomes


def mean_scalars(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    """Return what callbacks logged: by name, the mean over the members at each step."""
    values: dict[str, dict[int, list[float]]] = {}
    for outcome in outcomes:
        for name, rows in outcome.logged.scalars.items():
            for step, value, _ in rows:
                values.setdefault(name, {}).setdefault(step, []).append(value)
    return {
        name: [float(np.mean(by_step[step])) for step in sorted(by_step)]
        for name, by_step in values.items()
    }


def _ending(state: int, diverged_step: int, history: History, step: int) -> tuple[str, str, int]:
    last = int(history.step[-1]) if len(history) else step
    if state == DIVERGED:
        loss = next(
            (v for v in history["train/loss"][::-1] if v == v and abs(v) != float("inf")),
            float("nan"),
        )
        return (
            "diverged",
            (
                f"objective or weights were not finite at step {diverged_step}; the last finite"
                f" train/loss was {loss:.6g}"
            ),
            diverged_step,
        )
    if state == RUNNING:
        return "interrupted", f"interrupted at step {last}", last
    return (
        "done",
        (
            "no improvement within the patience"
            if state == STOPPED
            else "the planned length was reached"
        ),
        last,
    )

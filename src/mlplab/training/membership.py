"""Add members to a population in training: they start at epoch 0 while the others are further on.

Data order, dropout and schedule depend on the time since a member's start, so its result does not
depend on when it was added. Shapes: K members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from mlplab.data.preparation.examples import Prepared
from mlplab.settings import Settings
from mlplab.training.population import Population, build
from mlplab.training.stopping import EarlyStopping, Snapshot


def add_members(
    before: Population,
    settings: Sequence[Settings],
    prepared: Sequence[Prepared],
    epoch: int,
    first: int,
) -> tuple[Population, Population]:
    """Build the members from index `first` on, and return them alone and together with `before`.

    `settings` and `prepared` are those of all members, of which the new ones start at this epoch.
    """
    device = before.theta_KP.device
    new = start_at(build(settings[first:], prepared[first:], device), epoch, first)
    return new, join_populations(build(settings, prepared, device), before, new)


def start_at(new: Population, epoch: int, first: int) -> Population:
    """Make an untrained population the members `first`, `first` + 1, ... of another one.

    `epoch` is the epoch that the other population's clock has reached.
    """
    members = torch.arange(first, first + new.num_members)
    starts_K = torch.full((new.num_members,), epoch, dtype=torch.int64, device=new.theta_KP.device)
    return dataclasses.replace(new, members=members, start_K=starts_K)


def join_populations(combined: Population, before: Population, new: Population) -> Population:
    """Return `before` and `new` as one population.

    `combined` is freshly built from the settings of `before`, then `new`. It provides data,
    hyperparameters and seeds; `before` and `new` provide the state.
    """

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(before, name), getattr(new, name)])

    buffers = {
        name: torch.cat([value, new.buffers[name]]) for name, value in before.buffers.items()
    }
    return dataclasses.replace(
        combined,
        members=cat("members"),
        theta_KP=cat("theta_KP"),
        buffers=buffers,
        optimizer_state=_cat(before.optimizer_state, new.optimizer_state),
        schedule_state=_cat(before.schedule_state, new.schedule_state),
        early_stopping=_join_early_stopping(
            combined.early_stopping, before.early_stopping, new.early_stopping
        ),
        averaging=combined.averaging and combined.averaging.continued(before.averaging),
        start_K=torch.cat([_starts(before), _starts(new)]),
    )


def _starts(population: Population) -> Tensor:
    if population.start_K is not None:
        return population.start_K
    return torch.zeros(population.num_members, dtype=torch.int64, device=population.theta_KP.device)


def _cat(before: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([value, new[name]]) for name, value in before.items()}


def _join_early_stopping(
    combined: EarlyStopping, before: EarlyStopping, new: EarlyStopping
) -> EarlyStopping:
    """Concatenate the states into the fresh `combined`, whose limits already cover all members."""
    for name, value in vars(before).items():
        if isinstance(value, Tensor) and name != "min_delta":
            setattr(combined, name, torch.cat([value, getattr(new, name)]))
    combined.best, combined.last = (
        _join_snapshots(before.best, new.best),
        _join_snapshots(before.last, new.last),
    )
    return combined


def _join_snapshots(before: Snapshot, new: Snapshot) -> Snapshot:
    return Snapshot(
        torch.cat([before.theta_KP, new.theta_KP]),
        _cat(before.buffers, new.buffers),
        torch.cat([before.step_K, new.step_K]),
    )

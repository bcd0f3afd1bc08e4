"""Members that come to a population while it trains: they begin at their own epoch 0, beside others
that are further on.

What a member sees is a function of its own time, so it does not notice when it came. Shapes: K
members.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from mlplab.training.population import Population
from mlplab.training.stopping import EarlyStopping, Snapshot


def beginning(new: Population, epoch: int, first: int) -> Population:
    """A population as built, as members `first`, `first` + 1, ... of another whose clock has come
    to that epoch.
    """
    places = torch.arange(first, first + new.num_members)
    starts_K = torch.full((new.num_members,), epoch, dtype=torch.int64, device=new.theta_KP.device)
    return dataclasses.replace(new, members=places, start_K=starts_K)


def joined(whole: Population, before: Population, new: Population) -> Population:
    """Both as one population. `whole` is built anew from the settings of `before` and then of
    `new`: it brings data, numbers and seeds, they their states.
    """

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(before, name), getattr(new, name)])

    buffers = {
        name: torch.cat([value, new.buffers[name]]) for name, value in before.buffers.items()
    }
    return dataclasses.replace(
        whole,
        members=cat("members"),
        theta_KP=cat("theta_KP"),
        buffers=buffers,
        optimizer_state=_cat(before.optimizer_state, new.optimizer_state),
        schedule_state=_cat(before.schedule_state, new.schedule_state),
        watch=_watch(whole.watch, before.watch, new.watch),
        start_K=torch.cat([_starts(before), _starts(new)]),
    )


def _starts(population: Population) -> Tensor:
    if population.start_K is not None:
        return population.start_K
    return torch.zeros(population.num_members, dtype=torch.int64, device=population.theta_KP.device)


def _cat(before: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([value, new[name]]) for name, value in before.items()}


def _watch(whole: EarlyStopping, before: EarlyStopping, new: EarlyStopping) -> EarlyStopping:
    """In the place of the fresh one, whose limits are those of all."""
    for name, value in vars(before).items():
        if isinstance(value, Tensor) and name != "min_delta":
            setattr(whole, name, torch.cat([value, getattr(new, name)]))
    whole.best, whole.last = _kept(before.best, new.best), _kept(before.last, new.last)
    return whole


def _kept(before: Snapshot, new: Snapshot) -> Snapshot:
    return Snapshot(
        torch.cat([before.theta_KP, new.theta_KP]),
        _cat(before.buffers, new.buffers),
        torch.cat([before.step_K, new.step_K]),
    )

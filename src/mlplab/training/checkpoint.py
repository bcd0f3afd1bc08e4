"""The whole state of a training between two steps, as a tree of tensors and plain values, and a
loop put back into it.

Data order and dropout are functions of seed, epoch and step, so no generator is among it. Shapes: K
members, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mlplab.errors import StateError
from mlplab.training.history import Row
from mlplab.training.loop import Loop
from mlplab.training.population import Population
from mlplab.training.stopping import FINISHED, RUNNING, Snapshot

Tree: TypeAlias = dict[str, Any]
"""Dicts, lists, tuples, numbers, texts, None and tensors, nested."""

WATCHED = {
    "best_value_K": "best_value_K",
    "since_K": "evals_since_best_K",
    "state_K": "state_K",
    "diverged_step_K": "diverged_step_K",
}
"""Keys of the stored state of early stopping, and the attributes that they stand for."""


def capture(loop: Loop) -> Tree:
    """What `restore` needs, but for the rows of the journal. The tensors are the loop's own: write
    them before the next step.
    """
    return {
        "step": loop.step,
        "epoch": loop.epoch,
        "batch": loop.batch,
        "lr": loop.lr,
        "objectives": list(loop.objectives),
        "starts": list(loop.journal.starts),
        "now": _population(loop.now),
        "ended": [_population(population) for population in loop.ended],
    }


def _population(population: Population) -> Tree:
    watch = population.watch
    return {
        "members": population.members,
        "theta": population.theta_KP,
        "buffers": population.buffers,
        "optimizer": population.optimizer.export_state(population.optimizer_state),
        "schedule": population.schedule_state,
        "watch": {key: getattr(watch, attribute) for key, attribute in WATCHED.items()},
        "best": _kept(watch.best),
        "last": _kept(watch.last),
    }


def _kept(kept: Snapshot) -> Tree:
    return {"theta": kept.theta_KP, "buffers": kept.buffers, "step": kept.step_K}


def restore(loop: Loop, tree: Tree, rows: Sequence[Row]) -> None:
    """Put a loop that has not begun into the state. Raises StateError where a name, a shape or a
    type is another.
    """
    try:
        whole = loop.now
        if tree.get("starts"):
            loop.journal.starts, loop.journal.per_epoch = (
                [int(start) for start in tree["starts"]],
                whole.batches.per_epoch,
            )
            whole.start_K = torch.tensor(
                loop.journal.starts, dtype=torch.int64, device=whole.theta_KP.device
            )
            loop.expect(
                set((whole.watch.last_step_K + whole.start_K * whole.batches.per_epoch).tolist())
            )
        loop.now = _restored(whole, tree["now"])
        loop.ended = [_restored(whole, part) for part in tree["ended"]]
        loop.step, loop.epoch, loop.batch = (
            int(tree["step"]),
            int(tree["epoch"]),
            int(tree["batch"]),
        )
        loop.lr = _moved(tree["lr"], loop.now.theta_KP)
        loop.objectives = [_moved(value, loop.now.theta_KP) for value in tree["objectives"]]
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise StateError(
            f"The state is not one of this training: {type(error).__name__}: {error}"
        ) from error
    for row in rows:
        loop.journal.append(row)


def _restored(whole: Population, tree: Tree) -> Population:
    members = tree["members"]
    if (
        members.dtype != torch.int64
        or members.dim() != 1
        or not len(members)
        or members.min() < 0
        or members.max() >= whole.num_members
    ):
        raise StateError(
            f"The state is of other members than the {whole.num_members} of this training."
        )
    population = whole if torch.equal(members, whole.members) else whole.select(members)
    population.theta_KP = _like(population.theta_KP, tree["theta"], "theta")
    for name, value in population.buffers.items():  # in place: the objective holds this dictionary
        population.buffers[name] = _like(value, tree["buffers"][name], name)
    _require_plain(tree["optimizer"], population.theta_KP.numel())
    expected = population.optimizer_state
    population.optimizer_state = population.optimizer.import_state(
        population.theta_KP, tree["optimizer"]
    )
    _same(expected, population.optimizer_state, "the optimizer's state")
    population.schedule_state = {
        name: _like(value, tree["schedule"][name], name)
        for name, value in population.schedule_state.items()
    }
    watch = population.watch
    for key, attribute in WATCHED.items():
        setattr(watch, attribute, _like(getattr(watch, attribute), tree["watch"][key], key))
    watch.best, watch.last = (
        _as_kept(own, tree[key]) for own, key in ((watch.best, "best"), (watch.last, "last"))
    )
    longer_K = (watch.state_K == FINISHED) & (watch.last_step_K > watch.last.step_K)
    # a run that is made longer goes on
    watch.state_K = watch.state_K.masked_fill(longer_K, RUNNING)
    return population


def _as_kept(own: Snapshot, tree: Tree) -> Snapshot:
    buffers = {
        name: _like(value, tree["buffers"][name], name) for name, value in own.buffers.items()
    }
    return Snapshot(
        _like(own.theta_KP, tree["theta"], "theta"),
        buffers,
        _like(own.step_K, tree["step"], "step"),
    )


def _like(own: Tensor, value: Any, name: str) -> Tensor:
    """The value on the own tensor's device, where shape and type agree."""
    if not isinstance(value, Tensor) or value.shape != own.shape or value.dtype != own.dtype:
        found = (
            f"{value.dtype} {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise StateError(
            f"The state does not fit this network: {name} is {found}, and {own.dtype}"
            f" {list(own.shape)} is needed."
        )
    return value.to(own.device, copy=True)


def _same(expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    if expected.keys() != found.keys():
        raise StateError(
            f"The state does not fit this training: {what} has {', '.join(found) or 'nothing'}, not"
            f" {', '.join(expected)}."
        )
    for name, value in expected.items():
        if isinstance(value, Tensor):
            _like(value, found[name], f"{what}, {name}")


def _require_plain(tree: Any, most: int) -> None:
    """No tensor of a stored optimizer is larger than the parameters."""
    for value in (
        tree.values()
        if isinstance(tree, Mapping)
        else tree
        if isinstance(tree, (list, tuple))
        else ()
    ):
        if isinstance(value, Tensor) and value.numel() > most:
            raise StateError(
                f"The state does not fit this network: the optimizer's state has {value.numel()}"
                " numbers in one piece."
            )
        _require_plain(value, most)


def _moved(value: Any, like: Tensor) -> Any:
    return value.to(like.device, copy=True) if isinstance(value, Tensor) else value


def pack_rows(rows: Sequence[Row]) -> list[dict[str, Tensor]]:
    """Rows as few tensors: one piece for each stretch of rows with the same number of members."""
    pieces = []
    for _, stretch in groupby(rows, key=lambda row: len(row.members)):
        own = list(stretch)
        pieces.append(
            {
                "epoch": torch.tensor([row.epoch for row in own]),
                "step": torch.tensor([row.step for row in own]),
                "time": torch.tensor([row.time for row in own], dtype=torch.float64),
                "members": torch.from_numpy(np.stack([row.members for row in own])),
                "alive": torch.from_numpy(np.stack([row.alive for row in own])),
                "values": torch.from_numpy(np.stack([row.values for row in own])),
            }
        )
    return pieces


def unpack_rows(pieces: Sequence[Mapping[str, Tensor]]) -> list[Row]:
    """The rows again."""
    rows = []
    for piece in pieces:
        own = {name: value.numpy() for name, value in piece.items()}
        for e in range(len(own["epoch"])):
            rows.append(
                Row(
                    int(own["epoch"][e]),
                    int(own["step"][e]),
                    float(own["time"][e]),
                    own["members"][e].copy(),
                    own["alive"][e].copy(),
                    own["values"][e].copy(),
                )
            )
    return rows

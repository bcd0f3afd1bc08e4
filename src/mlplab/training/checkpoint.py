"""Capture the complete state of a training between two steps, and restore a group to it.

The state is a tree of tensors and plain values. It contains no random generator, since data order
and dropout are functions of seed, epoch and step. Shapes: K members, P parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mlplab.errors import StateError
from mlplab.io.reading import fault_of
from mlplab.training.averaging import Averaging
from mlplab.training.outcome import Logged
from mlplab.training.population import Population
from mlplab.training.rows import Row, RowBlock, Rows
from mlplab.training.steppers import Group
from mlplab.training.stopping import FINISHED, RUNNING, EarlyStopping, Snapshot

Tree: TypeAlias = dict[str, Any]
"""Nested dicts, lists, tuples, numbers, strings, None and tensors."""

EARLY_STOPPING_KEYS = {
    "best_value_K": "best_value_K",
    "since_K": "evals_since_best_K",
    "state_K": "state_K",
    "diverged_step_K": "diverged_step_K",
}
"""Stored keys of the early stopping state -> the attributes of EarlyStopping."""


def capture(group: Group) -> Tree:
    """Return the state that `restore` needs, except the rows of the history buffer.

    The tensors are the group's, not copies: write them before the next step.
    """
    return {
        **group.stepper.state(),
        "starts": list(group.history_buffer.starts),
        "reasons": dict(group.reasons),
        "logged": {index: _packed(logged) for index, logged in group.logged.items()},
        "now": _population(group.population),
        "ended": [_population(population) for population in group.ended],
    }


def _population(population: Population) -> Tree:
    early_stopping, averaging = population.early_stopping, population.averaging
    return {
        "members": population.members,
        "theta": population.theta_KP,
        "buffers": population.buffers,
        "optimizer": population.optimizer.export_state(population.optimizer_state),
        "schedule": population.schedule_state,
        "watch": {
            key: getattr(early_stopping, attribute)
            for key, attribute in EARLY_STOPPING_KEYS.items()
        },
        "best": _snapshot(early_stopping.best),
        "last": _snapshot(early_stopping.last),
        **({} if averaging is None else {"average": _average(averaging)}),
    }


def _average(averaging: Averaging) -> Tree:
    return {"theta": averaging.theta_KP, "count": averaging.count_K}


def _snapshot(snapshot: Snapshot) -> Tree:
    return {
        "theta": snapshot.theta_KP,
        "buffers": snapshot.buffers,
        "step": snapshot.step_K,
    }


def _packed(logged: Logged) -> Tree:
    return {
        "scalars": {
            name: torch.tensor(rows, dtype=torch.float64) for name, rows in logged.scalars.items()
        },
        "artifacts": {
            name: torch.tensor(list(data), dtype=torch.uint8)
            for name, data in logged.artifacts.items()
        },
    }


def _unpacked(tree: Tree) -> Logged:
    return Logged(
        {
            name: [(int(step), value, at) for step, value, at in rows.tolist()]
            for name, rows in tree["scalars"].items()
        },
        {name: bytes(data.tolist()) for name, data in tree["artifacts"].items()},
    )


def restore(group: Group, tree: Tree, rows: Sequence[Row]) -> None:
    """Restore the state to a group that has not started, and its history from `rows`.

    Raises StateError if a name, shape or type differs from this training's.
    """
    try:
        whole, buffer = group.population, group.history_buffer
        if tree.get("starts"):
            buffer.starts = [int(start) for start in tree["starts"]]
            buffer.per_epoch = whole.batches.per_epoch
            whole.start_K = torch.tensor(buffer.starts, device=whole.theta_KP.device)
        group.population = _restored(whole, tree["now"])
        group.ended = [_restored(whole, ended) for ended in tree["ended"]]
        group.reasons = {int(k): str(reason) for k, reason in tree.get("reasons", {}).items()}
        group.logged = {int(k): _unpacked(t) for k, t in tree.get("logged", {}).items()}
        group.stepper.load(tree)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise StateError(
            f"The state does not belong to this training: {fault_of(error)}"
        ) from error
    buffer.rows += rows


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
            f"The state has other members than the {whole.num_members} of this training."
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
    _check_same_keys(expected, population.optimizer_state, "the optimizer's state")
    population.schedule_state = {
        name: _like(value, tree["schedule"][name], name)
        for name, value in population.schedule_state.items()
    }
    _restore_early_stopping(population.early_stopping, tree)
    if (averaging := population.averaging) is not None:
        stored = tree["average"]
        averaging.theta_KP = _like(averaging.theta_KP, stored["theta"], "average")
        averaging.count_K = _like(averaging.count_K, stored["count"], "count of the average")
    return population


def _restore_early_stopping(early_stopping: EarlyStopping, tree: Tree) -> None:
    for key, attribute in EARLY_STOPPING_KEYS.items():
        value = _like(getattr(early_stopping, attribute), tree["watch"][key], key)
        setattr(early_stopping, attribute, value)
    early_stopping.best = _restored_snapshot(early_stopping.best, tree["best"])
    early_stopping.last = _restored_snapshot(early_stopping.last, tree["last"])
    # a member that had finished continues if the run is now longer
    longer_K = (early_stopping.state_K == FINISHED) & (
        early_stopping.last_step_K > early_stopping.last.step_K
    )
    early_stopping.state_K = early_stopping.state_K.masked_fill(longer_K, RUNNING)


def _restored_snapshot(expected: Snapshot, tree: Tree) -> Snapshot:
    buffers = {
        name: _like(value, tree["buffers"][name], name) for name, value in expected.buffers.items()
    }
    return Snapshot(
        _like(expected.theta_KP, tree["theta"], "theta"),
        buffers,
        _like(expected.step_K, tree["step"], "step"),
    )


def _like(expected: Tensor, value: object, name: str) -> Tensor:
    """A copy of the value on the expected tensor's device; StateError if shape or type differ."""
    if (
        not isinstance(value, Tensor)
        or value.shape != expected.shape
        or value.dtype != expected.dtype
    ):
        description = (
            f"{value.dtype} {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise StateError(
            f"The state does not fit this network: {name} is {description}, but {expected.dtype}"
            f" {list(expected.shape)} is needed."
        )
    return value.to(expected.device, copy=True)


def _check_same_keys(
    expected: Mapping[str, object], restored: Mapping[str, object], what: str
) -> None:
    if expected.keys() != restored.keys():
        raise StateError(
            f"The state does not fit this training: {what} has"
            f" {', '.join(restored) or 'nothing'}, not {', '.join(expected)}."
        )
    for name, value in expected.items():
        if isinstance(value, Tensor):
            _like(value, restored[name], f"{what}, {name}")


def _require_plain(tree: object, max_numel: int) -> None:
    """Raise StateError if a tensor of a stored optimizer is larger than all parameters."""
    for value in (
        tree.values()
        if isinstance(tree, Mapping)
        else tree
        if isinstance(tree, (list, tuple))
        else ()
    ):
        if isinstance(value, Tensor) and value.numel() > max_numel:
            raise StateError(
                "The state does not fit this network: a tensor of the optimizer's state has"
                f" {value.numel()} numbers, more than all parameters ({max_numel})."
            )
        _require_plain(value, max_numel)


def pack_rows(rows: Sequence[Row]) -> list[dict[str, Tensor]]:
    """Pack rows into few tensors: one record per sequence of rows with as many members."""
    records = []
    for _, consecutive in itertools.groupby(rows, key=lambda row: len(row.members)):
        group = list(consecutive)
        records.append(
            {
                "epoch": torch.tensor([row.epoch for row in group]),
                "step": torch.tensor([row.step for row in group]),
                "time": torch.tensor([row.time for row in group], dtype=torch.float64),
                "members": torch.from_numpy(np.stack([row.members for row in group])),
                "alive": torch.from_numpy(np.stack([row.alive for row in group])),
                "values": torch.from_numpy(np.stack([row.values for row in group])),
            }
        )
    return records


def unpack_rows(records: Sequence[Mapping[str, Tensor]]) -> Rows:
    """Restore the rows from the records of `pack_rows`."""
    rows = Rows()
    for record in records:
        columns = {name: value.numpy().copy() for name, value in record.items()}
        members = columns.pop("members")
        changes = (members[1:] != members[:-1]).any(1).nonzero()[0] + 1
        for first, last in itertools.pairwise([0, *changes.tolist(), len(members)]):
            fields = {name: column[first:last] for name, column in columns.items()}
            rows.append(RowBlock(members=members[first], **fields))
    return rows

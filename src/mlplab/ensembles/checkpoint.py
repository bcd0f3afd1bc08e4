"""The checkpoints of a packed ensemble: all groups of its session, and the state of the selection.

In all else they are those of a single run: the same files, keys and checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mlplab.config.override_lines import key_of
from mlplab.ensembles.training import Candidate, PackedTraining, Round, Selection
from mlplab.errors import CheckpointError, StateError
from mlplab.io.reading import fault_of
from mlplab.runs.checkpoint_callback import CheckpointCallback, Content
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.resume_checks import RESUMABLE_KEYS
from mlplab.runs.signals import Signals
from mlplab.settings import Tracking
from mlplab.terminal.suggested import rerun_command
from mlplab.training import Group, Session
from mlplab.training.checkpoint import Tree, capture, pack_rows, restore, unpack_rows

VERSION = 1
"""Of the tree that a checkpoint stores."""


class PackedCheckpoints(CheckpointCallback):
    """Saves the whole ensemble, whichever group pauses. Checkpoints by epochs follow a selection,
    at which all groups are at the same epoch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        tracking: Tracking,
        signals: Signals,
        training: PackedTraining,
        **options: Any,
    ) -> None:
        super().__init__(checkpoints, tracking, signals, **options)
        self.training, self.every, self.epochs = training, self.epochs, None
        self._saved_rows: dict[int, int] = {}  # of each group, by its first member
        self._saved_epoch = 0

    def after_selection(self, session: Session) -> None:
        """Save if a checkpoint is due, and stop the training after a signal."""
        if self.should_pause(session, session.groups[0]):
            self.on_pause(session, session.groups[0])
        elif self.every is not None and self.training.epoch >= self._saved_epoch + self.every:
            self.save(session, session.groups[0])

    def step_of(self, session: Session, group: Group) -> int:
        # the steps of all groups together: any of them may have trained since the last checkpoint
        return sum(one.stepper.step for one in session.groups)

    def content(self, session: Session, group: Group) -> Content:
        state: list[Tree] = []
        records = []
        for one in session.groups:
            session.read(one)
            key = one.numbers[0]
            state.append({"numbers": list(one.numbers), "loop": capture(one)})
            rows = one.history_buffer.rows[self._saved_rows.get(key, 0) :]
            records += [{**record, "group": torch.tensor(key)} for record in pack_rows(rows)]
        epoch = max(one.stepper.epoch for one in session.groups)
        tree = {"version": VERSION, "groups": state, "ensemble": _tree(self.training)}
        return Content(epoch, tree, records)

    def count_saved(self, session: Session, group: Group) -> None:
        self._saved_rows = {g.numbers[0]: len(g.history_buffer.rows) for g in session.groups}
        self._saved_epoch = self.training.epoch

    def restore_session(self, session: Session, saved: Saved) -> None:
        """Restore a new session and the selection to the checkpoint.

        Raises CheckpointError if it has other members, and StateError if it belongs to another run.
        """
        assert self.checkpoints is not None  # the constructor takes no None
        run_folder = self.checkpoints.folder.parent
        try:
            tree = saved.tree
            if tree.get("version") != VERSION:
                raise CheckpointError(
                    f"The checkpoint of step {saved.step} has version {tree.get('version')} of an"
                    f" ensemble's state; this version of mlplab reads {VERSION}."
                )
            _check_members(self.training, session, tree, saved.step, run_folder)
            records: dict[int, list[Any]] = {}
            for record in saved.history:
                columns = dict(record)
                records.setdefault(int(columns.pop("group")), []).append(columns)
            for group, stored in zip(session.groups, tree["groups"], strict=True):
                rows = unpack_rows(records.get(group.numbers[0], []))
                restore(group, stored["loop"], rows)
            _load(self.training, tree["ensemble"])
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, (CheckpointError, StateError)):
                raise
            raise StateError(
                f"The checkpoint of step {saved.step} does not belong to this training:"
                f" {fault_of(error)}"
            ) from error
        self.continue_from(saved, session.groups[0])
        self.count_saved(session, session.groups[0])


def _check_members(
    training: PackedTraining, session: Session, tree: Mapping[str, Any], step: int, run_folder: Path
) -> None:
    """Raise CheckpointError if the members differ from those of the checkpoint."""
    new_run = rerun_command(run_folder)
    stored = tree["ensemble"]["overrides"]
    if list(map(_fixed, stored)) != list(map(_fixed, training.overrides)):
        raise CheckpointError(
            f"The checkpoint of step {step} has members with other hyperparameters: the ranges that"
            f" they are sampled from have changed. Restore `ensemble_ranges`, or start a new run:"
            f" {new_run}"
        )
    now = [list(group.numbers) for group in session.groups]
    if [one["numbers"] for one in tree["groups"]] != now:
        raise CheckpointError(
            f"The checkpoint of step {step} groups its members otherwise, as another engine or"
            f" version does: continue where it was saved, or start a new run: {new_run}"
        )


def _fixed(lines: Sequence[str]) -> list[str]:
    """The overrides of a member without keys that may change when a run is resumed."""
    return [line for line in lines if key_of(line) not in RESUMABLE_KEYS]


def _tree(training: PackedTraining) -> Tree:
    """The state of the selection; a candidate that is used several times is stored once."""
    selections = [one for one in (training.latest, training.best) if one is not None]
    used = [*training.candidates.values(), *(c for one in selections for c, _ in one.chosen)]
    index = {key: i for i, key in enumerate(dict.fromkeys(one.key for one in used))}
    by_key = {one.key: one for one in used}
    return {
        "epoch": training.epoch,
        "overrides": [list(lines) for lines in training.overrides],
        "retired": list(training.retired),
        "pool": [_candidate(by_key[key]) for key in index],
        "candidates": [index[one.key] for one in training.candidates.values()],
        "latest": _selection(training.latest, index),
        "best": _selection(training.best, index),
        "history": [
            [one.epoch, one.score, one.best_member, one.in_training, list(one.weights), one.time]
            for one in training.history
        ],
    }


def _candidate(one: Candidate) -> Tree:
    return {
        "member": one.member,
        "epochs": list(one.epochs),
        "score": one.score,
        "scores": torch.from_numpy(one.scores_NC),
        "models": [
            {
                "theta": model.theta_KP[0],
                "buffers": {name: value[0] for name, value in model.buffers.items()},
            }
            for model in one.models
        ],
    }


def _selection(one: Selection | None, index: Mapping[tuple[int, ...], int]) -> Tree | None:
    if one is None:
        return None
    chosen = [(index[candidate.key], weight) for candidate, weight in one.chosen]
    return {"epoch": one.epoch, "score": one.score, "chosen": chosen}


def _load(training: PackedTraining, tree: Mapping[str, Any]) -> None:
    pool = [_loaded(training, one) for one in tree["pool"]]
    training.epoch, training.retired = int(tree["epoch"]), [int(n) for n in tree["retired"]]
    training.candidates = {pool[i].member: pool[i] for i in tree["candidates"]}
    training.latest = _loaded_selection(tree["latest"], pool)
    training.best = _loaded_selection(tree["best"], pool)
    training.history = [
        Round(epoch, score, best, in_training, tuple((m, e, w) for m, e, w in weights), time)
        for epoch, score, best, in_training, weights, time in tree["history"]
    ]


def _loaded(training: PackedTraining, tree: Mapping[str, Any]) -> Candidate:
    member, folds = int(tree["member"]), training.val.num_folds
    models = tuple(
        training.model(member * folds + fold, one["theta"], one["buffers"])
        for fold, one in enumerate(tree["models"])
    )
    epochs = tuple(int(epoch) for epoch in tree["epochs"])
    return Candidate(member, epochs, models, tree["scores"].numpy().copy(), float(tree["score"]))


def _loaded_selection(
    tree: Mapping[str, Any] | None, pool: Sequence[Candidate]
) -> Selection | None:
    if tree is None:
        return None
    chosen = tuple((pool[i], float(weight)) for i, weight in tree["chosen"])
    return Selection(int(tree["epoch"]), float(tree["score"]), chosen)

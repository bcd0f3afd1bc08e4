"""Checks that a checkpoint belongs to a run: its configuration, its data, and its machine."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlplab.config.override_lines import key_of
from mlplab.config.root import ADDED_GROUPS
from mlplab.data.preparation.examples import Prepared
from mlplab.errors import CheckpointError, ConfigError
from mlplab.runs.checkpoints import Saved, newest, read
from mlplab.runs.fingerprint import differences, fingerprint
from mlplab.runs.flat_config import dotted
from mlplab.runs.run_index import summary_of
from mlplab.settings import Settings
from mlplab.terminal.suggested import rerun_command
from mlplab.training import PreparedMember

RESULT_NEUTRAL_KEYS = ("name", "tracking", "device", "deterministic")
"""Top-level keys that do not affect the numbers of a run."""
RESUMABLE_KEYS = (
    *("training.epochs", "training.steps", "training.patience", "training.time_limit", "engine"),
    *RESULT_NEUTRAL_KEYS,
)
"""Keys that may change when a run is resumed."""
_UNSTORED = (
    *(*ADDED_GROUPS.items(), ("engine", "auto"), ("debug", None), ("init_from", None)),
    *(("ensemble", None), ("ensemble_ranges", None)),
)
"""Keys with a value that is left out of checkpoints, since older ones do not have them."""
_UNSTORED_OF_GROUP: Mapping[str, Sequence[tuple[str, object]]] = {
    "dataset": (
        *(("features", None), ("max_onehot", 9), ("embedding_size", 8), ("min_frequency", None)),
        *(("target_clamp", False), ("thousands", None), ("sheet", None)),
    ),
    "optimizer": (("form", "standard"),),
    "training": (
        *(("average", "none"), ("average_decay", 0.99), ("average_start", None)),
        *(("time_limit", None), ("calibration", "none")),
    ),
}
"""The same, of the keys of a group."""


def changed_keys(folder: Path, changes: Sequence[str]) -> list[str]:
    """Return the keys of overrides for a resume. Raises ConfigError if one would make it a
    different training.
    """
    keys = list(map(key_of, changes))
    for key in keys:
        if key not in RESUMABLE_KEYS and key.partition(".")[0] not in RESULT_NEUTRAL_KEYS:
            raise ConfigError(
                f"`{key}` cannot change when a run is resumed, since that would be a different"
                f" training. Only {', '.join(RESUMABLE_KEYS)} can. To start a new run:"
                f" {rerun_command(folder, changes)}"
            )
    return keys


def identity(member: PreparedMember, device: torch.device) -> dict[str, Any]:
    """Return what a manifest stores about the run of its state."""
    nodes = result_config(member.settings.config)
    stored = {key: stored_node(key, node) for key, node in nodes.items()}
    return {
        "config": dict(sorted(dotted(stored))),
        "data_hash": member.prepared.data_hash,
        "split_hash": split_hash(member.prepared),
        "fingerprint": fingerprint(device, member.settings.dtype, 1, member.settings.engine),
    }


def result_config(config: Mapping[str, object]) -> dict[str, object]:
    """Return the nodes of a configuration that affect its numbers, without those of _UNSTORED."""
    return {
        key: value
        for key, value in config.items()
        if key not in RESULT_NEUTRAL_KEYS and (key, value) not in _UNSTORED
    }


def stored_node(key: str, node: object) -> object:
    """Return a node of a configuration without keys and values that older versions do not have."""
    unstored = _UNSTORED_OF_GROUP.get(key)
    if unstored is None or not isinstance(node, Mapping):
        return node
    if key == "dataset" and "ignore" in node:  # tables of files have always had `features`
        unstored = [entry for entry in unstored if entry[0] != "features"]
    return {name: value for name, value in node.items() if (name, value) not in unstored}


def split_hash(prepared: Prepared) -> str:
    """Return a digest of the splits used for training: their shapes and up to a thousand rows from
    each end.
    """
    digest = hashlib.sha256()
    for split in (prepared.train, prepared.val, prepared.test):
        if split is not None:
            digest.update(repr((split.x.shape, split.y.shape)).encode())
            for values in (split.x[:1000], split.x[-1000:], split.y[:1000], split.y[-1000:]):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def is_finished(folder: Path, allowed: Sequence[str]) -> bool:
    """Whether there is nothing left to train: the run diverged, or it is done and no `allowed` key
    can make it longer.
    """
    status = summary_of(folder).get("status")
    return status == "diverged" or (
        status == "done" and not any(key.startswith("training.") for key in allowed)
    )


def find_checkpoint(folder: Path, step: int | None) -> tuple[Saved | None, list[str]]:
    """Return the checkpoint to resume from (None if none was ever saved) and the problems of
    damaged ones.

    If `step` is set, only that checkpoint is read. Raises CheckpointError if it is damaged, or all
    are: a training must not restart silently.
    """
    if step is not None:
        return read(folder / "checkpoints", step), []
    try:
        return newest(folder / "checkpoints")
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} The training does not restart from the beginning by itself; to start it"
            f" again: {rerun_command(folder)}"
        ) from error


def with_saved_engine(settings: Settings, saved: Saved | None, allowed: Sequence[str]) -> Settings:
    """Return the settings of a resume: with `engine=auto`, torch continues what it began, unless
    the user typed the key.
    """
    began_eager = saved is not None and _engine_of(saved) == "eager"
    if began_eager and settings.engine == "auto" and "engine" not in allowed:
        return dataclasses.replace(settings, engine="eager")
    return settings


def _engine_of(saved: Saved) -> str:
    return str(saved.manifest["fingerprint"].get("engine", "eager"))


def refuse_shorter(folder: Path, saved: Saved | None, settings: Settings) -> None:
    """Raise ConfigError if the length of the training is below what the run has trained: its
    results would be lost, or state a length that is not theirs.
    """
    summary = summary_of(folder)
    planned = {"epochs": settings.training.epochs, "steps": settings.training.steps}
    key = "epochs" if planned["steps"] is None else "steps"
    length, stated = planned[key], summary.get(key)
    trained = stated if isinstance(stated, int) else 0
    if saved is not None:
        trained = max(trained, saved.step if key == "steps" else int(saved.manifest["epoch"]))
    if length is not None and trained > length:
        raise ConfigError(
            f"training.{key}={length}: {folder} has trained {trained:,} {key} already, and a run"
            " can only be resumed to a greater length. For a shorter one:"
            f" {rerun_command(folder, [f'training.{key}={length}'])}"
        )


def check_compatible(
    folder: Path,
    saved: Saved | None,
    member: PreparedMember,
    device: torch.device,
    allowed: Sequence[str],
    log: logging.Logger,
) -> None:
    """Raise CheckpointError if the checkpoint has another configuration or other data, or, with
    deterministic=true, if it is from another machine.
    """
    if not summary_of(folder):
        log.warning(
            "the previous process was killed, or its machine failed: the run has no summary"
        )
    if saved is None:
        log.info("no checkpoint yet: starting from the beginning")
        return
    now = identity(member, device)
    changed = config_changes(saved.manifest["config"], now["config"])
    refused = [text for key, text in changed.items() if key not in allowed]
    if refused:
        raise CheckpointError(
            f"The checkpoint of step {saved.step} has another configuration:"
            f" {'; '.join(refused)}. Only {', '.join(RESUMABLE_KEYS)} may change when a run is"
            f" resumed. Restore the configuration, or start a new run: {rerun_command(folder)}"
        )
    engines = _engine_of(saved), member.settings.engine
    if engines[0] != engines[1] and "engine" not in allowed:
        raise CheckpointError(
            f"The checkpoint of step {saved.step} was saved by engine={engines[0]}, and"
            f" engine={engines[1]} rounds differently. To allow that, resume with"
            f" engine={engines[1]}."
        )
    for key, what in (("data_hash", "data"), ("split_hash", "split")):
        if saved.manifest[key] != now[key]:
            raise CheckpointError(
                f"The {what} changed since the checkpoint of step {saved.step} was saved"
                f" ({saved.manifest[key][:12]} is now {now[key][:12]}): the run would continue with"
                " other examples. Restore the old data, or start a new run:"
                f" {rerun_command(folder)}"
            )
    log.info("from the checkpoint of step %d, epoch %d", saved.step, saved.manifest["epoch"])
    if changes := machine_changes(saved, now["fingerprint"]):
        text = (
            f"not bit-exact: the checkpoint was saved under other conditions ({'; '.join(changes)})"
        )
        if member.settings.deterministic:
            raise CheckpointError(
                f"deterministic=true does not allow this resume: the result would be {text}."
            )
        log.warning(text)


def machine_changes(saved: Saved, now: Mapping[str, object]) -> list[str]:
    """Return the differences between the conditions of the checkpoint and now, without the setting
    `deterministic`.
    """
    return differences(
        saved.manifest["fingerprint"],
        {key: value for key, value in now.items() if key != "deterministic"},
    )


def config_changes(stored: Mapping[str, object], now: Mapping[str, object]) -> dict[str, str]:
    """Return key -> "key: old is now new" for each key that differs."""
    missing = object()
    keys = [key for key in {**stored, **now} if stored.get(key, missing) != now.get(key, missing)]
    return {key: f"{key}: {stored.get(key)!r} is now {now.get(key)!r}" for key in keys}

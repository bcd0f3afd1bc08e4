"""Whether a checkpoint belongs to a run: its configuration, its data, and the machine that it was
made on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.data.preparation.examples import Prepared
from mlplab.errors import CheckpointError
from mlplab.runs.checkpoints import Saved, newest, read
from mlplab.runs.fingerprint import differences, fingerprint
from mlplab.runs.run_index import summary_of
from mlplab.training import Loop, PreparedMember

RESULT_NEUTRAL_KEYS = ("name", "tracking", "device", "deterministic")
"""What a run may change without changing what it computes."""
SAFE = ("training.epochs", "training.steps", "training.patience", *RESULT_NEUTRAL_KEYS)
"""What may be changed when a run is resumed."""


def identity(member: PreparedMember, loop: Loop) -> dict[str, Any]:
    """What a manifest says of the run whose state it is."""
    return {
        "config": flat_result_config(member.settings.config),
        "data_hash": member.prepared.data_hash,
        "split_hash": split_hash(member.prepared),
        "fingerprint": fingerprint(loop.population.theta_KP.device, member.settings.dtype, 1),
    }


def flat_result_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that decide its numbers: "optimizer.lr" -> 0.01."""
    return dict(sorted(flat(result_config(config)).items()))


def result_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes that decide. A single division of the data is what there was before there were
    others, and is not named.
    """
    plain = {"validation"} if config.get("validation") == {"name": "holdout"} else set()
    return {
        key: value
        for key, value in config.items()
        if key not in RESULT_NEUTRAL_KEYS and key not in plain
    }


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by points."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def split_hash(prepared: Prepared) -> str:
    """A digest of the parts as training sees them: their sizes, and up to a thousand rows from each
    end.
    """
    digest = hashlib.sha256()
    for part in (prepared.train, prepared.val, prepared.test):
        if part is not None:
            digest.update(repr((part.x.shape, part.y.shape)).encode())
            for values in (part.x[:1000], part.x[-1000:], part.y[:1000], part.y[-1000:]):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def is_finished(folder: Path, allowed: Sequence[str]) -> bool:
    """Whether there is nothing left to train: the run diverged, or is done and nothing is allowed
    that could make it longer.
    """
    status = summary_of(folder).get("status")
    return status == "diverged" or (
        status == "done" and not any(key.startswith("training.") for key in allowed)
    )


def find(folder: Path, step: int | None) -> tuple[Saved | None, list[str]]:
    """The checkpoint to go on from, and complaints about damaged ones; None where none was ever
    saved.

    A step that is named is read or refused: nothing is put in its place.
    """
    if step is not None:
        return read(folder / "checkpoints", step), []
    return newest(folder / "checkpoints")


def check_compatible(
    folder: Path,
    saved: Saved | None,
    member: PreparedMember,
    loop: Loop,
    allowed: Sequence[str],
    log: logging.Logger,
) -> None:
    """Raise CheckpointError where the checkpoint is of another configuration or other data, or, in
    strict mode, of another machine.
    """
    if not summary_of(folder):
        log.warning(
            "the process before this one was killed, or lost its machine: the run has no end"
        )
    if saved is None:
        log.info("no checkpoint yet: from the start")
        return
    now = identity(member, loop)
    changed = config_changes(saved.manifest["config"], now["config"])
    refused = [text for key, text in changed.items() if key not in allowed]
    if refused:
        raise CheckpointError(
            f"The checkpoint of step {saved.step} is of another configuration:"
            f" {'; '.join(refused)}. Start a run of its own with `mlplab rerun`, or put the"
            f" configuration back. Only {', '.join(SAFE)} may change when a run is resumed."
        )
    for key, what in (("data_hash", "data"), ("split_hash", "split")):
        if saved.manifest[key] != now[key]:
            raise CheckpointError(
                f"The {what} changed since the checkpoint of step {saved.step} was saved"
                f" ({saved.manifest[key][:12]} is now {now[key][:12]}): the run would go on with"
                " other examples. Bring the old data back, or start a run of its own with `mlplab"
                " rerun`."
            )
    log.info("from the checkpoint of step %d, epoch %d", saved.step, saved.manifest["epoch"])
    if found := machine_changes(saved, now["fingerprint"]):
        text = f"not bit-exact: the checkpoint was made under other conditions ({'; '.join(found)})"
        if member.settings.deterministic:
            raise CheckpointError(
                f"deterministic=true refuses to resume, since the result would be {text}."
            )
        log.warning(text)


def machine_changes(saved: Saved, now: Mapping[str, Any]) -> list[str]:
    """What differs between the machine of the checkpoint and this one; `deterministic` may be
    switched.
    """
    return differences(
        saved.manifest["fingerprint"],
        {key: value for key, value in now.items() if key != "deterministic"},
    )


def config_changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Key -> "key: old is now new", for those that differ."""
    absent = object()
    keys = [key for key in {**stored, **now} if stored.get(key, absent) != now.get(key, absent)]
    return {key: f"{key}: {stored.get(key)!r} is now {now.get(key)!r}" for key in keys}

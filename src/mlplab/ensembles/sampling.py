"""The hyperparameters of the members: sampled from ranges as a function of (seed, member)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.config.override_lines import key_of
from mlplab.config.root import GROUPS
from mlplab.config.search_path import shipped_folder
from mlplab.config.search_space import Dimension, choose, dimensions_of, trial_overrides
from mlplab.errors import ConfigError
from mlplab.io.files import parse_yaml, yaml_line
from mlplab.io.reading import reading

VERSION = 2
SOURCE = "ensemble_ranges"
STRATA = 8
"""The parts of an interval that as many consecutive members sample, each one."""

VARIABLE = ("activation", "embedding", "initializer", "loss", "model", "optimizer", "schedule")
"""Groups whose choice and keys may differ between members; of training, all keys but these."""
SHARED_TRAINING_KEYS = ("calibration", "monitor", "time_limit")


@dataclass(frozen=True)
class Ranges:
    """What members sample: a value for each dimension of `ranges`, beside the values `fixed`.

    The share `unchanged` of the members samples nothing: they have the settings of the ensemble.
    """

    unchanged: float
    fixed: Mapping[str, object]
    ranges: Mapping[str, object]

    @cached_property
    def space(self) -> list[Dimension]:
        """The dimensions, each after those in its conditions. Raises ConfigError."""
        return dimensions_of(self.ranges, SOURCE)

    def sample(self, seed: int, member: int) -> list[str]:
        """Return the overrides of a member. The share of a key's range at which its value is
        depends on no other key.
        """
        if math.floor((member + 1) * self.unchanged) > math.floor(member * self.unchanged):
            return []
        fixed = [f"{key}={yaml_line(value, json.dumps)}" for key, value in self.fixed.items()]
        params = choose(self.space, lambda one: one.at(_share(one, seed, member)))
        return [*fixed, *trial_overrides(params, SOURCE)]

    def stored(self) -> dict[str, object]:
        """Return the form that the configuration of the run stores: with it, a resumed run samples
        the same, whatever was typed and whatever a later version ships.
        """
        return {
            "version": VERSION,
            "unchanged": self.unchanged,
            "fixed": dict(self.fixed),
            "ranges": dict(self.ranges),
        }


def load_ranges(changes: object, typed: Sequence[str]) -> Ranges:
    """Return the shipped ranges with the user's changes, without keys and groups that were typed.

    `changes` is a mapping of keys to ranges, the path of a YAML file, or None; or what `stored`
    returned, which is complete. Raises ConfigError.
    """
    default, user = _read(shipped_folder() / "ensemble.yaml"), _user(changes)
    if isinstance(changes, Mapping) and "version" in changes:
        default, user = user, _user(None)
    keys = {key_of(line) for line in typed}
    names = {**default["fixed"], **default["ranges"]}
    chosen: dict[str, dict[str, Any]] = {}
    for name, other in (("fixed", "ranges"), ("ranges", "fixed")):
        kept = {k: v for k, v in default[name].items() if not _is_typed(k, keys, names)}
        merged = {**kept, **user[name]}
        chosen[name] = {k: v for k, v in merged.items() if k in user[name] or k not in user[other]}
    for key in (*chosen["fixed"], *chosen["ranges"]):
        _check_variable(str(key))
    unchanged = user.get("unchanged", default.get("unchanged", 0.0))
    loaded = Ranges(unchanged, chosen["fixed"], chosen["ranges"])
    loaded.sample(0, 0)  # tells mistakes in the ranges now
    return loaded


def _share(dimension: Dimension, seed: int, member: int) -> float:
    """The share of its range at which a member's value is, in [0, 1).

    Each block of as many members as there are choices samples every choice once, and each block of
    `STRATA` members every part of an interval: a small ensemble has all kinds of members.
    """
    count = len(dimension.choices) or STRATA
    block, index = divmod(member, count)
    key = int.from_bytes(hashlib.sha256(dimension.name.encode()).digest()[:8], "little")
    position = np.random.default_rng([seed, block, key]).permutation(count)[index]
    within = np.random.default_rng([seed, member, key, 1]).random()
    return float((position + within) / count)


def _is_typed(key: str, typed: set[str], shipped: Mapping[str, object]) -> bool:
    """Whether the key was typed, or its group, whose other choices have other scales. A typed key
    of a group whose choice the members would sample fixes the group: other choices may lack it.
    """
    group = key.partition(".")[0]
    of_group = any(line.partition(".")[0] == group for line in typed)
    return key in typed or group in typed or (of_group and group in shipped)


def _check_variable(key: str) -> None:
    """Raise ConfigError if the members of an ensemble cannot differ in this key."""
    group, _, name = key.partition(".")
    if key.startswith("$") or group in VARIABLE:
        return
    if group == "training" and name and name not in SHARED_TRAINING_KEYS:
        return
    reason = (
        "they are selected on one split of one table by one metric"
        if group in GROUPS
        else f"a range is of a key of {', '.join(VARIABLE)} or training"
    )
    raise ConfigError(f"`{SOURCE}`: `{key}` is the same for all members of an ensemble: {reason}.")


def _user(changes: object) -> dict[str, Any]:
    """The user's changes in the form of a file."""
    if changes is None:
        return {"fixed": {}, "ranges": {}}
    if isinstance(changes, str):
        return _read(Path(changes))
    if not isinstance(changes, Mapping):
        raise ConfigError(
            f"`{SOURCE}` is a YAML file, or a mapping such as"
            " {optimizer.lr: 'tag(log,interval(0.001,0.01))'}."
        )
    if "version" in changes:
        return _checked(dict(changes), f"`{SOURCE}`")
    return {"fixed": {}, "ranges": dict(changes)}


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file, with empty mappings for those that it lacks."""
    if not path.is_file():
        raise ConfigError(f"`{SOURCE} = {path}`: there is no such file.")
    with reading(path, "Correct the file, or choose another one."):
        content = parse_yaml(path.read_text())
    return _checked(content, str(path))


def _checked(content: object, source: str) -> dict[str, Any]:
    keys = {"version", "unchanged", "fixed", "ranges"}
    if not isinstance(content, dict) or content.get("version") != VERSION or set(content) - keys:
        raise ConfigError(
            f"{source} needs `version: {VERSION}`, and of the keys unchanged, fixed and ranges"
            " those that it changes; configs/ensemble.yaml is an example."
        )
    content = {"fixed": {}, "ranges": {}, **{k: v for k, v in content.items() if v is not None}}
    if not isinstance(content["fixed"], dict) or not isinstance(content["ranges"], dict):
        raise ConfigError(f"{source}: `fixed` and `ranges` are mappings of keys to values.")
    share = content.get("unchanged", 0.0)
    if not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ConfigError(f"{source}: `unchanged` is {share!r}, but it is a share from 0 to 1.")
    return content

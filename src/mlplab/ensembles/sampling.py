"""The hyperparameters of the members: sampled from ranges as a function of (seed, member)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.config.override_lines import key_of
from mlplab.config.search_path import shipped_folder
from mlplab.errors import ConfigError
from mlplab.io.files import parse_yaml, yaml_line
from mlplab.io.reading import reading

VERSION = 1
_KINDS = ("choice", "uniform", "log_uniform")


@dataclass(frozen=True)
class Ranges:
    """What members sample: `fixed` values of groups and keys, and a range of each other key."""

    fixed: Mapping[str, object] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def sample(self, seed: int, member: int) -> list[str]:
        """Return the overrides of a member. A key's value depends on no other key."""
        lines = [f"{key}={yaml_line(value, json.dumps)}" for key, value in self.fixed.items()]
        for key, one in self.ranges.items():
            digest = hashlib.sha256(key.encode()).digest()
            rng = np.random.default_rng([seed, member, int.from_bytes(digest[:8], "little")])
            lines.append(f"{key}={yaml_line(_value(one, rng), json.dumps)}")
        return lines


def load_ranges(changes: object, typed: Sequence[str]) -> Ranges:
    """Return the shipped ranges with the user's changes, without keys and groups that were typed.

    `changes` is a mapping of keys to ranges, the path of a YAML file, or None. Raises ConfigError.
    """
    shipped = _read(shipped_folder() / "ensemble.yaml")
    keys = {key_of(line) for line in typed}
    default = Ranges(
        {key: value for key, value in shipped.fixed.items() if not _is_typed(key, keys)},
        {key: value for key, value in shipped.ranges.items() if not _is_typed(key, keys)},
    )
    if changes is None:
        return default
    user = _read(Path(changes)) if isinstance(changes, str) else Ranges({}, _checked(changes))
    ranges = {**default.ranges, **user.ranges}
    ranges = {key: value for key, value in ranges.items() if key not in user.fixed}
    fixed = {**default.fixed, **user.fixed}
    return Ranges({key: v for key, v in fixed.items() if key not in user.ranges}, ranges)


def _is_typed(key: str, typed: set[str]) -> bool:
    """Whether the key was typed, or its group, whose other choices have other scales."""
    return key in typed or key.partition(".")[0] in typed


def _read(path: Path) -> Ranges:
    if not path.is_file():
        raise ConfigError(f"`ensemble_ranges = {path}`: there is no such file.")
    with reading(path):
        content = parse_yaml(path.read_text())
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ConfigError(f"{path} needs `version: {VERSION}`, and the keys `fixed` and `ranges`.")
    fixed = content.get("fixed") or {}
    if not isinstance(fixed, dict):
        raise ConfigError(f"{path}: `fixed` is not a mapping of keys to values.")
    return Ranges(fixed, _checked(content.get("ranges") or {}))


def _checked(ranges: object) -> dict[str, Mapping[str, Any]]:
    if not isinstance(ranges, Mapping):
        raise ConfigError(
            "`ensemble_ranges` is a YAML file, or a mapping such as"
            " {optimizer.lr: {log_uniform: [0.001, 0.01]}}."
        )
    for key, one in ranges.items():
        if not isinstance(one, Mapping) or not _is_range(one):
            raise ConfigError(
                f"The range of {key} in an ensemble is {one}, but it is {{choice: [...]}},"
                " {uniform: [low, high]} or {log_uniform: [low, high]} with 0 < low <= high, and"
                " optionally zero: PROBABILITY."
            )
    return dict(ranges)


def _is_range(one: Mapping[str, Any]) -> bool:
    kinds = [kind for kind in _KINDS if kind in one]
    zero = one.get("zero", 0)
    if len(kinds) != 1 or set(one) - {*kinds, "zero"} or not isinstance(zero, (int, float)):
        return False
    values = one[kinds[0]]
    if not isinstance(values, Sequence) or isinstance(values, str) or not 0 <= zero <= 1:
        return False
    if kinds[0] == "choice":
        return len(values) > 0
    if len(values) != 2 or not all(
        isinstance(v, (int, float)) and math.isfinite(v) for v in values
    ):
        return False
    return values[0] <= values[1] and (kinds[0] == "uniform" or values[0] > 0)


def _value(one: Mapping[str, Any], rng: np.random.Generator) -> object:
    share, chosen = rng.random(2)
    if share < one.get("zero", 0):
        return 0.0
    if "choice" in one:
        return one["choice"][int(chosen * len(one["choice"]))]
    if "uniform" in one:
        low, high = one["uniform"]
        return float(low + chosen * (high - low))
    low, high = (math.log(value) for value in one["log_uniform"])
    return float(math.exp(low + chosen * (high - low)))

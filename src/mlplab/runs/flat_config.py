"""The configuration of a run read back from its folder, flat: "optimizer.lr" -> 0.01."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mlplab.config.override_lines import key_of
from mlplab.io.plain_yaml import read_yaml

MAX_BYTES = 1 << 20
"""Size of a file of a run that is read for a list."""


def flat_config(folder: Path) -> dict[str, object]:
    """Return the configuration of a run as `flatten` does.

    Empty if the file is missing, damaged or above 1 MiB, or if a value cannot be displayed.
    """
    return flatten(_read_yaml(folder / "config.yaml"))


def flatten(tree: object) -> dict[str, object]:
    """Return a configuration with dotted keys: "optimizer.lr" -> 0.01, and the choice of each
    group: "optimizer" -> "adam". Empty if it is no mapping, or if a value cannot be displayed.
    """
    if not isinstance(tree, Mapping):
        return {}
    try:
        config = {_key(key): value for key, value in dotted(tree) if value != {}}
        repr(config)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return {}
    return config


def dotted(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a configuration with their keys, such as "optimizer.name"."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _key(key: str) -> str:
    """The key that an override has: "optimizer" for "optimizer.name"."""
    return key.removesuffix(".name") if key.count(".") == 1 else key


def user_overrides(folder: Path) -> tuple[str, ...]:
    """Return the overrides of a run, without `hydra.` ones such as its folder.

    Empty if the file is missing, damaged or above 1 MiB.
    """
    return of_user(_overrides(folder))


def of_user(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return the overrides without `hydra.` ones such as the folder of the run."""
    return tuple(line for line in overrides if not line.startswith("hydra."))


def keys_of(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return the keys that overrides set, each once."""
    return tuple(dict.fromkeys(map(key_of, overrides)))


def all_overrides(folder: Path, changes: Sequence[str]) -> list[str]:
    """Return the overrides of a run that is resumed with `changes`, which replace earlier overrides
    of the same keys.
    """
    changed = set(map(key_of, changes))
    return [*(line for line in _overrides(folder) if key_of(line) not in changed), *changes]


def _overrides(folder: Path) -> list[str]:
    lines = _read_yaml(folder / "overrides.yaml")
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _read_yaml(path: Path) -> object:
    """The content of a file; None if it is missing, damaged or above 1 MiB."""
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= MAX_BYTES else ""
        return read_yaml(text)
    except Exception:  # whatever a damaged file raises
        return None

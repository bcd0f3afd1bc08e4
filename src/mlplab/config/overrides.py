"""The words typed by the user (overrides), checked against the files on disk before Hydra sees
them.

What is misspelled here is answered with the nearest right word; what only the composed
configuration can tell is left to `compose`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import catalog
from mlplab.config.root import DEFAULTS, GROUPS, Root
from mlplab.config.search_path import shipped_folder
from mlplab.config.security import FORBIDDEN, forbidden
from mlplab.config.suggestions import did_you_mean, listing, nearest, shown
from mlplab.config.sweep_options import Sweep
from mlplab.errors import ConfigError, FieldError
from mlplab.schema import rules

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

ROOT_KEYS = tuple(rules(Root))
HYDRA_KEYS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.mode",
    "hydra.launcher",
    "hydra.sweeper",
    "hydra/launcher",
    "hydra/sweeper",
)


def parse_overrides(words: Iterable[str]) -> list[Override]:
    """Hydra's own grammar, with errors that teach."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed += parser.parse_overrides([word])
        except HydraException as error:
            raise _unreadable(word) from error
    return parsed


def check_overrides(words: Sequence[Override], where: Sequence[Path], multirun: bool) -> None:
    """Refuse what is wrong whatever the rest of the configuration says."""
    for word in words:
        line = word.input_line or word.key_or_group
        key = word.key_or_group
        if not key:
            raise _unreadable(line)
        _refuse_code(word, line)
        head = key.partition(".")[0]
        if word.is_sweep_override() and not multirun and head not in ("sweep", "seeds"):
            raise ConfigError(
                f"`{line}` gives several values, and one run takes one. Add -m to train them all;"
                f" for a list write {key}=[...] and for a text with commas put it in quotes inside"
                f" quotes: \"{key}='a,b'\"."
            )
        if word.is_hydra_override() or key == "hydra":
            check_hydra_override(key, line)
        elif head == "sweep" or key == "seeds":
            _check_sweep_word(word, line)
        elif word.is_delete():
            raise ConfigError(
                f"`{line}` would take `{key}` away, and every key is needed. Give it another value"
                f" instead: {key}=..."
            )
        elif word.package is not None:
            raise ConfigError(
                f"`{line}`: @ would place a group elsewhere, and every group has one place."
                f" {did_you_mean(key, GROUPS, '`{}=WORD`')}"
            )
        elif key in GROUPS:
            _check_choice(word, line, where)
        else:
            _check_key(word, key, line, where)


def to_hydra(words: Iterable[Override]) -> list[str]:
    """The words as Hydra takes them: a mapping replaces or fills another only when it is forced in,
    and so are keys inside a mapping.
    """
    lines = []
    for word in words:
        line = word.input_line or ""
        line = f"sweep.{line}" if word.key_or_group == "seeds" else line
        plain = not (
            word.is_add() or word.is_force_add() or word.is_delete() or word.is_hydra_override()
        )
        inner = word.key_or_group.count(".") > 1 or (
            not word.is_sweep_override() and isinstance(word.value(), dict)
        )
        lines.append("++" + line if plain and inner and "." in word.key_or_group else line)
    return lines


def _refuse_code(word: Override, line: str) -> None:
    for piece in re.split(r"[.\[\]/@]+", f"{word.key_or_group}@{word.package or ''}"):
        if piece in FORBIDDEN:
            raise forbidden(word.key_or_group, piece, f"The override `{line}`")
    stack: list[Any] = [] if word.is_sweep_override() else [word.value()]
    while stack:
        value = stack.pop()
        stack += (
            list(value.values())
            if isinstance(value, dict)
            else value
            if isinstance(value, list)
            else []
        )
        for key in value if isinstance(value, dict) else ():
            if key in FORBIDDEN:
                raise forbidden(word.key_or_group, key, f"The override `{line}`")


def check_hydra_override(key: str, line: str) -> None:
    """Refuse an override of Hydra's own configuration, but for a few harmless keys."""
    if any(key == known or key.startswith((known + ".", known + "/")) for known in HYDRA_KEYS):
        return
    raise ConfigError(
        f"`{line}`: of Hydra's own keys mlplab takes only {listing(HYDRA_KEYS)}."
        f" {did_you_mean(key, HYDRA_KEYS)}The others could run code, or change what a run leaves"
        " behind."
    )


def _check_sweep_word(word: Override, line: str) -> None:
    """sweep.KEY=VALUE, or seeds=N, of which there is one value a sweep."""
    if word.is_sweep_override():
        raise ConfigError(
            f"`{line}` gives several values to a key that holds for the whole sweep: give it one."
        )
    _, _, inside = word.key_or_group.partition(".")
    key = inside.partition(".")[0]
    known = rules(Sweep)
    if word.key_or_group != "seeds" and key not in known:
        near = did_you_mean(key, known, f"`sweep.{{}}={line.partition('=')[2]}`")
        raise ConfigError(
            f"`{line}`: the node `sweep` has no key `{key}`. {near}It has {listing(known)}."
        )
    if word.is_delete():
        raise ConfigError(
            f"`{line}` would take `{word.key_or_group}` away, and every key is needed. Give it"
            " another value instead."
        )
    if inside in ("grid", "zip", "blocks"):
        try:
            values: dict[str, Any] = {inside: word.value()}
            Sweep(**values)
        except FieldError as error:
            raise ConfigError(f"`{line}`: {error.key} {error.reason}.") from error


def _check_choice(word: Override, line: str, where: Sequence[Path]) -> None:
    group = word.key_or_group
    if word.is_add() or word.is_force_add():
        raise ConfigError(
            f"`{line}`: the group `{group}` always has a choice, so it is replaced, not added."
            f" Write it without +: {line.lstrip('+')}."
        )
    known = catalog.words(group, where)
    values = (
        list(word.sweep_iterator())
        if word.is_sweep_override() and word.is_discrete_sweep()
        else [word.value()]
    )
    for value in values:
        if value is None and DEFAULTS[group] is None:
            continue
        if not isinstance(value, str) or value not in known:
            raise unknown_choice(group, value, known, line)


def unknown_choice(group: str, value: object, known: Sequence[str], line: str) -> ConfigError:
    """No such word in this group."""
    typed = value if isinstance(value, str) else shown(value)
    others = [
        other
        for other in GROUPS
        if other != group and isinstance(value, str) and value in catalog.words(other, _shipped())
    ]
    elsewhere = (
        f"It is a choice of {listing(others, ' and ')}: {others[0]}={typed}. " if others else ""
    )
    shape = (
        ""
        if isinstance(value, str)
        else f"A group takes one word, and its keys are set apart, as in {group}.KEY=VALUE. "
    )
    return ConfigError(
        f"`{line}`: there is no {group} `{typed}`."
        f" {shape}{did_you_mean(typed, known, f'`{group}={{}}`')}{elsewhere}Choices of {group}:"
        f" {', '.join(known) or 'none yet'}. `mlplab list {group}` says what each is."
    )


def _shipped() -> Sequence[Path]:

    return [shipped_folder()]


def _check_key(word: Override, key: str, line: str, where: Sequence[Path]) -> None:
    head, _, rest = re.sub(r"\[(\w+)\]", r".\1", key).partition(".")
    if rest == "name" and head in GROUPS:
        raise ConfigError(
            f"`{line}`: `name` says which class the file means. Choose the {head} by its word:"
            f" {head}={word.value()}."
            + (
                " A set of openml.org is dataset=openml dataset.data_name=NAME."
                if head == "dataset"
                else ""
            )
        )
    if not (head in GROUPS and rest) and head not in ROOT_KEYS:
        raise _unknown(key, line, where)


def _unknown(key: str, line: str, where: Sequence[Path]) -> ConfigError:
    """No such group, nor key at the root."""
    head, _, rest = key.replace("/", ".").partition(".")
    tail = line.partition("=")[2]
    if not rest and (homes := catalog.groups_with(head, where)):
        return ConfigError(
            f"`{line}`: `{head}` is a key of {listing(homes, ' and ')}, so its place is part of the"
            f" name: {homes[0]}.{head}={tail}."
        )
    near = nearest(head, [*GROUPS, *ROOT_KEYS])
    right = near
    if near in GROUPS and rest:
        right = f"{near}.{rest}"
    elif near is None and not rest and (key_near := nearest(head, catalog.all_keys(where))):
        right = f"{catalog.groups_with(key_near, where)[0]}.{key_near}"
    advice = f"Did you mean `{right}={tail}`? " if right else ""
    keys = (
        f"Groups: {', '.join(GROUPS)}. Keys beside them: {', '.join(ROOT_KEYS)}. `mlplab list`"
        " explains them."
    )
    return ConfigError(
        f"`{line}`: there is no group or key `{key if head in GROUPS else head}`. {advice}{keys}"
    )


def _unreadable(word: str) -> ConfigError:
    """A word that is no key=value."""
    key, equals, value = (piece.strip() for piece in word.partition("="))
    if not equals:
        homes = [group for group in GROUPS if word in catalog.words(group, _shipped())]
        if homes:
            return ConfigError(
                f"`{word}` does not say what it is a value of. Write key=value:"
                f" {listing([f'{home}={word}' for home in homes], ' or ')}."
            )
        return ConfigError(
            f"`{word}` is not key=value, as in optimizer=adam or optimizer.lr=0.01. `mlplab list`"
            " shows the groups and their choices."
        )
    near = nearest(key, [*GROUPS, *ROOT_KEYS]) if key not in GROUPS and "." not in key else None
    advice = f"Did you mean `{near}={value}`? " if near and near != key else ""
    return ConfigError(
        f"`{word}` cannot be read. {advice}An override is key=value without spaces around =;"
        " brackets and braces are closed (model.hidden=[6,4], or 6-4 without any), and a value"
        f" with special signs stands in quotes inside quotes: \"{key or 'name'}='...'\"."
    )

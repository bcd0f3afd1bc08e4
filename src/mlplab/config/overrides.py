"""The user's overrides, checked against the configuration files before Hydra sees them.

Misspelled names are answered with the most similar valid one. Mistakes that only the composed
configuration reveals are left to `compose`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import catalog
from mlplab.config.root import DEFAULTS, GROUPS, Root
from mlplab.config.search_path import shipped_folder
from mlplab.config.security import FORBIDDEN, forbidden, swept_elsewhere, walk
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


def parse_overrides(lines: Iterable[str]) -> list[Override]:
    """Parse overrides with Hydra's grammar. Raises ConfigError with advice for an invalid one."""
    return [_parse(line) for line in lines]


_NUMBER = re.compile(
    r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)", re.ASCII
)


def parse_number(line: str) -> Override | None:
    """Return the override of a line such as "optimizer.lr=1e-3", as Hydra's grammar parses it; None
    for any other line.

    It takes a hundredth of the time of the grammar: every job of a sweep has its own seed.
    """
    from hydra.core.override_parser.types import Override, OverrideType, ValueType

    if (match := _NUMBER.fullmatch(line)) is None:
        return None
    key, text, fraction, exponent = match.groups()
    value = float(text) if fraction or exponent else int(text)
    return Override(OverrideType.CHANGE, key, ValueType.ELEMENT, value, input_line=line)


def _parse(line: str) -> Override:
    return parse_number(line) or _parse_with_grammar(line)


@lru_cache(maxsize=1 << 16)
def _parse_with_grammar(line: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides([line])[0]
    except HydraException as error:
        raise _unreadable(line) from error


def expand_glob(override: Override, folders: Sequence[Path]) -> Override:
    """Return the override with the choices that its glob matches, or unchanged without a glob.

    Hydra could list them only from its own search path, which lacks the user's folders.
    """
    from hydra.core.override_parser.types import ChoiceSweep, Glob, ValueType

    group, value = override.key_or_group, override.value()
    if not isinstance(value, Glob):
        return override
    names: Any = value.filter(catalog.choice_names(group, folders) if group in GROUPS else [])
    return dataclasses.replace(
        override, value_type=ValueType.CHOICE_SWEEP, _value=ChoiceSweep(list=names)
    )


def check_overrides(overrides: Sequence[Override], folders: Sequence[Path], multirun: bool) -> None:
    """Raise ConfigError for overrides that are wrong regardless of the rest of the configuration.

    `multirun` allows several values per key.
    """
    for override in overrides:
        line = override.input_line or override.key_or_group
        key = override.key_or_group
        if not key:
            raise _unreadable(line)
        _refuse_code(override, line)
        head = key.partition(".")[0]
        if override.is_sweep_override() and not multirun and head not in ("sweep", "seeds"):
            raise ConfigError(
                f"`{line}` gives several values, but one run takes one. Add -m to train them all;"
                f" for a list write {key}=[...], and put a string with commas in quotes inside"
                f" quotes: \"{key}='a,b'\"."
            )
        if override.is_hydra_override() or key == "hydra":
            check_hydra_override(key, line)
        elif head == "sweep" or key == "seeds":
            _check_sweep_override(override, line)
        elif override.is_delete():
            raise ConfigError(
                f"`{line}` would delete `{key}`, but every key is needed. Give it another value"
                f" instead: {key}=..."
            )
        elif override.package is not None:
            raise ConfigError(
                f"`{line}`: @ would move a group to another path, but the path of every group is"
                f" fixed. {did_you_mean(key, GROUPS, '`{}=NAME`')}"
            )
        elif key in GROUPS:
            _check_choice(override, line, folders)
        else:
            _check_key(override, key, line, folders)


def to_hydra(overrides: Iterable[Override]) -> list[str]:
    """Return the overrides as Hydra needs them: with ++ for a mapping, which otherwise cannot
    replace or extend another one, and for keys inside a mapping.
    """
    return [
        ("sweep." if o.key_or_group == "seeds" else "++" if extends_mapping(o) else "")
        + (o.input_line or "")
        for o in overrides
    ]


def extends_mapping(override: Override) -> bool:
    """Return whether an override without + sets a mapping, or a key inside one."""
    special = override.is_add() or override.is_force_add() or override.is_delete()
    return (
        not (special or override.is_hydra_override())
        and "." in override.key_or_group
        and (override.key_or_group.count(".") > 1 or isinstance(override.value(), dict))
    )


def is_sweep_key(override: Override) -> bool:
    """Whether the override sets `seeds` or a key of the node `sweep`."""
    return override.key_or_group == "seeds" or override.key_or_group.partition(".")[0] == "sweep"


def _refuse_code(override: Override, line: str) -> None:
    path = re.split(r"[.\[\]/@]+", f"{override.key_or_group}@{override.package or ''}")
    nodes = () if override.is_sweep_override() else walk(override.value())
    for key in (*path, *(key for _, key, _ in nodes)):
        if key in FORBIDDEN:
            raise forbidden(override.key_or_group, key, f"The override `{line}`")


def check_hydra_override(key: str, line: str) -> None:
    """Raise ConfigError for an override of Hydra's configuration, except for harmless keys."""
    if key.startswith("hydra.sweeper.params"):
        raise swept_elsewhere(line)
    if not any(
        key == allowed or key.startswith((allowed + ".", allowed + "/")) for allowed in HYDRA_KEYS
    ):
        raise ConfigError(
            f"`{line}`: of Hydra's keys, mlplab accepts only {listing(HYDRA_KEYS)}."
            f" {did_you_mean(key, HYDRA_KEYS)}The others could run code, or change which files a"
            " run writes."
        )


def _check_sweep_override(override: Override, line: str) -> None:
    """Check sweep.KEY=VALUE or seeds=N, which take one value per sweep."""
    if override.is_sweep_override():
        raise ConfigError(
            f"`{line}` gives several values to a key that applies to the whole sweep: give it one."
        )
    _, _, path = override.key_or_group.partition(".")
    key = path.partition(".")[0]
    sweep_rules = rules(Sweep)
    if override.key_or_group != "seeds" and key not in sweep_rules:
        hint = did_you_mean(key, sweep_rules, f"`sweep.{{}}={line.partition('=')[2]}`")
        raise ConfigError(
            f"`{line}`: the node `sweep` has no key `{key}`. {hint}It has {listing(sweep_rules)}."
        )
    if override.is_delete():
        raise ConfigError(
            f"`{line}` would delete `{override.key_or_group}`, but every key is needed. Give it"
            " another value instead."
        )
    if path in ("grid", "zip", "blocks"):
        try:
            values: dict[str, Any] = {path: override.value()}
            Sweep(**values)
        except FieldError as error:
            raise ConfigError(f"`{line}`: {error.key} {error.reason}.") from error


def _check_choice(override: Override, line: str, folders: Sequence[Path]) -> None:
    group = override.key_or_group
    if override.is_add() or override.is_force_add():
        raise ConfigError(
            f"`{line}`: the group `{group}` always has a choice, so it is replaced, not added."
            f" Write it without +: {line.lstrip('+')}."
        )
    names = catalog.choice_names(group, folders)
    values = (
        list(override.sweep_iterator())
        if override.is_sweep_override() and override.is_discrete_sweep()
        else [override.value()]
    )
    for value in values:
        is_default = value is None and DEFAULTS[group] is None
        if value not in names and not is_default:
            raise unknown_choice(group, value, names, line)


def unknown_choice(group: str, value: object, names: Sequence[str], line: str) -> ConfigError:
    """Return the error for a choice that the group does not have."""
    name = value if isinstance(value, str) else shown(value)
    others = [
        other
        for other in GROUPS
        if other != group
        and isinstance(value, str)
        and value in catalog.choice_names(other, [shipped_folder()])
    ]
    elsewhere = (
        f"It is a choice of {listing(others, ' and ')}: {others[0]}={name}. " if others else ""
    )
    syntax = (
        ""
        if isinstance(value, str)
        else f"A group takes one name, and its keys are set separately, as in {group}.KEY=VALUE. "
    )
    if group == "dataset" and isinstance(value, str) and _names_table(value):
        syntax = _table_advice(value) + " "
    if group == "activation" and isinstance(value, (list, tuple)):
        syntax += (
            "Layers with different activations are 'model.hidden=[{units:8,activation:relu},"
            "{units:8,activation:tanh}]'. "
        )
    return ConfigError(
        f"`{line}`: there is no {group} `{name}`."
        f" {syntax}{did_you_mean(name, names, f'`{group}={{}}`')}{elsewhere}Choices of {group}:"
        f" {', '.join(names) or 'none yet'}. `mlplab list {group}` explains them."
    )


def _names_table(text: str) -> bool:
    """Whether a text looks like the file of a table."""
    return Path(text).is_file() or text.lower().endswith((".csv", ".tsv", ".parquet", ".npz"))


def _table_advice(path: str) -> str:
    return f"Train on a table with dataset=file dataset.path={path} dataset.target=COLUMN."


def _check_key(override: Override, key: str, line: str, folders: Sequence[Path]) -> None:
    head, _, path = re.sub(r"\[(\w+)\]", r".\1", key).partition(".")
    if path == "name" and head in GROUPS:
        raise ConfigError(
            f"`{line}`: `name` is the class that a file configures. Choose the {head} by its name:"
            f" {head}={override.value()}."
            + (
                " A dataset of openml.org is dataset=openml dataset.data_name=NAME."
                if head == "dataset"
                else ""
            )
        )
    if not (head in GROUPS and path) and head not in ROOT_KEYS:
        raise _unknown_key(key, line, folders)


def _unknown_key(key: str, line: str, folders: Sequence[Path]) -> ConfigError:
    """Return the error for an unknown group or root key."""
    head, _, path = key.replace("/", ".").partition(".")
    value = line.partition("=")[2]
    if not path and (groups := catalog.groups_with_key(head, folders)):
        return ConfigError(
            f"`{line}`: `{head}` is a key of {listing(groups, ' and ')}, so write the group first:"
            f" {groups[0]}.{head}={value}."
        )
    suggestion = similar = nearest(head, [*GROUPS, *ROOT_KEYS])
    if similar in GROUPS and path:
        suggestion = f"{similar}.{path}"
    elif similar is None and not path and (similar_key := nearest(head, catalog.all_keys(folders))):
        suggestion = f"{catalog.groups_with_key(similar_key, folders)[0]}.{similar_key}"
    advice = f"Did you mean `{suggestion}={value}`? " if suggestion else ""
    return ConfigError(
        f"`{line}`: there is no group or key `{key if head in GROUPS else head}`. {advice}Groups:"
        f" {', '.join(GROUPS)}. Root keys: {', '.join(ROOT_KEYS)}. `mlplab list` explains them."
    )


def _unreadable(line: str) -> ConfigError:
    """Return the error for an override that is not key=value."""
    key, equals, value = (side.strip() for side in line.partition("="))
    if not equals:
        shipped = [shipped_folder()]
        if groups := [group for group in GROUPS if line in catalog.choice_names(group, shipped)]:
            return ConfigError(
                f"`{line}` does not say which key it is the value of. Write key=value:"
                f" {listing([f'{group}={line}' for group in groups], ' or ')}."
            )
        if _names_table(line):
            return ConfigError(f"`{line}` is not key=value. {_table_advice(line)}")
        return ConfigError(
            f"`{line}` is not key=value, as in optimizer=adam or optimizer.lr=0.01. `mlplab list`"
            " shows the groups and their choices."
        )
    similar = nearest(key, [*GROUPS, *ROOT_KEYS]) if key not in GROUPS and "." not in key else None
    advice = f"Did you mean `{similar}={value}`? " if similar and similar != key else ""
    if quoted := _quoted(key, value):
        return ConfigError(
            f"`{line}` cannot be parsed. {advice}A value with special characters needs quotes"
            f' inside quotes: write "{quoted}".'
        )
    return ConfigError(
        f"`{line}` cannot be parsed. {advice}An override is key=value without spaces around =;"
        " brackets and braces must be closed (model.hidden=[6,4], or 6-4 without any), and a value"
        f" with special characters needs quotes inside quotes: \"{key or 'name'}='...'\"."
    )


def _quoted(key: str, value: str) -> str | None:
    """The override with quotes around the value, or around those items of a list that need them;
    None if that is no override either, or if a shell would change it between double quotes.
    """
    is_closed = all(value.count(start) == value.count(end) for start, end in ("[]", "{}", "()"))
    if re.search(r"['\"$`!\\]", value) or not is_closed:
        return None
    items = value[1:-1].split(",") if value[:1] == "[" and value[-1:] == "]" else []
    if items:
        text = ",".join(
            item if _is_readable(f"{key}={item}") else f"'{item.strip()}'" for item in items
        )
        quoted = f"{key}=[{text}]"
    else:
        quoted = f"{key}='{value}'"
    return quoted if _is_readable(quoted) else None


def _is_readable(line: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_overrides([line])
    except HydraException:
        return False
    return True

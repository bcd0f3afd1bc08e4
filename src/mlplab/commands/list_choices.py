"""`mlplab list`: the choices of each group, read from the comments of the YAML files without
importing any component but those of plug-ins.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.table_output import print_document
from mlplab.config import catalog, plugins
from mlplab.config.root import DEFAULTS, GROUPS
from mlplab.config.search_path import config_folders, file_label
from mlplab.config.suggestions import did_you_mean
from mlplab.config.yaml_render import EAGER_ONLY, eager_note
from mlplab.errors import ConfigError, FieldError
from mlplab.io.files import parse_yaml
from mlplab.terminal.table import aligned

Rows = list[tuple[str, ...]]


def list_choices(arguments: Sequence[str]) -> int:
    """List the choices of `mlplab list [GROUP [NAME]]`; return the exit code.

    --config-dir and --plugin work as in `mlplab train`. Raises ConfigError for unknown names.
    """
    names, config_dirs, plugin_files, as_json = _sort(arguments)
    plugins.load(plugin_files)
    folders = config_folders(config_dirs)
    if not names:
        if as_json:
            print_document("groups", _groups_document(folders))
        else:
            _print_groups(folders)
        return 0
    group, _, name = names[0].partition("=")
    name = name or (names[1] if len(names) > 1 else "")
    if group not in GROUPS:
        raise ConfigError(
            f"There is no group `{group}`. {did_you_mean(group, GROUPS, '`mlplab list {}`')}Groups:"
            f" {', '.join(GROUPS)}."
        )
    choices = catalog.choices(group, folders)
    if not name:
        if as_json:
            listed = [{"name": one.name, "meaning": one.meaning} for one in choices.values()]
            document = {"group": group, "default": DEFAULTS[group], "choices": listed}
            print_document("choices", document)
            return 0
        print(f"{group}: {_default(group)}")
        _print_table([(choice.name, choice.meaning) for choice in choices.values()])
        if eager := [choice.name for choice in choices.values() if _eager_notes(choice)]:
            print(f"engine=eager trains {', '.join(eager)}; engine=native does not support them.")
        return 0
    if name not in choices:
        raise ConfigError(
            f"There is no {group} `{name}`."
            f" {did_you_mean(name, choices, f'`mlplab list {group} {{}}`')}Choices of {group}:"
            f" {', '.join(choices) or 'none yet'}."
        )
    if as_json:
        print_document("choice", _choice_document(choices[name]))
    else:
        _print_choice(choices[name])
    return 0


def _groups_document(folders: Sequence[Path]) -> dict[str, object]:
    return {
        "groups": [
            {
                "group": group,
                "default": DEFAULTS[group],
                "choices": list(catalog.choice_names(group, folders)),
            }
            for group in GROUPS
        ],
        "keys": [_key_document(key) for key in catalog.root_keys()],
    }


def _choice_document(choice: catalog.Choice) -> dict[str, object]:
    return {
        "group": choice.group,
        "name": choice.name,
        "file": None if choice.file is None else str(choice.file),
        "notes": list(dict.fromkeys([*choice.notes, *_eager_notes(choice)])),
        "keys": [_key_document(key) for key in choice.keys],
    }


def _key_document(key: catalog.Key) -> dict[str, object]:
    return {"name": key.name, "default": parse_yaml(key.default), "meaning": key.meaning}


def _eager_notes(choice: catalog.Choice) -> list[str]:
    """Why only the eager engine trains with a choice, if so.

    A component of a plug-in is tried, with its defaults.
    """
    if notes := [note for note in choice.notes if note.startswith(EAGER_ONLY)]:
        return notes
    component = plugins.registered(choice.group).get(choice.name)
    if component is None:
        return []
    from mlplab.native import reason_for_eager

    try:
        reason = reason_for_eager(choice.group, component())
    except FieldError:  # a key without default
        return []
    return [] if reason is None else [eager_note(reason)]


def _sort(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str], bool]:
    if any(argument in ("-h", "--help") for argument in arguments):
        return [], [], [], False
    from mlplab.commands.flags import parse

    flags = parse(arguments)
    if flags.hydra or flags.multirun or flags.link or len(flags.overrides) > 2:
        raise ConfigError(
            f"`mlplab list {' '.join(arguments)}` cannot be parsed. Usage: `mlplab list [GROUP"
            " [NAME]]`, optionally with --config-dir, --plugin and --json."
        )
    return flags.overrides, flags.config_dirs, flags.plugins, flags.json


def _default(group: str) -> str:
    return f"{DEFAULTS[group]} by default" if DEFAULTS[group] else "none by default"


def _print_groups(folders: Sequence[Path]) -> None:
    print("Groups, chosen with GROUP=NAME; `mlplab list GROUP` explains the choices:")
    _print_table(
        [
            (group, _default(group), ", ".join(catalog.choice_names(group, folders)))
            for group in GROUPS
        ]
    )
    print("\nOther keys, set with KEY=VALUE:")
    _print_table([(key.name, key.default, key.meaning) for key in catalog.root_keys()])


def _print_choice(choice: catalog.Choice) -> None:
    print(
        f"{choice.group}={choice.name} ({file_label(choice.file) if choice.file else 'a plugin'})"
    )
    for note in dict.fromkeys([*choice.notes, *_eager_notes(choice)]):
        print(textwrap.fill(note, max(60, shutil.get_terminal_size((140, 24)).columns)))
    if choice.group == "experiment":
        text = choice.file.read_text(encoding="utf-8") if choice.file else ""
        print("\n" + "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    elif choice.keys:
        print()
        _print_table(
            [(f"{choice.group}.{key.name}", key.default, key.meaning) for key in choice.keys]
        )


def _print_table(rows: Rows) -> None:
    """Print aligned columns: colored and wrapped on a terminal, plain lines in a pipe."""
    if sys.stdout.isatty():
        _print_rich(rows)
        return
    for line in aligned(rows, left=[0, 1, 2]):
        print("  " + line)


def _print_rich(rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=True)
    for i in range(len(rows[0]) if rows else 0):
        table.add_column(style="bold cyan" if i == 0 else "", no_wrap=i == 0)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)

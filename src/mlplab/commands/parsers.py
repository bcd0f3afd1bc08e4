"""The arguments of each command as tables: for completion and for docs/command-line.md."""

from __future__ import annotations

from argparse import SUPPRESS
from importlib import import_module

from mlplab.cli import COMMANDS
from mlplab.commands import flags
from mlplab.commands.folder_arguments import COMMON_OPTIONS, FOLDER_OPTIONS, Options

_SHARED = ("overrides", "--config-dir -cd", "--plugin", "--json")
_OF_TRAINING = {
    "train": tuple(flags.OPTIONS),
    "plan": (*_SHARED, "--multirun -m"),
    "list": _SHARED[1:],
}
"""Commands whose arguments are parsed by `flags`, and which of them they accept."""


def options(command: str) -> Options:
    """Return the arguments of a command that its help shows, without those of every command."""
    if names := _OF_TRAINING.get(command):
        return {name: flags.OPTIONS[name] for name in names if name not in COMMON_OPTIONS}
    module = COMMANDS[command].function.partition(":")[0]
    table: Options = getattr(import_module(module), "OPTIONS", {})
    tokens = COMMANDS[command].usage.replace("[", " ").split()
    names_folder = {"folder", "target"} & set(table)
    has_folder = not names_folder and bool({"DIR", "DIR]", "RUN"} & set(tokens))
    shown = {name: one for name, one in table.items() if one.get("help") != SUPPRESS}
    return {**FOLDER_OPTIONS, **shown} if has_folder else shown


def flag_names(command: str) -> list[str]:
    """Return the long flags of a command."""
    tables = (options(command), COMMON_OPTIONS)
    return [
        next(name for name in names.split() if name.startswith("--") or " " not in names)
        for table in tables
        for names in table
        if names.startswith("-")
    ]


def values(command: str, flag: str) -> list[str] | None:
    """Return what may follow a flag: its choices, or nothing known. None if nothing follows it."""
    for names, settings in options(command).items():
        if flag in names.split() and names.startswith("-"):
            if settings.get("action", "append") != "append":
                return None
            return [*settings.get("choices", ())]
    return None

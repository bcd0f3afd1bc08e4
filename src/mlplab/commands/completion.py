"""Completion of a command line that is being typed: commands, flags, groups, choices and keys.

Hydra completes `PROGRAM KEY=VALUE ...`, so a line of mlplab reaches it without the command and its
flags. Whatever goes wrong, nothing is printed: it would appear in the middle of the typed line.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence

from mlplab.cli import COMMANDS
from mlplab.commands import flags as flags_module
from mlplab.commands.draw import FIGURES
from mlplab.config import catalog, plugins
from mlplab.config.composition import hydra_search_path
from mlplab.config.root import GROUPS
from mlplab.config.search_path import config_folders, shipped_folder
from mlplab.errors import ConfigError
from mlplab.terminal.suggested import flags_of

_NUM_FOLDERS = {"train": 0, "plan": 0, "find-lr": 0, "rerun": 1, "resume": 1}
"""Commands that take KEY=VALUE, and how many tokens before those name folders."""
_INERT = re.compile(r"[\w./=+~@%:,\[\]-]+")
"""What may be suggested. Bash expands the list of suggestions, so a file of somebody else that is
named `$(command).yaml` in conf/ would run the command when Tab is pressed.
"""


def complete(line: str, hydra: Callable[[str], None]) -> list[str]:
    """Return the words that may follow or replace the last word of a line, or an empty list.

    `hydra(line)` prints what Hydra suggests for a line of its own kind.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return list(filter(_INERT.fullmatch, _complete(line, hydra)))
    except Exception:  # half a word need not be valid
        return []


def _complete(line: str, hydra: Callable[[str], None]) -> list[str]:
    program, *tokens = line.split(" ") if line else [""]
    tokens = [*filter(None, tokens[:-1]), *tokens[-1:]] or [""]
    *before, last = tokens
    if not before:
        names = [name for name in COMMANDS if name.startswith(last)]
        return names or [name for name in ("--help", "--version") if name.startswith(last)]
    command, *arguments = before
    _load_plugins(_values(arguments, "--plugin"))
    if command == "list":
        return _starting(last, _list_names(_without_flags(arguments)))
    if command == "draw":
        return _starting(last, [*FIGURES, "all"])
    if command not in _NUM_FOLDERS or len(_without_flags(arguments)) < _NUM_FOLDERS[command]:
        return []  # a file or folder, which the shell completes
    if last.startswith("-"):
        return _starting(last, flags_module.long_names())
    if arguments and arguments[-1] in flags_module.WITH_VALUE:
        return []
    overrides = _without_flags(arguments)
    folders = [*_values(arguments, "--config-dir"), *_values(arguments, "-cd")]
    single = [text for text in overrides[_NUM_FOLDERS[command] :] if _has_one_value(text)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        hydra(" ".join([program, *hydra_search_path(config_folders(folders)), *single, last]))
    return output.getvalue().split()


def _list_names(arguments: Sequence[str]) -> Sequence[str]:
    if not arguments:
        return GROUPS
    return catalog.choice_names(arguments[0], [shipped_folder()]) if len(arguments) == 1 else ()


def _starting(prefix: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _without_flags(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are neither flags nor their values."""
    return [
        token
        for token, previous in zip(arguments, ["", *arguments], strict=False)
        if not token.startswith("-") and previous not in flags_module.WITH_VALUE
    ]


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """Return the values of a flag that are typed to their end."""
    return [value for _, value in flags_of(arguments, (flag,)) if value]


def _load_plugins(files: Sequence[str]) -> None:
    """Register the components of these files; one that cannot be loaded completes nothing."""
    with contextlib.redirect_stdout(io.StringIO()):
        for file in files:
            with contextlib.suppress(ConfigError):
                plugins.load([file])


def _has_one_value(override: str) -> bool:
    """Whether it is KEY=VALUE with one value, which can affect what Hydra suggests."""
    return "=" in override and not any(sign in override for sign in ",({[")


def completes(query: Sequence[str]) -> bool:
    """Whether the shell asks for completions, rather than for the script to install."""
    return "COMP_LINE" in os.environ and any(token.startswith("query=") for token in query)

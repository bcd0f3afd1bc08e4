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
from mlplab.commands import parsers
from mlplab.commands.completion_scripts import INSTALL, UNINSTALL
from mlplab.commands.draw import FIGURES
from mlplab.config import catalog, plugins
from mlplab.config.composition import hydra_search_path
from mlplab.config.root import GROUPS
from mlplab.config.search_path import config_folders, shipped_folder
from mlplab.config.yaml_render import SCHEMA_FILE
from mlplab.errors import ConfigError
from mlplab.io.files import parse_json
from mlplab.metric_names import FINAL
from mlplab.terminal.suggested import flags_of

_NUM_FOLDERS = dict.fromkeys(("train", "plan", "find-lr", "doctor", "step"), 0)
_NUM_FOLDERS |= {"rerun": 1, "resume": 1}
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
    if command not in COMMANDS:
        return []
    if last.startswith("-"):
        return _starting(last, parsers.flag_names(command))
    if arguments and (values := parsers.values(command, arguments[-1])) is not None:
        return _starting(last, values or _metrics(arguments[-1]))
    if command == "list":
        return _starting(last, _list_names(_without_flags(arguments)))
    if command == "draw":
        return _starting(last, [*FIGURES, "all"])
    if command not in _NUM_FOLDERS or len(_without_flags(arguments)) < _NUM_FOLDERS[command]:
        return []  # a file or folder, which the shell completes
    if values := _values_of_key(last):
        return values
    overrides = _without_flags(arguments)
    folders = [*_values(arguments, "--config-dir"), *_values(arguments, "-cd")]
    single = [text for text in overrides[_NUM_FOLDERS[command] :] if _has_one_value(text)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        hydra(" ".join([program, *hydra_search_path(config_folders(folders)), *single, last]))
    return output.getvalue().split()


def _metrics(flag: str) -> list[str]:
    """The metrics of the splits, for flags that name one."""
    if flag not in ("--sort", "--metric"):
        return []
    names = dict.fromkeys(("loss", *(name for names in FINAL.values() for name in names)))
    return [f"{split}/{name}" for split in ("test", "val", "train") for name in names]


def _values_of_key(last: str) -> list[str]:
    """The values of a key with a few, as in `device=c`."""
    key, equals, start = last.partition("=")
    if not equals or key in GROUPS:
        return []
    group, _, name = key.rpartition(".")
    definitions = parse_json((shipped_folder() / SCHEMA_FILE).read_bytes())["definitions"]
    node = definitions.get({"": "experiment", "sweep": "sweep"}.get(group, f"{group}.any"))
    schema = ((node or {}).get("properties") or {}).get(name or key) or {}
    if schema.get("allOf") == [{"$ref": "#/definitions/flag"}]:
        choices = ["true", "false"]
    else:
        choices = [
            str(choice)
            for option in schema.get("anyOf", ())
            for choice in option.get("enum", ())
            if choice is not None
        ]
    return [f"{key}={choice}" for choice in choices if choice.startswith(start)]


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


def script(query: Sequence[str]) -> str:
    """Return the script for a shell of `-sc install=SHELL` or `-sc uninstall=SHELL`.

    Raises ConfigError for anything else.
    """
    action, _, shell = (query[0] if len(query) == 1 else "").partition("=")
    scripts = {"install": INSTALL, "uninstall": UNINSTALL}.get(action, {})
    if shell not in scripts:
        raise ConfigError(
            f"`-sc {' '.join(query)}`: write -sc install=SHELL or uninstall=SHELL, where SHELL is"
            f" {', '.join(INSTALL)}."
        )
    return scripts[shell]


def completes(query: Sequence[str]) -> bool:
    """Whether the shell asks for completions, rather than for the script to install."""
    return "COMP_LINE" in os.environ and any(token.startswith("query=") for token in query)

"""The flags of `mlplab train`, `plan` and `list`: those of Hydra, --plugin and --json."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mlplab.commands.folder_arguments import (
    COMMON_OPTIONS,
    JSON_OPTION,
    Options,
    add_options,
    plugin_option,
)
from mlplab.config.overrides import ROOT_KEYS
from mlplab.config.root import GROUPS
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

OPTIONS: Options = {
    "overrides": {
        "metavar": "KEY=VALUE",
        "nargs": "*",
        "help": "a choice for a group, or a value for a key",
    },
    "--config-dir -cd": {
        "metavar": "DIR",
        "action": "append",
        "default": [],
        "help": "folder with files of your own, such as experiment/NAME.yaml; may be repeated",
    },
    **plugin_option("that registers components"),
    "--from-link": {
        "metavar": "URL",
        "help": "train what a link to the TensorFlow Playground describes",
    },
    "--multirun -m": {
        "action": "store_true",
        "help": "a sweep: train each combination of the values, as in optimizer.lr=0.1,0.01",
    },
    "--run -r": {"action": "store_true", "help": "one run, which is the default"},
    **JSON_OPTION,
    "--help -h": {"action": "store_true", "help": "show the groups and the configuration"},
    "--hydra-help": {"action": "store_true", "help": "show the flags of Hydra"},
    "--cfg -c": {
        "choices": ("job", "hydra", "all"),
        "help": "print the configuration of the line and train nothing",
    },
    "--package -p": {"metavar": "KEY", "help": "with --cfg: print this node, such as optimizer"},
    "--resolve": {"action": "store_true", "help": "with --cfg: replace interpolations"},
    "--info -i": {
        "nargs": "?",
        "const": "all",
        "choices": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        "help": "print what Hydra composes",
    },
    "--shell-completion -sc": {
        "action": "store_true",
        "help": "print the completion script for a shell: -sc install=bash, zsh or fish",
    },
    **COMMON_OPTIONS,
}


WITH_VALUE = tuple(
    name
    for names, settings in OPTIONS.items()
    if names.startswith("-") and settings.get("action") != "store_true" and "nargs" not in settings
    for name in names.split()
)
"""Flags that take the next word."""


def long_names() -> list[str]:
    """Return the long names of all flags."""
    return [names.split()[0] for names in OPTIONS if names.startswith("--")]


@dataclass(frozen=True)
class Flags:
    """The arguments of `mlplab train`, sorted by kind."""

    overrides: list[str]
    config_dirs: list[str]
    plugins: list[str]
    multirun: bool
    hydra: list[str]  # flags that only Hydra handles: --help, --cfg, --info, ...
    json: bool = False
    link: str | None = None  # to the TensorFlow Playground


class _Parser(argparse.ArgumentParser):
    typed: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        flags = [
            option
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--")
        ]
        flag = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        if flag in ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun"):
            raise ConfigError(
                f"mlplab does not support {flag}: its primary configuration is fixed. Choose an"
                " experiment with experiment=NAME; --config-dir adds a folder with your own files."
            )
        if flag:
            name, equals, value = flag.lstrip("-").partition("=")
            is_key = equals or name.partition(".")[0] in (*GROUPS, *ROOT_KEYS, "sweep", "seeds")
            override = f"{name}={value or self._token_after(flag) or 'VALUE'}"
            suggestion = (
                f"Keys are set without dashes: {override}. "
                if is_key
                else did_you_mean("--" + name, flags)
            )
            raise ConfigError(f"There is no flag `{flag}`. {suggestion}Flags: {', '.join(flags)}.")
        raise ConfigError(
            f"{message[0].upper()}{message[1:]}. `mlplab train --help` shows the configuration,"
            " `mlplab train --hydra-help` the flags."
        )

    def _token_after(self, flag: str) -> str:
        """The token that was typed after a flag, if it can be a value."""
        after = dict(zip(self.typed, self.typed[1:], strict=False)).get(flag, "")
        return "" if after.startswith("-") or "=" in after else after


def parse(arguments: Sequence[str]) -> Flags:
    """Return the parsed arguments of `mlplab train`. Raises ConfigError."""
    parser = _Parser(prog="mlplab train", add_help=False, allow_abbrev=False)
    add_options(parser, OPTIONS)
    parser.typed = arguments
    args = parser.parse_intermixed_args(list(arguments))
    hydra = [
        f"--{name.replace('_', '-')}"
        for name in ("help", "hydra_help", "resolve", "shell_completion")
        if getattr(args, name)
    ]
    with_values = {name: getattr(args, name) for name in ("cfg", "package", "info")}
    hydra += [text for name, value in with_values.items() if value for text in (f"--{name}", value)]
    if args.package and not args.cfg:
        raise ConfigError(
            "--package selects what --cfg prints, as in --cfg job --package optimizer."
        )
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError(
            "--resolve needs --cfg or --help: it replaces interpolations by their values."
        )
    if args.json and hydra:
        raise ConfigError(f"{hydra[0]} prints text, and --json a document: omit one of them.")
    return Flags(
        args.overrides,
        args.config_dir,
        args.plugin,
        args.multirun,
        hydra,
        args.json,
        args.from_link,
    )

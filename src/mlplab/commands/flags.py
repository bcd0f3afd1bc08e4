"""The flags of `mlplab train`: those of Hydra, and --plugin."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mlplab.commands.folder_arguments import Options, add_options
from mlplab.config.overrides import ROOT_KEYS
from mlplab.config.root import GROUPS
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

_OPTIONS: Options = {
    "overrides": {"nargs": "*"},
    "--config-dir -cd": {"action": "append", "default": []},
    "--plugin": {"action": "append", "default": []},
    "--from-link": {},
    "--multirun -m": {"action": "store_true"},
    "--run -r": {"action": "store_true"},
    "--version": {"action": "store_true"},
    "--help -h": {"action": "store_true"},
    "--hydra-help": {"action": "store_true"},
    "--resolve": {"action": "store_true"},
    "--shell-completion -sc": {"action": "store_true"},
    "--cfg -c": {"choices": ("job", "hydra", "all")},
    "--package -p": {},
    "--info -i": {
        "nargs": "?",
        "const": "all",
        "choices": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    },
}


WITH_VALUE = tuple(
    name
    for names, settings in _OPTIONS.items()
    if names.startswith("-") and settings.get("action") != "store_true" and "nargs" not in settings
    for name in names.split()
)
"""Flags that take the next word."""


def long_names() -> list[str]:
    """Return the long names of all flags."""
    return [names.split()[0] for names in _OPTIONS if names.startswith("--")]


@dataclass(frozen=True)
class Flags:
    """The arguments of `mlplab train`, sorted by kind."""

    overrides: list[str]
    config_dirs: list[str]
    plugins: list[str]
    multirun: bool
    hydra: list[str]  # flags that only Hydra handles: --help, --cfg, --info, ...
    version: bool
    link: str | None = None  # to the TensorFlow Playground


class _Parser(argparse.ArgumentParser):
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
            override = f"{name}={value or 'VALUE'}"
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


def parse(arguments: Sequence[str]) -> Flags:
    """Return the parsed arguments of `mlplab train`. Raises ConfigError."""
    parser = _Parser(prog="mlplab train", add_help=False, allow_abbrev=False)
    add_options(parser, _OPTIONS)
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
    return Flags(
        args.overrides,
        args.config_dir,
        args.plugin,
        args.multirun,
        hydra,
        args.version,
        args.from_link,
    )

"""The flags of `mlplab train`: those of Hydra, and --plugin."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class Flags:
    """The arguments of `mlplab train`, sorted by kind."""

    overrides: list[str]
    config_dirs: list[str]
    plugins: list[str]
    multirun: bool
    hydra: list[str]  # flags that only Hydra handles: --help, --cfg, --info, ...
    version: bool


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
            suggestion = did_you_mean("--" + name, flags) or (
                f"Keys are set without dashes: {name}={value}. " if equals else ""
            )
            raise ConfigError(f"There is no flag `{flag}`. {suggestion}Flags: {', '.join(flags)}.")
        raise ConfigError(
            f"{message[0].upper()}{message[1:]}. `mlplab train --help` shows the configuration,"
            " `mlplab train --hydra-help` the flags."
        )


def parse(arguments: Sequence[str]) -> Flags:
    """Return the parsed arguments of `mlplab train`. Raises ConfigError."""
    parser = _Parser(prog="mlplab train", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--version", action="store_true")
    for flag, short in (
        ("--help", "-h"),
        ("--hydra-help", None),
        ("--resolve", None),
        ("--shell-completion", "-sc"),
    ):
        parser.add_argument(*filter(None, [flag, short]), action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)
    args = parser.parse_intermixed_args(list(arguments))
    hydra = [
        f"--{name.replace('_', '-')}"
        for name in ("help", "hydra_help", "resolve", "shell_completion")
        if getattr(args, name)
    ]
    for name in ("cfg", "package", "info"):
        if value := getattr(args, name):
            hydra += [f"--{name}", value]
    if args.package and not args.cfg:
        raise ConfigError(
            "--package selects what --cfg prints, as in --cfg job --package optimizer."
        )
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError(
            "--resolve needs --cfg or --help: it replaces interpolations by their values."
        )
    return Flags(args.overrides, args.config_dir, args.plugin, args.multirun, hydra, args.version)

"""The flags of `mlplab train`: Hydra's own, and --plugin."""

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
    """What was typed, sorted."""

    overrides: list[str]
    config_dirs: list[str]
    plugins: list[str]
    multirun: bool
    hydra: list[str]  # flags that only Hydra answers: --help, --cfg, --info, ...
    version: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        known = [
            option
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--")
        ]
        wrong = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        if wrong in ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun"):
            raise ConfigError(
                f"{wrong} is not offered by mlplab: its primary configuration is fixed. Choose an"
                " experiment with experiment=WORD; --config-dir adds a folder of yours."
            )
        if wrong:
            name, equals, value = wrong.lstrip("-").partition("=")
            near = did_you_mean("--" + name, known) or (
                f"Keys are set without dashes: {name}={value}. " if equals else ""
            )
            raise ConfigError(f"There is no flag `{wrong}`. {near}Flags: {', '.join(known)}.")
        raise ConfigError(
            f"{message[0].upper()}{message[1:]}. `mlplab train --help` shows the configuration,"
            " `mlplab train --hydra-help` the flags."
        )


def parse(arguments: Sequence[str]) -> Flags:
    """Sort the arguments of `mlplab train`. Raises ConfigError."""
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
    found = parser.parse_intermixed_args(list(arguments))
    hydra = [
        f"--{name.replace('_', '-')}"
        for name in ("help", "hydra_help", "resolve", "shell_completion")
        if getattr(found, name)
    ]
    for name in ("cfg", "package", "info"):
        if value := getattr(found, name):
            hydra += [f"--{name}", value]
    if found.package and not found.cfg:
        raise ConfigError(
            "--package chooses what --cfg prints, as in --cfg job --package optimizer."
        )
    if found.resolve and not (found.cfg or found.help):
        raise ConfigError(
            "--resolve belongs to --cfg or --help: it prints values in the place of interpolations."
        )
    return Flags(
        found.overrides, found.config_dir, found.plugin, found.multirun, hydra, found.version
    )

"""The command lines that messages and pages suggest, quoted for a POSIX shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def flags_of(command: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the flags of these names in a command line, each with its value."""
    flags = []
    for token, after in zip(command, [*command[1:], ""], strict=False):
        name, equals, value = token.partition("=")
        if name in names:
            flags.append((name, value if equals else after))
    return flags


def train_arguments(overrides: Sequence[str], flags: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the arguments of the command line that trains these overrides, its program first."""
    return ("mlplab", "train", *flags, *overrides)


def train_command(overrides: Sequence[str], flags: Sequence[str] = ()) -> str:
    """Return the command line that trains these overrides."""
    return shlex.join(train_arguments(overrides, flags))


def resume_command(folder: Path, plugins: Sequence[str] = ()) -> str:
    """Return the command line that finishes the run or sweep in a folder, which was started with
    these plugin files.
    """
    return shlex.join(["mlplab", "resume", *_plugin_flags(plugins), str(folder)])


def mirror_command(folder: Path, tracker: str, plugins: Sequence[str] = ()) -> str:
    """Return the command line that sends a tracker what it lacks of a run or sweep. One of these
    plugin files may register the tracker.
    """
    return shlex.join(["mlplab", "mirror", str(folder), "--to", tracker, *_plugin_flags(plugins)])


def rerun_command(folder: Path, overrides: Sequence[str] = ()) -> str:
    """Return the command line that trains the run in a folder again with these overrides."""
    return shlex.join(["mlplab", "rerun", str(folder), *overrides])


def plugin_flags(plugins: Sequence[str]) -> str:
    """Return the flags that name these plugin files."""
    return shlex.join(_plugin_flags(plugins))


def _plugin_flags(plugins: Sequence[str]) -> list[str]:
    return [token for path in plugins for token in ("--plugin", path)]

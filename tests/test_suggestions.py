"""Every override and command that a message, a help text, a document, a comment or a page names can
be typed: overrides compose, commands and their options exist.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplab.cli import COMMANDS, main
from mlplab.commands import flags
from mlplab.config.composer import Composer
from mlplab.config.expand import expand
from mlplab.config.overrides import ROOT_KEYS
from mlplab.config.root import GROUPS
from mlplab.errors import ConfigError

ROOT = Path(__file__).parents[1]
HOLE = "\0"  # a value that the program fills in
VALUE = r"(?:\{[^}]*\}|\[(?:[^\[\]]|\[[^\]]*\])*\]|\w+\([^`'\"]*\)|[^\s`'\",;:)|\]\\])+"
OVERRIDE = rf"(?:{'|'.join([*GROUPS, *ROOT_KEYS, 'sweep', 'seeds'])})(?:\.[a-z_0-9]+)*={VALUE}"
# one override, or several in a row as they are typed
CHAIN = re.compile(rf"(?<![\w./\-$\[{{+~]){OVERRIDE}(?: {OVERRIDE})*")
COMMAND = re.compile(r"`(mlplab [a-z-]+[^`]*)`")
SITUATIONS = {
    # what is in force where a message or a document names a text -> the texts
    "dataset=file": ("dataset.path", "dataset.target", "dataset.missing", "dataset.task"),
    "dataset=file ": ("dataset.encoding", "dataset.ignore", "dataset.categories"),
    "sweep.trials=2": ("interval(",),
    "sweep.engine=slurm": ("sweep.detach", "partition:"),
    "sweep.engine=ray": ("address:",),
}
NOT_SHIPPED = (
    "activation=my_act",
    "activation.slope",
    "activation=cube",
    "experiment=mine",
    "=two_moons",
    "=widths",
)
"""Choices of the plugins and files that documents show how to write."""

IN_PYTHON = ("dataset=arrays", 'optimizer={"name"')
"""Arguments of Python functions."""


def texts(path: Path) -> Iterator[str]:
    """The string literals of a module, with holes for what is formatted into them; other files as
    a whole.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    inner = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(value) for value in node.values}
            yield "".join(
                str(getattr(value, "value", HOLE)) if isinstance(value, ast.Constant) else HOLE
                for value in node.values
            )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def sources() -> list[Path]:
    return [
        *sorted((ROOT / "src").rglob("*.py")),
        *sorted((ROOT / "configs").rglob("*.yaml")),
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "README.md",
    ]


def occurrences(pattern: re.Pattern[str]) -> dict[str, str]:
    """What the pattern matches, and the file in which it stands first."""
    matches: dict[str, str] = {}
    for path in sources():
        for text in texts(path):
            for match in pattern.finditer(" ".join(text.split(" "))):
                matches.setdefault(match[match.re.groups].rstrip("."), str(path.relative_to(ROOT)))
    return matches


def is_placeholder(text: str) -> bool:
    return HOLE in text or "..." in text or re.search(r"=[A-Z]+\b|=[<$]|=\W?$", text) is not None


@pytest.mark.slow
def test_every_override_composes():
    refused = []
    chains = occurrences(CHAIN)
    for chain, where in chains.items():
        tokens = re.findall(OVERRIDE, chain)
        if is_placeholder(chain) or any(text in chain for text in (*NOT_SHIPPED, *IN_PYTHON)):
            continue
        situation = {
            override.strip()
            for override, named in SITUATIONS.items()
            if any(text in chain for text in named)
        }
        try:
            composer = Composer([*(situation - set(tokens)), *tokens])
            if not composer.is_search():
                expand(composer)
        except ConfigError as error:
            refused.append(f"{where}: {chain}: {error}")
    assert not refused, "\n".join(refused)
    assert len(chains) > 60


def test_every_command_exists(capsys):
    """Its options too: an unknown one is refused before the folder that it is for."""
    commands = occurrences(COMMAND)
    refused = [f"{where}: {text}" for text, where in commands.items() if _is_refused(text)]
    capsys.readouterr()
    assert not refused, "\n".join(refused)
    assert len(commands) > 30


def _is_refused(text: str) -> bool:
    name, *tokens = text.replace(HOLE, "X").split()[1:]
    if name.startswith("--"):
        return name not in ("--help", "--version")
    options = [
        token.strip("[]").split("=")[0] for token in tokens if token.lstrip("[").startswith("-")
    ]
    if name in ("train", "plan"):
        return any(option not in (*flags.long_names(), "-m") for option in options)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([name, *(token for token in tokens[:1] if token in ("remove", "compare")), "--help"])
    return name not in COMMANDS or any(option not in output.getvalue() for option in options)

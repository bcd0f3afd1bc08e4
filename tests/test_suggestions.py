"""Every override and command that a message, a help text, a document, a comment or a page names can
be typed: overrides compose, commands and their options exist.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import html
import io
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import hostile
import pytest
from harness import FULL
from pauses import interrupt_at

from mlplab.cli import COMMANDS, main
from mlplab.commands import flags
from mlplab.config.composer import Composer
from mlplab.config.expand import expand
from mlplab.config.overrides import ROOT_KEYS
from mlplab.config.root import GROUPS
from mlplab.errors import ConfigError

ROOT = Path(__file__).parents[1]
HOLE = "\0"  # a value that the program fills in
LIST = r"\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\]"  # of lists of lists, at most
VALUE = rf"(?:\{{[^}}]*\}}|{LIST}|\w+\([^`'\"]*\)|[^\s`'\",;:)|\]\\])+"
KEY = rf"(?:{'|'.join([*GROUPS, *ROOT_KEYS, 'sweep', 'seeds'])})(?:\.[a-z_0-9]+)*"
OVERRIDE = rf"{KEY}={VALUE}"
# one override, or several in a row as they are typed; not the settings of a Playground link
CHAIN = re.compile(rf"(?<![\w./\-$\[{{+~#&]){OVERRIDE}(?: {OVERRIDE})*")
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
    "dataset=parabola",
    "loss=cubic_error",
    "experiment=mine",
    "=two_moons",
    "=widths",
)
"""Choices of the plugins and files that documents show how to write."""

IN_PYTHON = ("dataset=arrays", 'optimizer={"name"')
"""Arguments of Python functions."""


@functools.cache
def texts(path: Path) -> list[str]:
    """The string literals of a module, with holes for what is formatted into them; other files as
    a whole.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [text]
    literals, inner = [], set()
    for node in ast.walk(ast.parse(text)):  # a formatted string comes before what it consists of
        if isinstance(node, ast.JoinedStr):
            inner |= {id(value) for value in node.values}
            literals.append(
                "".join(
                    str(getattr(value, "value", HOLE)) if isinstance(value, ast.Constant) else HOLE
                    for value in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            literals += [] if id(node) in inner else [node.value]
    return literals


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
            for match in pattern.finditer(text):
                matches.setdefault(match[match.re.groups].rstrip("."), str(path.relative_to(ROOT)))
    return matches


def is_placeholder(text: str) -> bool:
    return HOLE in text or "..." in text or re.search(r"=[A-Z]+\b|=[<$]|=\W?$", text) is not None


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
def test_every_override_composes():
    """By default the first one of those with the same keys."""
    chains = occurrences(CHAIN)
    if not FULL:
        by_keys = {tuple(re.findall(rf"{KEY}(?==)", chain)): chain for chain in [*chains][::-1]}
        chains = {chain: chains[chain] for chain in by_keys.values()}
    assert not (refused := refused_overrides(chains)), "\n".join(refused)
    assert len(chains) > 60


def refused_overrides(chains: Mapping[str, str]) -> list[str]:
    """The overrides that do not compose in their situation, with where they stand and the error."""
    refused = []
    bases: dict[tuple[str, ...], dict] = {}
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
            # the same choices are composed once, whatever else is set
            composer._bases = bases.setdefault(tuple(composer.fixed), {})
            if not composer.is_search():
                expand(composer)
        except ConfigError as error:
            refused.append(f"{where}: {chain}: {error}")
    return refused


def test_every_command_exists(capsys):
    """Its options too: an unknown one is refused before the folder that it is for."""
    commands = occurrences(COMMAND)
    refused = [f"{where}: {text}" for text, where in commands.items() if _is_refused(text)]
    capsys.readouterr()
    assert not refused, "\n".join(refused)
    assert len(commands) > 30


SPOKEN = re.compile(rf"\bmlplab (?:{'|'.join(COMMANDS)})\b[^`<\n]*")
"""A command in the text of a page or on the terminal: to the end of the line or of the code."""
TABLE = ["dataset=file", "dataset.path=table.csv", "dataset.target=y", "training.epochs=3"]
SMALL = [*TABLE, "model.hidden=[3]", "tracking=scalars"]
SEARCH = ["sweep.trials=2", "sweep.sampler=random", "optimizer.lr=interval(0.001,0.1)"]
SITUATED = (
    # what is typed -> its exit code
    (["train", *SMALL, "hydra.run.dir=run"], 0),
    (["train", *SMALL, "hydra.run.dir=outputs/runs/file/stopped"], 130),
    (["report", "run"], 0),
    (["evaluate", "run"], 0),
    (["train", "-m", *SMALL, "optimizer.lr=0.01,0.1", "seed=0,1", "hydra.sweep.dir=sweep"], 0),
    (["plan", *SMALL, "seed=0,1"], 0),
    (["resume"], 0),
    (["train", *SMALL, "optimizer=adm"], 2),
    (["train", *SMALL, "optimizer.learning_rate=1"], 2),
    (["train", *SMALL, "optimizer.lr=0.1,0.2"], 2),
    (["train", *SMALL, "hydra.run.dir=run"], 2),
    (["experiment=xor_mlp"], 2),
    (["trian"], 2),
    (["resume", "run", "optimizer.lr=1"], 2),
    (["resume", "sweep", "training.epochs=4"], 2),
    (["evaluate", "sweep"], 2),
    (["list", "optimizer", "adm"], 2),
    (["train", "-m", *SMALL, *SEARCH, "hydra.sweep.dir=search"], 0),  # in the campaign
)


@pytest.fixture
def shown(monkeypatch, capsys) -> dict[str, str]:
    """The text on the terminal in these situations, and that of the files that they leave."""
    hostile.draw_one(monkeypatch)
    rows = [f"{i % 17},{i % 13},{'yes' if i % 17 > 8 else 'no'}" for i in range(60)]
    Path("table.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    texts = {}
    for arguments, code in SITUATED if FULL else SITUATED[:-1]:
        with monkeypatch.context() as patched:
            if code == 130:
                interrupt_at(3, patched)
            assert main(list(arguments)) == code, arguments
        texts[" ".join(arguments)] = "".join(capsys.readouterr())
    for path in Path().rglob("*"):
        if path.suffix in (".md", ".html") or path.name in ("log.txt", "error.txt"):
            text = re.sub(r"<script\b.*?</script>", "", path.read_text(), flags=re.DOTALL)
            text = re.sub(r"</?(?:b|span|em)\b[^>]*>", "", text)
            texts[str(path)] = html.unescape(re.sub(r"<[^>]+>", "\n", text))
    return texts


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.filterwarnings("ignore")
def test_what_is_suggested_where_it_is_shown(shown, capsys):
    """The commands on the terminal and in the files of real runs and sweeps run there, and the
    overrides compose with those that were typed.
    """
    commands = {
        match[0].rstrip(" .,;:)'\""): where
        for where, text in shown.items()
        for match in SPOKEN.finditer(text)
    }
    assert {command.split()[1] for command in commands} >= {"train", "resume", "rerun", "list"}
    for command, where in commands.items():
        if not is_placeholder(command):
            code = main(shlex.split(command)[1:])
            assert code == 0, (where, command, capsys.readouterr().err)
    chains = {
        match[0]: where
        for where, text in shown.items()
        for match in CHAIN.finditer(text)
        if not set(match[0].split()) <= set(where.split())  # else it repeats what was typed
    }
    situated = {f"{' '.join(SMALL)} {chain}": where for chain, where in chains.items()}
    assert chains
    assert not (refused := refused_overrides(situated)), "\n".join(refused)


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

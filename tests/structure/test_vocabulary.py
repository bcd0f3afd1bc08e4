"""Identifiers say what a thing is in the field's terms, not in words that only we would know."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator

import pytest
import yaml
from source_tree import REPOSITORY, nodes, walk

BANNED = (
    *("found", "told", "whoever", "see_that", "tell_of", "dealt", "vanished", "holes", "dearest"),
    *("lone", "help_along", "in_step", "at_its_end"),
)
AMBIGUOUS = ("part", "place", "word", "piece", "own")
LIBRARIES = {"FileNotFoundError", "ModuleNotFoundError", "PackageNotFoundError"}
SENSES = REPOSITORY / "tests" / "vocabulary.yaml"
MAX_SENSES = 40


@functools.cache
def components(identifier: str) -> list[str]:
    """The tokens of an identifier: `num_open_files` and `NumOpenFiles` give num, open and files."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return [token for token in snake.lower().split("_") if token]


def contains(identifier: str, phrase: str) -> bool:
    """Whether the identifier has the tokens of the phrase in a row, in singular or plural."""
    tokens, phrase_tokens = components(identifier), phrase.split("_")
    plural = [*phrase_tokens[:-1], f"{phrase_tokens[-1]}s"]
    runs = (tokens[i : i + len(phrase_tokens)] for i in range(len(tokens)))
    return any(run in (phrase_tokens, plural) for run in runs)


@functools.cache
def phrases_in(identifier: str, phrases: tuple[str, ...]) -> list[str]:
    return [phrase for phrase in phrases if contains(identifier, phrase)]


def identifiers(module: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """(name, line) of everything that a module binds: what it only uses is not its own choice."""
    for node in module:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def offenses(module: Iterable[ast.AST], senses: set[str] = frozenset()) -> list[tuple[str, int]]:
    return [
        (name, line)
        for name, line in identifiers(module)
        if name not in LIBRARIES
        and (phrases_in(name, BANNED) or (name not in senses and phrases_in(name, AMBIGUOUS)))
    ]


def senses() -> dict[str, str]:
    return yaml.safe_load(SENSES.read_text(encoding="utf-8")) or {}


@pytest.mark.parametrize("parsed_folder", ["src", "scripts", "tests"], indirect=True)
def test_identifiers_use_terms_of_the_field(parsed_folder):
    allowed = set(senses())
    offenders = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}"
        for path, module in parsed_folder.items()
        for name, line in offenses(module, allowed)
    ]
    assert offenders == []


def test_the_list_of_senses_is_short_reasoned_and_used():
    assert len(senses()) <= MAX_SENSES
    assert all(isinstance(reason, str) and len(reason) > 10 for reason in senses().values())
    used = {
        name
        for folder in ("src", "scripts", "tests")
        for path in (REPOSITORY / folder).rglob("*.py")
        for name, _ in identifiers(nodes(path))
    }
    assert set(senses()) - used == set()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("found = 1", ["found"]),
        ("def see_that_it_fits(): pass", ["see_that_it_fits"]),
        ("class LonePart: pass", ["LonePart"]),
        ("for words in x: pass", ["words"]),
        ("def f(own_KP, *, place=1): pass", ["own_KP", "place"]),
        ("self.parts = []", ["parts"]),
        ("import a as piece", ["piece"]),
        ("keyword = replace = partition = alone = owner = 1", []),
        ("x = part(found.own)", []),
    ],
)
def test_check_of_identifiers(text, names):
    assert [name for name, _ in offenses(walk(ast.parse(text)))] == names


def test_check_of_identifiers_with_a_sense():
    assert offenses(walk(ast.parse("word = part = 1")), {"word"}) == [("part", 1)]

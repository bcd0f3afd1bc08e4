"""The quick reader of YAML gives what PyYAML gives, for what mlplab writes and for anything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from harness import size

from mlplab.io.files import parse_yaml
from mlplab.io.plain_yaml import _plain_document, read_yaml

LINES = [
    *("a:", "b:", "on:", "null:", "1:", "- x", "- 1", "c: 1", "d: 1.5", "e: 'q'", "- ", "f: ["),
    *("g: {}", "g: []", "h: 010", "i: 1e3", "j: 1.0e+3", "k: ...", "l: ---", "m: ~", "n: x # y"),
    *("o: [1,2]", "- a=b", "p: 2001-01-01", "q: +", "r: -", "- -1", "- - 1", "s: .5", "t: 1_0"),
    *("u: .inf", "v: .", "w: +.", "x: a,b", "", "y: a(b)", "z: =", "a: x=y", "a: -x=y", "---"),
    *("...", "a: yes", "a: 1:2", "a: 'x''y'", "a: *b", "a: b*", "a: off.", "a: /", "<<: 1", "<<:"),
    *("a: 1=2", "a: -.5", "a: .nan", "a: -0", "a: -0.0", "a: 'on'", "a: 0x1=2", f"a: {'b' * 300}"),
]


def outcome(read, text):
    """What a reader returns, exactly, or the kind of error that it raises."""
    try:
        return repr(read(text))
    except Exception as error:
        return type(error)


def test_configurations_of_mlplab_are_read_quickly():
    files = list((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
    assert len(files) > 100
    plain = 0
    for file in files:
        text = yaml.safe_dump(parse_yaml(file.read_text()))
        assert outcome(read_yaml, text) == outcome(parse_yaml, text), file
        plain += _plain_document(text) is not None
    assert plain > 0.8 * len(files)  # the others have lists of mappings


@pytest.mark.campaign("fuzz", small=True)
def test_any_lines_are_read_as_by_pyyaml():
    draw = random.Random(1)
    for _ in range(size(2000, 200_000)):
        lines = ["  " * draw.randrange(3) + draw.choice(LINES) for _ in range(draw.randint(1, 5))]
        text = "\n".join(lines) + draw.choice(["", "\n"])
        assert outcome(read_yaml, text) == outcome(parse_yaml, text), text


def test_empty_lists_are_not_shared():
    first, second = read_yaml("a: []\nb: {}\n"), read_yaml("a: []\nb: {}\n")
    first["a"].append(1)
    first["b"]["x"] = 1
    assert second == {"a": [], "b": {}} == read_yaml("a: []\nb: {}\n")

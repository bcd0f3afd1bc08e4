"""Rules that every source file keeps on its own."""

from __future__ import annotations

import pytest
from known import assert_only_known
from source_rules import formatter_directives, oversized, python_files, unsafe_calls
from source_tree import REPOSITORY

SOURCE = REPOSITORY / "src"
# Tables of data that a formatter would spread over many lines may switch it off.
MAY_DIRECT_THE_FORMATTER: set[str] = set()


def test_modules_and_functions_stay_small():
    assert_only_known("oversized", oversized(python_files(SOURCE), SOURCE))


def test_the_formatter_is_not_switched_off():
    files = python_files(*(REPOSITORY / folder for folder in ("src", "scripts", "tests")))
    directives = formatter_directives(files, REPOSITORY)
    new = [str(each) for each in directives if each.key not in MAY_DIRECT_THE_FORMATTER]
    assert not new, "\n".join(new)
    assert {each.key for each in directives} == MAY_DIRECT_THE_FORMATTER


def test_nothing_unsafe_is_called():
    calls = [str(each) for each in unsafe_calls(python_files(SOURCE), SOURCE)]
    assert not calls, "\n".join(calls)


# The checks themselves, on small files.


@pytest.fixture
def check(write):
    """(rule, text of a file) -> the violations in it, as text."""

    def run_rule(rule, text):
        root = write({"a.py": text})
        return [str(offender) for offender in rule(python_files(root), root)]

    return run_rule


def test_check_of_sizes(check):
    assert check(oversized, "x = 1\n" * 400) == []
    assert check(oversized, "y = 1\n" * 401) == ["a.py:1: a.py (401 lines, at most 400)"]


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_check_of_sizes_functions(write, keyword):
    body = "        x = 1\n"
    method = f"class A:\n    @property\n    {keyword} long(self):\n"
    root = write({"a.py": method + 59 * body, "b.py": method + 60 * body})
    assert [str(offender) for offender in oversized(python_files(root), root)] == [
        "b.py:3: b.py::long (61 lines, at most 60)"
    ]


@pytest.mark.parametrize("comment", ["# fmt: skip", "# fmt:off", "# noqa: E501  # fmt: skip"])
def test_check_of_formatter_directives(check, comment):
    assert check(formatter_directives, f'x = "# fmt: skip"\ny = 1  {comment}\n') == [
        f"a.py:2: a.py ({comment})"
    ]


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("import torch\ntorch.load(path, weights_only=False)", "weights_only=False"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("import subprocess\nsubprocess.run(command, shell=True)", "shell=True"),
        ("import pickle\npickle.load(file)", "pickle.load"),
        ("import pickle as p\np.loads(text)", "pickle.loads"),
        ("from pickle import load\nload(file)", "pickle.load"),
        ("from pickle import load as read\nreader = read", "pickle.load"),
        ("import joblib\njoblib.load(path)", "joblib.load"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("import hydra\nhydra.utils.instantiate(cfg)", "hydra.utils.instantiate"),
        ("from hydra.utils import instantiate\ninstantiate(cfg)", "hydra.utils.instantiate"),
        ("import os\nos.system(command)", "os.system"),
        ("print(1)\neval(text)", "eval"),
        ("print(1)\ncfg.get('key')", "cfg.get"),
        ("print(1)\nself.cfg.get('key')", "self.cfg.get"),
    ],
)
def test_check_of_unsafe_calls(check, text, call):
    assert check(unsafe_calls, text) == [f"a.py:2: a.py: {call}"]


def test_check_of_unsafe_calls_safe_ones_pass(check):
    text = "import yaml, numpy as np\nyaml.safe_load(x)\nnp.load(x, allow_pickle=False)\nm.eval()"
    assert check(unsafe_calls, text + "\nload(x)\nd.get('cfg')\npickle = 'pickle.load'") == []

"""A part's YAML file is its class: the same keys, defaults and comments, a file for each word and a
word for each file.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import yaml

from mlplab.config.composition import compose
from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.schema import rules
from mlplab.training_options import STYLES

ROOT = Path(__file__).parents[2]
TABLES = {
    "dataset": DATASETS,
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "training": STYLES,
}


def test_the_files_are_what_the_script_writes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(ROOT / "scripts" / "write_configs.py"))
    assert script["main"](check=True) == 0, capsys.readouterr().out


def test_words_and_files_are_the_same():
    for group, table in TABLES.items():
        assert {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")} == set(table)


def part_of(group, word):
    """A part with its defaults; of two datasets a key must be given."""
    given = {"file": {"path": "table.csv"}, "openml": {"data_name": "adult"}}
    return TABLES[group][word](**(given.get(word, {}) if group == "dataset" else {}))


def assert_is_the_class(group, word, node):
    node = dict(node)
    assert node.pop("name") == word
    part = part_of(group, word)
    assert set(node) == set(rules(type(part))), (group, word)
    if word == "file":  # its path has no default
        assert node.pop("path") == "???"
    if word == "openml":  # one of its two keys must be given
        node.pop("data_name")
    for key, value in node.items():
        own = getattr(part, key)
        assert value == (list(own) if isinstance(own, tuple) else own), (group, word, key)


@pytest.mark.parametrize("group", TABLES)
def test_keys_and_defaults_are_the_same(group):
    """That a composed node is what its file says, test_every_word holds for every word."""
    for word in TABLES[group]:
        text = (ROOT / "configs" / group / f"{word}.yaml").read_text()
        assert_is_the_class(group, word, yaml.safe_load(text))


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("group", TABLES)
def test_composed_keys_and_defaults_are_the_same(group):
    for word in TABLES[group]:
        node = compose([f"{group}={word}"], complete=False).config[group]
        assert_is_the_class(group, word, node)

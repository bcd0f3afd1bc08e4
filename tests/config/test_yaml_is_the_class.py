"""The YAML file of a component matches its class: the same keys, defaults and comments. There is
one file per choice.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from mlplab.commands.list_choices import list_choices
from mlplab.config.composition import compose
from mlplab.config.yaml_render import facts
from mlplab.data.preparation.registry import DATASETS
from mlplab.embeddings import EMBEDDINGS
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.schema import rules
from mlplab.training_options import STYLES

ROOT = Path(__file__).parents[2]
TABLES = {
    "dataset": DATASETS,
    "embedding": EMBEDDINGS,
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


def test_choices_and_files_are_the_same():
    for group, table in TABLES.items():
        assert {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")} == set(table)


def default_component(group, name):
    """Return a component with its defaults; two datasets need a value for one key."""
    required = {"file": {"path": "table.csv"}, "openml": {"data_name": "adult"}}
    return TABLES[group][name](**(required.get(name, {}) if group == "dataset" else {}))


def assert_is_the_class(group, name, node):
    node = dict(node)
    assert node.pop("name") == name
    component = default_component(group, name)
    assert set(node) == set(rules(type(component))), (group, name)
    if name == "file":  # its path has no default
        assert node.pop("path") == "???"
    if name == "openml":  # one of its two keys must be given
        node.pop("data_name")
    for key, value in node.items():
        default = getattr(component, key)
        assert value == (list(default) if isinstance(default, tuple) else default), (
            group,
            name,
            key,
        )


@pytest.mark.parametrize("group", TABLES)
def test_keys_and_defaults_are_the_same(group):
    """test_every_choice verifies that the composed node of every choice equals its file."""
    for name in TABLES[group]:
        text = (ROOT / "configs" / group / f"{name}.yaml").read_text()
        assert_is_the_class(group, name, yaml.safe_load(text))


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("group", TABLES)
def test_composed_keys_and_defaults_are_the_same(group):
    for name in TABLES[group]:
        # without an experiment, since tables have a recipe
        overrides = [f"{group}={name}", "experiment=null"]
        node = compose(overrides, complete=False).config[group]
        assert_is_the_class(group, name, node)


def test_list_shows_formula_derivative_range_and_continuity(capsys):
    assert list_choices(["activation", "sqnl"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "f(x) = x - x * |x| / 4 if |x| <= 2, sign(x) beyond" in text
    assert "f'(x) = 1 - |x| / 2 if |x| <= 2, 0 beyond" in text
    assert "range [-1, 1] continuity C^1" in text
    assert "The lecture's table gives C^2, but the second derivative jumps" in text
    for name, activation in TABLES["activation"].items():
        assert re.search(r"range .* continuity C\^", " ".join(facts(activation))), name
    for group in ("loss", "optimizer"):
        for name, component in TABLES[group].items():
            assert facts(component) or name in ("auto", "torch", "adamw"), name

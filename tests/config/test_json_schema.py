"""The JSON Schema accepts every file and configuration that mlplab accepts, and refuses typical
mistakes.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from mlplab.cli import main
from mlplab.config import plugins
from mlplab.config.composition import compose
from mlplab.config.registry import table
from mlplab.config.root import COMPONENT_GROUPS
from mlplab.config.yaml_render import modeline

jsonschema = pytest.importorskip("jsonschema")

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
EXPERIMENT = "experiment"


def validator(definition, schema):
    of_the_file = {**schema, "allOf": [{"$ref": f"#/definitions/{definition}"}]}
    return jsonschema.Draft7Validator(of_the_file)


@functools.cache
def shipped_validator(definition):
    return validator(definition, SHIPPED)


def mistakes(node, definition, schema=None):
    """What the schema says about the content of a file."""
    checked_by = validator(definition, schema) if schema else shipped_validator(definition)
    return [f"{error.json_path}: {error.message[:200]}" for error in checked_by.iter_errors(node)]


def read(path):
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def test_it_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SHIPPED)


@pytest.mark.slow
def test_it_accepts_every_shipped_file_and_every_file_names_it():
    paths = sorted(path for path in CONFIGS.rglob("*.yaml") if path.name != "ensemble.yaml")
    assert len(paths) > 150
    for path in paths:
        group = path.parent.name
        definition = "primary" if path.parent == CONFIGS else group
        assert mistakes(read(path), definition) == [], path
        line = modeline(
            "schema.json" if path.parent == CONFIGS else "../schema.json",
            "" if group == EXPERIMENT else definition,
        )
        assert line in path.read_text(encoding="utf-8").splitlines()[:2], path


def test_it_accepts_the_files_of_a_run(tmp_path, capsys):
    overrides = ["experiment=xor_mlp", "training.epochs=1", "tracking=summary"]
    assert main(["train", *overrides, f"hydra.run.dir={tmp_path}/run"]) == 0, capsys.readouterr()
    assert mistakes(read(tmp_path / "run" / "config.yaml"), "run") == []
    assert mistakes(read(tmp_path / "run" / "overrides.yaml"), "overrides") == []


def test_it_accepts_the_configuration_of_an_older_run():
    folder = Path(__file__).parents[1] / "reliability" / "golden"
    paths = sorted(folder.rglob("config.yaml"))
    assert paths
    assert [mistakes(read(path), "run") for path in paths] == [[]] * len(paths)


CHOICES = [(group, name) for group in COMPONENT_GROUPS for name in table(group)]


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_it_accepts_the_configuration_of_every_choice(group, name):
    config = compose([f"{group}={name}"], complete=False).config
    assert mistakes(config, "run") == []


def test_it_accepts_what_a_file_may_say_besides_plain_values():
    node = yaml.safe_load("""
    defaults: [base, override /optimizer: sgd, override /hydra/launcher: joblib, _self_]
    seed: null
    model: {hidden: [4, {units: 3, activation: relu}, {units: 2, initializer: {name: zeros}}]}
    optimizer: {lr: "${training.l2}", nesterov: true, momentum: 0.9}
    schedule: {warmup: 3}
    dataset: {path: "???", target: [a, b], ignore: []}
    hydra: {run: {dir: elsewhere}}
    sweep:
      grid: {optimizer.lr: "0.1,0.2", model.hidden: [[1], 8-8, 64x3], activation: [tanh]}
      zip: {seed: [1, 2], "model.hidden[0]": [1, 2]}
      blocks: [{optimizer: [adam], optimizer.beta1: [0.5]}]
      trials: 4
      space: {training.l2: {values: "interval(0, 1)", when: {optimizer: sgd}}}
      engine: slurm
      cluster: {partition: main, extra: {nice: 5}}
    """)
    assert mistakes(node, EXPERIMENT) == []


MISTAKES = [
    (EXPERIMENT, text)
    for text in (
        "sead: 1",  # unknown keys
        "optimzer: {lr: 0.1}",
        "lr: 0.1",
        "optimizer: {learning_rate: 0.1}",
        "training: {epoch: 3}",
        "sweep: {grids: {}}",
        "sweep: {grid: {optimizer.learning_rate: [1]}}",
        "sweep: {cluster: {partitions: main}}",
        "model: {hidden: [{units: 2, activatoin: relu}]}",
        "optimizer: sgd",  # a name in place of keys
        "defaults: [override /optimizer: sgdd]",  # unknown choices
        "defaults: [override /optimzer: sgd]",
        "defaults: [optimizer: sgd]",
        "defaults: {override /optimizer: sgd}",
        "activation: {name: reluu}",
        "sweep: {grid: {activation: [tanh, reluu]}}",
        "device: gpu",
        "model: {normalization: batchnorm}",
        "sweep: {sampler: bayes}",
        "defaults: [override /optimizer: sgd]\noptimizer: {beta1: 0.9}",  # keys of another choice
        "optimizer: {lr: 0}",  # ranges
        "optimizer: {lr: -0.1}",
        "dataset: {val: 1.5}",
        "model: {dropout: 1}",
        "model: {hidden: [8, 0]}",
        "training: {epochs: 0}",
        "sweep: {grid: {optimizer.lr: [0.1, -1]}}",
        "sweep: {grid: {optimizer.lr: []}}",
        "seed: -1",
        "seed: 1.5",  # types
        "training: {epochs: many}",
        "training: {shuffle: 1}",
        "training: {epochs: [1, 2]}",
        "training: {epochs: null}",
        'model: {hidden: "6,4"}',
        "model: {hidden: [{activation: relu}]}",
        "sweep: {grid: [optimizer.lr]}",
        "sweep: {space: {optimizer.lr: {value: 1}}}",
    )
] + [
    ("optimizer", "name: adamm"),
    ("optimizer", "lr: 0.1"),
    ("optimizer", "name: sgd\nbeta1: 0.9"),
    ("dataset", "name: xor\nnoise: -1"),
    ("run", "name: x\nseed: 0"),
    ("overrides", "optimizer.lr=1"),
    ("overrides", "[optimizer lr]"),
]


@pytest.mark.parametrize(("definition", "text"), MISTAKES)
def test_it_refuses_a_mistake(definition, text):
    assert mistakes(yaml.safe_load(text), definition)


PLUGIN = '''
from dataclasses import dataclass
from mlplab.config import register
from mlplab.network import Activation
from mlplab.schema import number

@register("activation", "cube")
@dataclass(frozen=True)
class Cube(Activation):
    """The cube."""
    scale: float = number(1.0, "factor", above=0)

    def value(self, z):
        return self.scale * z**3
'''


def test_the_command_describes_plugins_and_files_of_the_user(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("cube.py").write_text(PLUGIN)
    Path("mine/optimizer").mkdir(parents=True)
    Path("mine/optimizer/slow.yaml").write_text("name: adam\nlr: 0.001\n")
    Path("mine/optimizer/slower.yaml").write_text("defaults: [slow]\nlr: 0.0001\n")
    try:
        assert main(["schema", "--plugin", "cube.py", "--config-dir", "mine", "-o", "s.json"]) == 0
    finally:
        plugins.unregister("activation", "cube")
    schema = json.loads(Path("s.json").read_text(encoding="utf-8"))
    node = {
        "defaults": [{"override /activation": "cube"}, {"override /optimizer": "slower"}],
        "activation": {"scale": 2},
        "optimizer": {"beta1": 0.5},
    }
    assert mistakes(node, EXPERIMENT, schema) == []
    assert mistakes(node, EXPERIMENT)
    assert mistakes({**node, "activation": {"scale": 0}}, EXPERIMENT, schema)
    assert mistakes({**node, "optimizer": {"momentum": 0.5}}, EXPERIMENT, schema)
    assert main(["schema", "-o", "s.json"]) == 0  # an older schema
    assert json.loads(Path("s.json").read_text(encoding="utf-8")) == SHIPPED
    capsys.readouterr()
    assert main(["schema", "-o", "cube.py"]) == 2
    assert "cube.py already exists" in capsys.readouterr().err

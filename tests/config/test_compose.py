"""Overrides become plain values: groups, experiments, user folders, names, seeds, and
interpolations.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlplab.config import settings_of_folder
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.overrides import parse_overrides
from mlplab.config.root import COMPONENT_GROUPS, DEFAULTS, GROUPS
from mlplab.errors import ConfigError, DamagedFileError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_defaults_are_plain_values_in_the_order_of_the_groups():
    config = compose().config
    assert [key for key in config if key in GROUPS] == list(COMPONENT_GROUPS)
    assert {group: config[group]["name"] for group in COMPONENT_GROUPS} == {
        group: name for group, name in DEFAULTS.items() if name
    }
    assert type(config) is dict
    assert {type(config[group]) for group in COMPONENT_GROUPS} == {dict}
    assert type(config["model"]["hidden"]) is list


@pytest.mark.campaign("fuzz")
@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_composes_separately(group):
    """In the default tier, test_every_choice composes combinations of choices."""
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        composed = compose(
            [f"{group}={path.stem}", *(["dataset.path=table.csv"] if path.stem == "file" else [])]
        )
        assert composed.sources.choices[group] == path.stem
        if group != "experiment":
            assert composed.config[group]["name"] == path.stem


def test_it_is_repeatable_and_restores_hydras_state():
    from hydra.core.global_hydra import GlobalHydra

    first, second = compose(["seed=3"]), compose(["seed=3"])
    assert first.config == second.config
    assert first.run_dir != second.run_dir
    assert not GlobalHydra().is_initialized()


def test_it_imports_no_torch_and_no_sklearn():
    code = (
        "import sys; from mlplab.config.composition import compose; compose(['optimizer=sgd']);"
        " sys.exit(bool({'torch', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_folder_of_a_run():
    assert re.fullmatch(
        r"outputs/runs/xor_mlp/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{8}",
        compose(["experiment=xor_mlp"]).run_dir or "",
    )
    assert compose(["hydra.run.dir=here/${name}", "name=mine"]).run_dir == "here/mine"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "two_layer_radial"),
        (["dataset=iris"], "iris"),
        (["name=a/b"], "a/b"),
        (["name=5"], "5"),
        (["name=${dataset.name}_${seed}"], "two_layer_radial_0"),
    ],
)
def test_the_name(overrides, name):
    assert build(compose(overrides)).name == name


def test_a_seed_that_is_drawn_is_recorded():
    composed = compose(["seed=null"])
    settings = build(composed)
    assert settings.config["seed"] == settings.seed
    assert 0 <= settings.seed < 2**32
    assert build(composed).seed != settings.seed


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ("[6,4]", [6, 4]),
        ("64-64-32", [64, 64, 32]),
        ("64x3", [64] * 3),
        ("8-4x2", [8, 4, 4]),
        ("8", [8]),
        ("[]", []),
        ("", []),
        ("[5,{units:3}]", [5, 3]),
    ],
)
def test_the_forms_of_hidden(value, units):
    settings = build(compose([f"model.hidden={value}"]))
    assert [layer.units for layer in settings.layers] == [*units, 0]


def test_a_layer_overrides_its_components():
    layer = (
        "{units:3,activation:{name:leaky_relu,negative_slope:0.2},initializer:zeros,"
        "dropout:0.5,normalization:layer,bias:false}"
    )
    overrides = [
        f"model.hidden=[{layer},4]",
        "model.output_initializer={name:normal,std:2}",
        "model.bias_initializer=uniform",
        "activation=relu",
    ]
    first, second, last = build(compose(overrides)).layers
    assert (type(first.activation).__name__, first.activation.negative_slope) == ("LeakyRelu", 0.2)
    assert (type(first.initializer).__name__, first.dropout, first.normalization, first.bias) == (
        "Zeros",
        0.5,
        "layer",
        False,
    )
    assert (
        type(second.activation).__name__,
        second.dropout,
        second.normalization,
        second.bias,
    ) == ("Relu", 0.0, "none", True)
    assert (last.activation, type(last.initializer).__name__, last.initializer.std) == (
        None,
        "Normal",
        2.0,
    )
    assert {type(layer.bias_initializer).__name__ for layer in (first, second, last)} == {"Uniform"}


def test_an_integer_becomes_a_float_if_the_class_expects_one():
    settings = build(
        compose(["optimizer.lr=1", "schedule=multistep", "schedule.milestones=[10,20]"])
    )
    assert type(settings.optimizer.lr) is float
    assert [type(item) for item in settings.schedule.milestones] == [float, float]


def test_keys_inside_a_mapping():
    for overrides in (["optimizer.options.max_iter=7"], ["optimizer.options={max_iter:7}"]):
        assert build(compose(["optimizer=torch", *overrides])).optimizer.options == {"max_iter": 7}


def test_settings_are_rebuilt_from_their_configuration():
    settings = build(compose(["experiment=radial_6_6", "seed=4"]))
    assert build(Composed(settings.config)).layers == settings.layers


# User folders.


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


EXPERIMENT = (
    "# @package _global_\n"
    "defaults:\n"
    "  - override /dataset: iris\n"
    "  - override /optimizer: slow\n"
    "seed: 8\n"
    "training:\n"
    "  epochs: 5\n"
)


@pytest.mark.parametrize("folder", ["conf", "else where"])
def test_a_user_folder(folder):
    write(Path(folder, "optimizer", "slow.yaml"), "defaults:\n  - sgd\nlr: 1.0e-05\n")
    write(Path(folder, "experiment", "mine", "first.yaml"), EXPERIMENT)
    composed = compose(["experiment=mine/first", "seed=9"], [] if folder == "conf" else [folder])
    settings = build(composed)
    assert (settings.name, settings.seed, settings.optimizer.lr, settings.training.epochs) == (
        "mine_first",
        9,
        1e-5,
        5,
    )
    assert settings.choice("dataset") == "iris"


def test_an_error_in_a_file_names_file_and_line():
    write(Path("conf/optimizer/slow.yaml"), "name: sgd\nlr: fast\n")
    with pytest.raises(ConfigError, match=r"conf/optimizer/slow\.yaml, line 2.* not a number"):
        build(compose(["optimizer=slow"]))
    write(Path("conf/optimizer/slow.yaml"), "name: adam\nmomentum: 0.9\n")
    with pytest.raises(
        ConfigError, match=r"conf/optimizer/slow\.yaml, line 2.*belongs to optimizer momentum"
    ):
        build(compose(["optimizer=slow"]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: sgd\nname: adam\n", "line 2.*duplicate key"),
        ("name: [sgd\n", "not YAML"),
        ("name: !!python/object/apply:os.system [ls]\n", "not YAML"),
        ("lr: 0.1\n", "`optimizer.name` is missing"),
        ("defaults:\n  - adamm\nlr: 0.1\n", "`adamm`. Did you mean `optimizer=adam`"),
        ("- 1\n", "optimizer"),
        ("name: sgd\nlr: ???\n", "`optimizer.lr` has no default"),
        ("name: sgd\nlr: ${optimizer.lrr}\n", "leads nowhere"),
        ("name: sgd\nlr: ${oc.env:HOME}\n", "not allowed"),
        ("name: sgd\nlr: yes\n", "not a number"),
        ("name: sgd\nlr: 12:30:00\nnesterov: 1\n", "true or false"),
        ("# " + "x" * 1_100_000, "1000000"),
        (
            (
                "a: &a [1,1,1,1,1,1,1,1,1]\n"
                "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                "e: [*d,*d,*d,*d,*d,*d,*d,*d]\n"
            ),
            "more than 10000",
        ),
    ],
)
def test_an_invalid_file(text, reason):
    write(Path("conf/optimizer/mine.yaml"), text)
    with pytest.raises(ConfigError, match=reason):
        build(compose(["optimizer=mine"]))


def test_an_override_that_a_preset_contradicts():
    """Also with the default of the key, which the class cannot tell from a key that is not set."""
    chosen = ["optimizer=adagrad", "optimizer.form=lecture"]
    assert build(compose(chosen)).optimizer.eps == 1e-4
    assert build(compose([*chosen, "optimizer.eps=1e-4"])).optimizer.eps == 1e-4
    for value in ("1e-10", "1e-3"):
        with pytest.raises(ConfigError, match=r"optimizer\.eps.* contradicts"):
            build(compose([*chosen, f"optimizer.eps={value}"]))


def test_a_file_must_not_hide_a_shipped_choice():
    write(Path("conf/optimizer/adam.yaml"), "name: adam\nlr: 5\n")
    with pytest.raises(ConfigError, match="my_adam"):
        compose()


def test_invalid_folders():
    with pytest.raises(ConfigError, match="does not exist"):
        compose([], ["nowhere"])
    with pytest.raises(ConfigError, match="a package would be imported"):
        compose(["hydra.searchpath=[pkg://antigravity]"])
    assert "antigravity" not in sys.modules


def test_the_configuration_of_a_folder_is_not_trusted():
    config = build(compose()).config
    folder = Path("run")
    code = {**config, "model": {**config["model"], "x": {"_target_": "os.system"}}}
    for text, error, reason in [
        (str(code), ConfigError, "_target_"),
        (str({**config, "extra": 1}), ConfigError, "extra"),
        ("a: [", DamagedFileError, "not YAML"),
        ("[]", DamagedFileError, "contains a list, not keys and values"),
    ]:
        write(folder / "config.yaml", text)
        with pytest.raises(error, match=reason):
            settings_of_folder(folder)


def test_a_configuration_that_was_cut_is_refused_by_its_name():
    """A cut between two groups leaves a YAML file that is valid."""
    path = Path("run/config.yaml")
    config = dict(build(compose()).config)
    groups = [key for key, value in config.items() if isinstance(value, dict)]
    assert len(groups) > 8
    for group in groups:
        kept = dict(itertools.takewhile(lambda item, end=group: item[0] != end, config.items()))
        write(path, yaml.safe_dump(kept, sort_keys=False))
        with pytest.raises(DamagedFileError, match=re.escape(str(path))):
            settings_of_folder(path.parent)


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("name=日本", "name='日本'"),
        ("dataset.features=[größe,b,fläche]", "dataset.features=['größe',b,'fläche']"),
        ("dataset.target=größe (m)", "dataset.target='größe (m)'"),
    ],
)
def test_a_value_that_needs_quotes_is_shown_with_them(line, written):
    with pytest.raises(ConfigError, match=re.escape(f'write "{written}"')):
        parse_overrides([line])
    assert parse_overrides([written])


@pytest.mark.parametrize("line", ["model.hidden=[6,4", "name='x", "name=$(x", "name=["])
def test_quotes_are_suggested_where_they_help(line):
    with pytest.raises(ConfigError, match=r"\"(name|model.hidden)='\.\.\.'\"\.$"):
        parse_overrides([line])

"""Composing many jobs equals composing each one and equals Hydra's composition; expansion equals
Hydra's grid.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
import yaml
from harness import size
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timing import cheapest

from mlplab.cli import main
from mlplab.config import composition
from mlplab.config import expand as expansion
from mlplab.config import overrides as overrides_module
from mlplab.config.builder import build
from mlplab.config.composer import Composer
from mlplab.config.composition import compose
from mlplab.config.expand import override_value
from mlplab.config.overrides import parse_number, parse_overrides
from mlplab.errors import ConfigError
from mlplab.sweeps.plan.plan_file import read_plan

CONFIGS = Path(__file__).parents[2] / "configs"

GROUP_OVERRIDES = [
    "experiment=xor_mlp",
    "experiment=radial_6_6",
    "dataset=sine",
    "dataset=xor",
    "optimizer=sgd",
    "optimizer=momentum",
    "optimizer=torch",
    "activation=relu",
    "activation=leaky_relu",
    "schedule=cosine",
    "schedule=multistep",
    "training=batch",
    "tracking=off",
]
VALUE_OVERRIDES = [
    "seed=3",
    "seed=null",
    "seed=${training.epochs}",
    "training.epochs=${seed}",
    "training.epochs=7",
    "name=other",
    "name=${dataset.name}_x",
    "optimizer.lr=0.1",
    "optimizer.lr=1e-3",
    "optimizer.lr=5",
    "++optimizer.lr=0.2",
    "optimizer.weight_decay=0.1",
    "optimizer.momentum=0.5",
    "model.hidden=[6,4]",
    "model.hidden=6-4",
    "model.hidden=[{units:3,dropout:0.1},4]",
    "model.dropout=0.2",
    "dataset.noise=0.05",
    "dataset.num_samples=100",
    "activation.negative_slope=0.3",
    "schedule.milestones=[1,2]",
    "optimizer.options={max_iter:3}",
    "optimizer.options.max_iter=4",
    "dtype=float64",
    "device=cpu",
    "training.patience=null",
    "loss.label_smoothing=0.1",
    "++training.patience=4",
    "sweep.retries=2",
    "training.batch_size='16'",
]
INVALID_OVERRIDES = [
    "~optimizer.lr",
    "+optimizer.lr=1",
    "+optimizer.lrr=1",
    "optimizer.lrr=1",
    "optimizer.lr=fast",
    "sed=3",
    "seed=1,2",
    "optimizer=adamm",
    "sweep.seed=4",
    "dataset.noise=???",
    "optimizer.lr=${nowhere}",
    "+x._target_=os.system",
    "optimizer.lr={a:1}",
    "training={epochs:3}",
]


def expand(overrides):
    return expansion.expand(Composer(overrides))


def compose_many(jobs):
    composer = Composer()
    return [composer.compose(tuple(job)) for job in jobs]


def build_many(composed):
    return [build(one) for one in composed]


def outcome(function, job):
    try:
        composed = function(job)
    except ConfigError as error:
        return str(error)
    return (
        composed.config,
        composed.overrides,
        dict(composed.sources.choices),
        composed.sweep,
        composed.is_sweep,
        composed.run_dir.rpartition("/")[0],
    )


line = st.tuples(
    st.lists(st.sampled_from(GROUP_OVERRIDES), max_size=2, unique_by=lambda w: w.partition("=")[0]),
    st.lists(
        st.sampled_from(VALUE_OVERRIDES * 3 + INVALID_OVERRIDES),
        max_size=4,
        unique_by=lambda w: w.strip("+~").partition("=")[0],
    ),
)


@pytest.mark.campaign("fuzz", small=True)
@settings(
    max_examples=size(5, 30),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(line)
def test_each_of_many_equals_composing_it_separately(overrides):
    job = (*overrides[0], *overrides[1])
    assert outcome(lambda job: compose_many([job])[0], job) == outcome(compose, job)


def test_many_jobs_keep_their_order_and_share_nothing_that_changes():
    jobs = [
        ("optimizer=sgd", f"optimizer.lr={lr}", f"model.hidden={hidden}")
        for lr, hidden in itertools.product((0.1, 0.2), ("[3]", "[4,5]"))
    ]
    result = compose_many(jobs)
    assert [one.config for one in result] == [compose(job).config for job in jobs]
    for one, job in zip(build_many(result), jobs, strict=True):
        other = build(compose(job))
        assert (one.layers, one.optimizer, one.config, one.overrides) == (
            other.layers,
            other.optimizer,
            other.config,
            other.overrides,
        )


def test_the_values_equal_hydras_composition():
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    job = [
        "optimizer=momentum",
        "optimizer.lr=0.25",
        "model.hidden=[6,4]",
        "training.epochs=${seed}",
        "seed=9",
        "++dataset.noise=0.1",
    ]
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        expected = OmegaConf.to_container(hydra_compose("config", overrides=job), resolve=True)
    result = compose_many([job])[0].config
    assert result == {
        **{key: value for key, value in expected.items() if key != "sweep"},
        "name": "two_layer_radial",
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["name=other", "hydra.run.dir=r"],
        ["name='a,b \\'c\\''", "hydra.run.dir='out/${name}/${seed}'"],
        ["name=${dataset.name}_x", "hydra.run.dir=${name}", "seed=4"],
        ["hydra.run.dir=7", "hydra.sweep.dir='s/${hydra.job.override_dirname}'"],
        ["name=3", "hydra.run.dir=r", "hydra.run.dir=second"],
        ["hydra.run.dir=r", "sweep.parallel=5", "sweep.parallel=6", "sweep.sampler=grid"],
        ["experiment=hidden_units", "seeds=3", "hydra.run.dir=r", "hydra.sweep.dir=s"],
        ["hydra.run.dir=r", "sweep.grid={seed:[1,2]}", "sweep.metric=[a,b]"],
        ["hydra.run.dir=r", "hydra.mode=MULTIRUN", "sweep.retries=2"],
        ["hydra.run.dir=r", "sweep.grid=3"],
        ["hydra.run.dir=r", "sweep.trials=many"],
        ["hydra.run.dir=${nowhere}"],
    ],
)
def test_names_folders_and_sweeps_equal_hydras_composition(overrides):
    """They are set in the cached composition of the other overrides."""

    def attributes(composed):
        return (
            composed.config,
            composed.run_dir,
            composed.sweep_dir if "hydra.sweep.dir" in str(overrides) else None,  # else random
            composed.sweep,
            composed.is_multirun,
        )

    def reason(function):
        try:
            return attributes(function())
        except ConfigError as error:
            return str(error)

    assert reason(lambda: Composer(overrides).compose_run()) == reason(lambda: compose(overrides))


def test_an_invalid_override_in_the_last_job_is_refused():
    jobs = [(f"optimizer.lr={lr}",) for lr in (0.1, 0.2, 0.3)]
    with pytest.raises(ConfigError, match="lrr"):
        compose_many([*jobs, ("optimizer.lrr=1",)])
    with pytest.raises(ConfigError, match=r"optimizer\.lr=-1"):
        build_many(compose_many([*jobs, ("optimizer.lr=-1",)]))


@pytest.mark.campaign("timing")
def test_a_job_costs_less_than_three_milliseconds():
    jobs = expand(
        [
            "experiment=xor_mlp",
            "optimizer.lr=" + ",".join(str(0.001 * (i + 1)) for i in range(16)),
            "seed=range(64)",
        ]
    )
    build_many(compose_many(jobs[:2]))
    assert cheapest(lambda: build_many(compose_many(jobs))) / 1024 < 0.003


def test_six_jobs_need_one_composition_and_one_parse_per_override(monkeypatch):
    """Hydra's own parsing, within its composition, is not counted."""
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    real_compose, real_parse = hydra.compose, OverridesParser.parse_rule
    compositions, parsed, composing = [], Counter(), []

    def counted_compose(*args, **kwargs):
        compositions.append(kwargs["overrides"])
        composing.append(True)
        try:
            return real_compose(*args, **kwargs)
        finally:
            composing.pop()

    def counted_parse(parser, text, rule):
        if not composing:
            parsed[text] += 1
        return real_parse(parser, text, rule)

    overrides_module._parse_with_grammar.cache_clear()
    composition._composed.cache_clear()
    monkeypatch.setattr(hydra, "compose", counted_compose)
    monkeypatch.setattr(OverridesParser, "parse_rule", counted_parse)
    given = ["experiment=xor_mlp", "training.epochs=1", "tracking=off"]
    swept = ["optimizer.lr=0.01,0.1", "seed=0,1,2"]
    assert main(["train", "-m", *given, *swept, "hydra.sweep.dir=sweep"]) == 0
    assert len(read_plan(Path("sweep")).jobs) == 6
    assert len(compositions) == 1
    numbers = {"training.epochs=1"}  # they need no grammar, nor do the values of the swept keys
    assert parsed == dict.fromkeys({*given, *swept, "hydra.sweep.dir=sweep"} - numbers, 1)


NUMBERS = "0 -0 7 -12 4294967295 0.5 -0.0 1.50 1e-3 1E+04 -2.5e-07 1e3"
OTHERS = (
    "seed=007 seed=1_000 x-y=3 +seed=3 a.0=1 x=.5 x=5. x=1,2 x=nan x=inf x=true x=null x='3' x=+3"
    " x=\u0663 group/x=3"
)


@pytest.mark.parametrize("key", ["seed", "optimizer.lr", "a.b_c.d2", "_x"])
@pytest.mark.parametrize("text", NUMBERS.split())
def test_a_number_is_parsed_as_by_the_grammar(key, text):
    line = f"{key}={text}"
    number, override = parse_number(line), overrides_module._parse_with_grammar(line)
    assert number == override
    assert type(number.value()) is type(override.value())


@pytest.mark.parametrize("line", [*OTHERS.split(), "seed= 3", "seed=3 "])
def test_other_values_are_left_to_the_grammar(line):
    assert parse_number(line) is None


# Expansion.


def test_a_glob_expands_to_the_choices_that_match():
    file = Path("own/activation/tangent.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("name: tanh\n")

    def matches(glob):
        (override,) = Composer([f"activation={glob}"], ["own"]).parsed
        return list(override.sweep_string_iterator())

    shipped = [path.stem for path in (CONFIGS / "activation").glob("*.yaml")]
    assert matches("glob(*)") == sorted([*shipped, "tangent"])
    assert matches("glob(tan*,exclude=*shrink)") == ["tangent", "tanh"]
    assert expand(["sweep.grid={activation: 'glob([relu,elu])'}"]) == [
        ("activation=elu",),
        ("activation=relu",),
    ]
    for nothing in ("activation=glob(nothing*)", "optimizer.lr=glob(*)"):
        with pytest.raises(ConfigError, match="has no values"):
            expand([nothing])


@pytest.mark.slow
def test_a_glob_on_the_command_line(capsys):
    assert main(["plan", "dataset=xor", "activation=glob(s*)", "dataset.num_samples=20"]) == 0
    number = len(list((CONFIGS / "activation").glob("s*.yaml")))
    assert number >= 4
    output = capsys.readouterr().out
    assert f"{number} structures" in output
    assert f"{number} jobs in 1 population" in output


def test_the_grid_equals_hydras():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    overrides = [
        "experiment=xor_mlp",
        "activation=tanh,relu",
        "optimizer.lr=0.1,1e-3",
        "seed=range(3)",
        "model.hidden=[3],[4,5]",
        "name='a,b','c d'",
    ]
    result = expand([override for override in overrides if not override.startswith("name")])
    expected = BasicSweeper.split_arguments(parse_overrides(overrides[:-1]), None)[0]
    assert result == [tuple(job) for job in expected]
    assert len(result) == 24


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [
        ([], [()]),
        (["seeds=2"], [("seed=0",), ("seed=1",)]),
        (["seed=7", "seeds=2"], [("seed=7",), ("seed=8",)]),
        (["sweep.grid={activation:[tanh,relu]}"], [("activation=tanh",), ("activation=relu",)]),
        (["sweep.grid={activation:[tanh,relu]}", "activation=elu"], [("activation=elu",)]),
        (["sweep.grid={optimizer.lr:'range(1,3)'}"], [("optimizer.lr=1",), ("optimizer.lr=2",)]),
        (
            ["sweep.zip={optimizer.lr:[1,2],model.hidden:[[3],[4,5]]}"],
            [("optimizer.lr=1", "model.hidden=[3]"), ("optimizer.lr=2", "model.hidden=[4,5]")],
        ),
        (
            [
                "sweep.blocks=[{activation:[relu],optimizer.lr:[1,2]},{activation:[tanh]}]",
                "loss=mse,hinge",
            ],
            [
                ("loss=mse", "activation=relu", "optimizer.lr=1"),
                ("loss=mse", "activation=relu", "optimizer.lr=2"),
                ("loss=mse", "activation=tanh"),
                ("loss=hinge", "activation=relu", "optimizer.lr=1"),
                ("loss=hinge", "activation=relu", "optimizer.lr=2"),
                ("loss=hinge", "activation=tanh"),
            ],
        ),
        (
            ["hydra.sweep.dir=x", "sweep.retries=3", "seed=1,2", "hydra/launcher=basic"],
            [("seed=1",), ("seed=2",)],
        ),
        (["seed=1,1,2"], [("seed=1",), ("seed=2",)]),
    ],
)
def test_expansion(overrides, jobs):
    assert expand(overrides) == jobs


def test_an_experiment_carries_its_sweep(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    text = {
        "sweep": {
            "zip": {"optimizer.lr": [0.1, 0.2], "seed": [5, 6]},
            "blocks": [{"activation": ["relu"]}, {"activation": ["tanh"], "optimizer": ["sgd"]}],
        }
    }
    (folder / "mine.yaml").write_text("# @package _global_\n" + yaml.safe_dump(text))
    result = expand(["experiment=mine,xor_mlp"])
    assert len(result) == 5
    assert result[-1] == ("experiment=xor_mlp",)
    assert result[0] == ("experiment=mine", "activation=relu", "optimizer.lr=0.1", "seed=5")
    assert compose(["experiment=mine"]).is_sweep
    assert not compose(["experiment=xor_mlp"]).is_sweep
    assert "sweep" not in compose(["experiment=mine"]).config


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["sweep.zip={optimizer.lr:[1,2],seed:[1]}"], "one length"),
        (["sweep.grid=[1,2]"], "not a mapping"),
        (["sweep.grid={optimizer.lr:[]}"], "not a list of values"),
        (["sweep.grid={optimizer.lrr:[1]}"], None),
        (["sweep.blocks={a:1}"], "not a list"),
        (["sweep.grid={sweep.seeds:[1]}"], "cannot be varied"),
        (["sweep.grid={hydra.run.dir:[a]}"], "cannot be varied"),
        (["sweep.seed=3"], r"sweep\.seeds"),
        (["seeds=0"], ">= 1|in \\[1"),
        (["seeds=many"], "integer"),
        (["seeds=1,2"], "one"),
        (["optimizer.lr=interval(0,1)"], "interval"),
        (["seed=range(3,3)"], "no values"),
        (["seed=range(2000)", "optimizer.lr=range(1,2000)"], "1,000,000"),
        pytest.param(
            ["seeds=1000000", "optimizer.lr=1,2"],
            "1,000,000",
            marks=pytest.mark.campaign("fuzz"),
        ),
    ],
)
def test_expansion_refuses(overrides, reason):
    if reason is None:
        with pytest.raises(ConfigError, match="lrr"):
            compose_many(expand(overrides))
        return
    with pytest.raises(ConfigError, match=reason):
        expand(overrides)


def test_too_many_jobs_in_total_are_refused(monkeypatch):
    """The same as "seeds=1000000" of the campaign, with a smaller limit."""
    monkeypatch.setattr("mlplab.config.expand.MAX_JOBS", 1000)
    with pytest.raises(ConfigError, match="the limit is 1,000"):
        expand(["seeds=1000", "optimizer.lr=1,2"])
    assert len(expand(["seeds=500", "optimizer.lr=1,2"])) == 1000


text = st.text(st.characters(codec="ascii", exclude_characters="$\n\r"), max_size=12)
number = st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False)
value = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(60, 200), deadline=None, derandomize=True)
@given(value)
def test_a_value_from_yaml_is_read_back_as_the_same_value(original):
    parsed = parse_overrides([f"x={override_value(original)}"])[0].value()
    assert parsed == original
    assert type(parsed) is type(original)

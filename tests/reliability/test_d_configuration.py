"""Section D of the fault matrix, rows on the configuration: every invalid value is refused with one
paragraph that names the value and its origin.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from harness import FULL, QUICK, record_measurement, refused, row, size, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiers import subset_by_default

import mlplab
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.registry import table
from mlplab.config.root import COMPONENT_GROUPS
from mlplab.errors import ConfigError
from mlplab.optimizers import OPTIMIZERS
from mlplab.schema import rules


@row("D14")
@pytest.mark.parametrize("value", ["0", "-1", "2.5", "'32'", "nan", "null", "[32]"])
def test_d14_wrong_batch_sizes(value, capfd):
    refused(["train", *QUICK, f"training.batch_size={value}"], capfd, "training.batch_size")


@row("D14")
def test_d14_a_batch_larger_than_the_data_is_all_of_them(tmp_path):
    one, all_of_them = (
        mlplab.run([*QUICK[:-1], *overrides], tmp_path / overrides[0])
        for overrides in (["training.batch_size=100000"], ["training=batch"])
    )
    np.testing.assert_array_equal(one.history["train/loss"], all_of_them.history["train/loss"])


@row("D15")
@pytest.mark.parametrize("batch", [1, 5, 7, 35])
def test_d15_a_last_batch_of_one_with_batch_normalization(batch, tmp_path):
    """With 36 training examples, batches of 5, 7 and 35 leave one example over, which batch
    normalization skips. Batches of 1 are refused.
    """
    overrides = [*QUICK, "model.normalization=batch", f"training.batch_size={batch}"]
    if batch == 1:
        with pytest.raises(ValueError, match="batch"):
            mlplab.run(overrides, tmp_path / "run")
        return
    run = mlplab.run(overrides, tmp_path / "run")
    assert np.isfinite(run.history["train/loss"]).all()


@row("D16")
@pytest.mark.parametrize(
    "value",
    ["[0]", "[-3]", "[6,0]", "6-0", "[2.5]", "[1000000000]", "[1000000,1000000]", "[six]", "6-six"],
)
def test_d16_wrong_layers(value, capfd):
    refused(["train", *QUICK, f"model.hidden={value}"], capfd, "model.hidden")


@row("D16")
def test_d16_no_layers_are_a_linear_model(tmp_path):
    assert len(mlplab.run([*QUICK, "model.hidden=[]"], tmp_path / "run").module()) == 1


WRONG_NUMBERS = ("nan", "inf", "-inf", "'1e-3'", "-1e30", "[1]", "true")


@row("D17")
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "optimizer",
    subset_by_default("fuzz", sorted(OPTIMIZERS), lambda name: name in ("adam", "nag", "torch")),
)
def test_d17_wrong_numbers_of_every_optimizer(optimizer, capfd):
    """The campaign tries every wrong number for every key; the default tier, one per key."""
    keys = [key for key, rule in rules(OPTIMIZERS[optimizer]).items() if rule.kind == "number"]
    for i, key in enumerate(keys, start=sorted(OPTIMIZERS).index(optimizer)):
        for value in WRONG_NUMBERS if FULL else [WRONG_NUMBERS[i % len(WRONG_NUMBERS)]]:
            overrides = [f"optimizer={optimizer}", f"optimizer.{key}={value}"]
            refused(["train", *QUICK, *overrides], capfd, f"optimizer.{key}")
    refused(["train", *QUICK, f"optimizer={optimizer}", "optimizer.lr=0"], capfd, "optimizer.lr")


@row("D17")
@pytest.mark.parametrize(
    "override",
    [
        "training.patience=0",
        "training.patience=-1",
        "training.patience=1.5",
        "training.epochs=0",
        "training.epochs=-3",
        "training.epochs=1e3",
        "training.clip_norm=0",
        "training.l2=-1",
        "training.l1=nan",
        "training.min_delta=-1",
    ],
)
def test_d17_wrong_numbers_of_the_training(override, capfd):
    refused(["train", *QUICK, override], capfd, override.partition("=")[0])


@row("D18")
@pytest.mark.parametrize("value", ["nan", "1.0", "-0.1", "'0.5'", "inf"])
def test_d18_wrong_dropout(value, capfd):
    refused(["train", *QUICK, f"model.dropout={value}"], capfd, "model.dropout")


@row("D19")
@pytest.mark.parametrize("group", [group for group in COMPONENT_GROUPS if group not in ("model",)])
def test_d19_unknown_names(group, capfd):
    known = sorted(table(group))[0]
    misspelled = known[:-1] + ("x" if known[-1] != "x" else "y") + "z"
    errors = refused(["train", *QUICK, f"{group}={misspelled}"], capfd, misspelled)
    assert known in errors


@row("D20")
@pytest.mark.parametrize(
    "override",
    [
        "optimzer.lr=0.1",
        "optimizer.lrr=0.1",
        "+optimizer.x=1",
        "++training.x=1",
        "+x=1",
        "model.hiden=[3]",
        "model.hidden=[{units:3,activatin:relu}]",
        "tracking.x=1",
        "+dataset.noize=0.1",
        "sweep.grids={}",
    ],
)
def test_d20_misspelled_keys(override, capfd):
    refused(["train", *QUICK, override], capfd)


@row("D21")
@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
def test_d21_every_loss_on_every_kind_of_task(capfd):
    tasks = {
        "two classes": "xor",
        "three classes": "iris",
        "values": "quadratic",
        "several values": "linnerud",
    }
    fits = 0
    for i, loss in enumerate(sorted(table("loss"))):
        datasets = list(tasks.values())
        for dataset in datasets if FULL else datasets[i % 4 :][:1]:
            code = main(
                [
                    "train",
                    f"dataset={dataset}",
                    f"loss={loss}",
                    "training.epochs=1",
                    "tracking=off",
                    f"hydra.run.dir=r/{loss}-{dataset}",
                ]
            )
            captured = capfd.readouterr()
            assert code in (0, 2, 3), captured.err
            if code == 2:
                assert f"loss={loss}" in captured.err
                assert not Path(f"r/{loss}-{dataset}").exists()
            fits += code == 0
    assert fits > size(4, 25)


@row("D22")
@pytest.mark.parametrize("value", ["-1", "4294967296", "'3'", "1.5", "nan", "[1]"])
def test_d22_wrong_seeds(value, capfd):
    refused(["train", *QUICK, f"seed={value}"], capfd, "seed")


@row("D22")
def test_d22_a_seed_that_is_drawn_is_recorded(tmp_path):
    run = mlplab.run([*QUICK, "seed=null"], tmp_path / "run")
    again = mlplab.run([*QUICK, f"seed={run.settings.seed}"], tmp_path / "again")
    assert again.metrics == run.metrics


@row("D23")
@pytest.mark.parametrize(
    "text",
    [
        "lr: nan",
        "lr: .nan",
        "lr: yes",
        "lr: 12:30:00",
        "lr: 0x1F",
        "lr: '0.1'",
        "lr: 1_0.0_x",
        "beta1: on",
        "lr: ~",
        "lr: 2026-01-01",
    ],
)
def test_d23_yaml_types(text, capfd):
    Path("own/optimizer").mkdir(parents=True)
    Path("own/optimizer/mine.yaml").write_text(f"name: adam\n{text}\n")
    code = main(
        [
            "train",
            "--config-dir",
            "own",
            "dataset=xor",
            "training.epochs=1",
            "tracking=off",
            "optimizer=mine",
            "hydra.run.dir=run",
        ]
    )
    errors = capfd.readouterr().err
    value = yaml.safe_load(text)[text.partition(":")[0]]
    if code == 0:  # YAML 1.1 reads 0x1F as 31, which is a learning rate
        assert type(value) in (int, float)
        assert math.isfinite(value)
        return
    assert code == 2
    assert "optimizer" in errors
    assert "mine.yaml" in errors


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.lists(st.integers(-3, 9), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
BASE = compose(QUICK).config
KEYS = [(group, key) for group, node in BASE.items() if isinstance(node, dict) for key in node] + [
    (None, key) for key in BASE
]


def build_or_message(action):
    """Return the message of a ConfigError; other exceptions propagate."""
    try:
        action()
    except ConfigError as error:
        return str(error) or pytest.fail("an error without a message")
    return "it builds"


def changed(changes):
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for (group, key), value in changes:
        if group is not None and isinstance(config.get(group), dict):
            config[group][key] = value
        elif group is None:
            config[key] = value
    return config


@row("D20", "D23")
@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(200, 10_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from([*KEYS, ("model", "x"), (None, "y")]), VALUES),
        min_size=1,
        max_size=3,
    )
)
def test_fuzzing_never_a_traceback(changes):
    """Any configuration either builds or is refused with one paragraph."""
    text = build_or_message(lambda: build(Composed(changed(changes))))
    assert len(text) < 3000
    assert "Traceback" not in text


COMMAND_LINES = st.one_of(
    st.text(max_size=20),
    st.builds(
        "{}.{}={}".format,
        st.sampled_from([group for group, _ in KEYS if group]),
        st.sampled_from([key for _, key in KEYS]),
        st.text(max_size=6),
    ),
    st.builds(
        "{}={}".format,
        st.sampled_from([*COMPONENT_GROUPS, "seed", "name", "device"]),
        st.text(max_size=6),
    ),
    st.builds(
        "{}={}".format,
        st.sampled_from(["seed", "optimizer.lr", "training.epochs", "model.hidden"]),
        st.integers(-5, 5),
    ),
)


@pytest.mark.timeout(1200)
@row("D19", "D20")
@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(15, 2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(COMMAND_LINES, min_size=1, max_size=3))
def test_fuzzing_of_the_command_line(overrides):
    before = tree(Path())
    build_or_message(lambda: build(compose([*QUICK, *overrides])))
    assert tree(Path()) == before


@pytest.mark.campaign("fuzz")
def test_fuzzing_is_recorded():
    record_measurement(
        "fuzzing of configurations",
        examples=10_000,
        command_lines=2000,
        tracebacks=0,
    )

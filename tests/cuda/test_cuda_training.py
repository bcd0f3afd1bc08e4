"""Every component, trained for about 30 steps on both devices with members that differ in seeds and
numbers.
"""

from __future__ import annotations

import dataclasses

import pytest
from building import build_component, make_settings
from comparing import (
    DTYPES,
    EPOCHS,
    NUM_MEMBERS,
    assert_same_training,
    flag_combinations,
    train_on,
    varied,
    with_seeds,
)

from mlplab.config.model import NORMALIZATIONS
from mlplab.errors import FieldError
from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS
from mlplab.optimizers.adapter import available
from mlplab.schedules import SCHEDULES
from mlplab.schema import rules
from mlplab.training_options import STYLES

MAX_LR = 0.005  # larger steps amplify rounding too much for a comparison


def dataset_for(loss):
    return "two_layer_radial" if "classification" in LOSSES[loss].tasks else "quadratic"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name, dtype, device_under_test):
    members = [
        make_settings(
            seed=k,
            activation=varied(ACTIVATIONS[name], k),
            optimizer=build_component(OPTIMIZERS, "sgd", lr=0.01 * (1 + k / 50)),
            epochs=EPOCHS,
            dtype=dtype,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name, dtype, device_under_test):
    members = [
        make_settings(
            seed=k,
            dataset=dataset_for(name),
            loss=varied(LOSSES[name], k),
            optimizer=build_component(OPTIMIZERS, "sgd", lr=0.001 * (1 + k / 50)),
            clip_norm=1.0,
            epochs=EPOCHS,
            dtype=dtype,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


def optimizer_of_member(name, flags, k):
    kind = OPTIMIZERS[name]
    fields = {"lr": min(kind.lr, MAX_LR) * (1 + k / 50), **flags}
    if flags.get("nesterov") and "momentum" in rules(kind):
        fields |= {"momentum": 0.5 + k / 50}
        fields |= {"dampening": 0.0} if "dampening" in rules(kind) else {}
    return varied(kind, k, **fields)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param(name, flags, id="-".join([name, *(flag for flag in flags if flags[flag])]))
        for name, kind in OPTIMIZERS.items()
        if not kind.single_network
        for flags in flag_combinations(kind)
    ],
)
def test_every_optimizer(name, flags, dtype, device_under_test):
    members = [
        make_settings(
            seed=k,
            optimizer=optimizer_of_member(name, flags, k),
            training="batch",
            epochs=30,
            dtype=dtype,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("averages", [("ema",), ("none", "ema", "swa")])
def test_averaged_weights(averages, dtype, device_under_test):
    members = [
        make_settings(
            seed=k,
            average=averages[k % len(averages)],
            average_decay=0.8 + 0.01 * k,
            average_start=0.2,
            epochs=EPOCHS,
            dtype=dtype,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("class_name", available())
def test_every_optimizer_of_torch(class_name, device_under_test):
    """Few steps and a wide tolerance: L-BFGS divides by differences of gradients, which amplifies
    rounding, and each step has 20 iterations.
    """
    try:
        optimizer = OPTIMIZERS["torch"](class_name=class_name, lr=MAX_LR)
    except FieldError as error:  # such as SparseAdam, whose gradients are not dense
        pytest.skip(str(error))
    settings = make_settings(optimizer=optimizer, training="batch", epochs=4)
    assert_same_training(device_under_test, [settings], tolerance=1e-7)


@pytest.mark.parametrize("unit", ["epoch", "step"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name, unit, device_under_test):
    """The learning rate is a column of the history."""
    members = [
        make_settings(
            seed=k,
            optimizer=build_component(OPTIMIZERS, "sgd", lr=0.05 * (1 + k / 50)),
            schedule=varied(SCHEDULES[name], k, unit=unit, warmup=float(k % 4)),
            epochs=EPOCHS + k % 3,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("name", [name for name, kind in SCHEDULES.items() if kind.stateful])
def test_schedules_that_react_to_the_metric(name, device_under_test):
    """With such a high threshold, hardly any evaluation counts as an improvement."""
    members = [
        make_settings(
            seed=k,
            optimizer=build_component(OPTIMIZERS, "sgd", lr=0.1),
            schedule=SCHEDULES[name](threshold=0.5, patience=k % 3, cooldown=k % 2),
            epochs=2 * EPOCHS,
        )
        for k in range(NUM_MEMBERS)
    ]
    lr = train_on(device_under_test, members)[0].history["lr"]
    assert lr[-1] < lr[0]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STYLES)
def test_every_training_style(name, dtype, device_under_test):
    epochs = 1 if name == "sgd" else EPOCHS  # one of 120 steps
    settings = make_settings(training=name, epochs=epochs, dtype=dtype)
    assert_same_training(device_under_test, with_seeds(settings))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalization_and_dropout(normalization, dropout, dtype, device_under_test):
    layer = {"normalization": normalization, "dropout": dropout}
    settings = make_settings(
        layer=layer,
        optimizer=build_component(OPTIMIZERS, "sgd", lr=0.05),
        epochs=EPOCHS,
        dtype=dtype,
    )
    assert_same_training(device_under_test, with_seeds(settings))


def test_penalties_and_clipping(device_under_test):
    members = [
        make_settings(
            seed=k,
            l1=1e-4 * k,
            l2=1e-3 * k,
            clip_norm=0.1 + k / 10,
            clip_value=0.05 + k / 20,
            epochs=EPOCHS,
        )
        for k in range(NUM_MEMBERS)
    ]
    assert_same_training(device_under_test, members)


@pytest.mark.parametrize("class_weights", ["balanced", [1.0, 3.0]], ids=["balanced", "custom"])
@pytest.mark.parametrize(
    "name", [name for name, kind in LOSSES.items() if "class_weights" in rules(kind)]
)
def test_class_weights(name, class_weights, device_under_test):
    settings = make_settings(
        loss=LOSSES[name](class_weights=class_weights),
        optimizer=build_component(OPTIMIZERS, "sgd", lr=0.001),
        clip_norm=1.0,
        epochs=EPOCHS,
    )
    assert_same_training(device_under_test, with_seeds(settings))


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_layers(dtype, device_under_test):
    """Layers so large that the affine map takes its second path; see network/affine.py."""
    settings = make_settings(
        hidden=(64, 64),
        activation="relu",
        optimizer=build_component(OPTIMIZERS, "sgd", lr=0.01),
        training="batch",
        epochs=15,
        dtype=dtype,
    )
    assert_same_training(device_under_test, with_seeds(settings, 24))


def test_a_deep_network(device_under_test):
    settings = make_settings(
        hidden=(8,) * 6, optimizer=build_component(OPTIMIZERS, "sgd", lr=0.05), epochs=EPOCHS
    )
    assert_same_training(device_under_test, with_seeds(settings))


def test_metrics_and_best_weights(device_under_test):
    """Accuracy, and the weights selected by validation, which other comparisons leave out."""
    members = with_seeds(
        make_settings(optimizer=build_component(OPTIMIZERS, "adam", lr=0.01), epochs=EPOCHS)
    )
    expected = train_on("cpu", members)
    for outcome, reference in zip(train_on(device_under_test, members), expected, strict=True):
        assert outcome.best_step == reference.best_step
        assert outcome.metrics.keys() == reference.metrics.keys()
        for name, value in reference.metrics.items():
            assert outcome.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
        accuracy = reference.history["val/accuracy"]
        assert outcome.history["val/accuracy"].tolist() == accuracy.tolist()


def test_patience_ends_members_at_the_same_epoch(device_under_test):
    settings = make_settings(
        optimizer=build_component(OPTIMIZERS, "adam", lr=0.05), epochs=60, patience=3, hidden=(4,)
    )
    members = [
        dataclasses.replace(
            s, training=dataclasses.replace(s.training, patience=2 + s.seed % 4, min_delta=0.01)
        )
        for s in with_seeds(settings)
    ]
    expected = train_on("cpu", members)
    actual = train_on(device_under_test, members)
    assert len({outcome.steps for outcome in expected}) > 1
    assert [outcome.steps for outcome in actual] == [reference.steps for reference in expected]

"""Dropout, normalization, plateaus and monitored metrics in the native engine, as in eager."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from building import make_settings, stored
from harness import size
from native_training import (
    EPOCHS,
    LR,
    assert_parity,
    assert_same_bits,
    both,
    distance,
    history_distances,
    session,
    train,
)
from tiers import subset_by_default

from mlplab import metrics
from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import Plateau
from mlplab.schedules.base import UNITS
from mlplab.training import Callback
from mlplab.training.checkpoint import restore, unpack_rows
from mlplab.validation import KFold

LAYERS = [
    {"dropout": 0.2},
    {"normalization": "layer"},
    {"normalization": "batch"},
    {"dropout": 0.5, "normalization": "layer", "bias": False},
]
STYLES = {"minibatch": {"epochs": EPOCHS}, "batch": {"epochs": 200}, "sgd": {"epochs": 2}}
"""The lengths of 200 steps, or of 240."""
OPTIONS = {
    "clipping": {"clip_norm": 0.1, "clip_value": 0.02},
    "penalties": {"l1": 0.01, "l2": 0.1},
    "order": {"shuffle": False},
    "weights": {"loss": LOSSES["cross_entropy"](class_weights=[1.0, 3.0])},
    "decay": {"optimizer": OPTIMIZERS["adamw"](lr=0.01, weight_decay=0.1)},
    "momentum": {"optimizer": OPTIMIZERS["nag"](lr=LR["nag"])},
    "learned slopes": {"activation": "prelu"},
}


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("layer", "dtype"),
    subset_by_default(
        "fuzz",
        list(itertools.product(LAYERS, ("float64", "float32"))),
        lambda layer, dtype: len(layer) > 1 or ("dropout" in layer) == (dtype == "float32"),
    ),
    ids=str,
)
def test_layers(layer, dtype):
    epochs = size(ci=12, full=EPOCHS)
    assert_parity(make_settings(layer=layer, hidden=(17, 9), epochs=epochs, dtype=dtype))


def combinations():
    """Only minibatch has the key shuffle, and batches that are a block of the kernel."""
    for layer, style, option in itertools.product(LAYERS, STYLES, OPTIONS):
        is_of_minibatch = option == "order" or layer == {"normalization": "batch"}
        if style == "minibatch" or not is_of_minibatch:
            yield from ((layer, style, option, dtype) for dtype in ("float64", "float32"))


DEFAULT = [
    ({"dropout": 0.2}, "sgd", "clipping", "float64"),
    ({"normalization": "layer"}, "minibatch", "weights", "float32"),
    ({"dropout": 0.5, "normalization": "layer", "bias": False}, "sgd", "learned slopes", "float64"),
]


@pytest.mark.parametrize(
    ("layer", "style", "option", "dtype"),
    subset_by_default(
        "fuzz",
        combinations(),
        lambda *names: names in DEFAULT,
    ),
    ids=str,
)
def test_layers_with_every_option(layer, style, option, dtype):
    fields = {"hidden": (9, 5), "layer": layer, "dtype": dtype, "training": style}
    schedule = Plateau(patience=2, threshold=0.05, gamma=0.7)
    assert_parity(make_settings(**fields, schedule=schedule, **STYLES[style], **OPTIONS[option]))


@pytest.mark.parametrize("batch_size", [2, 17, 31])
def test_batch_normalization_of_incomplete_blocks(batch_size):
    layer = {"normalization": "batch", "dropout": 0.1}
    fields = {"batch_size": batch_size, "evaluate_every": 2, "l2": 0.1}
    assert_parity(make_settings(layer=layer, epochs=3, **fields))


def test_running_statistics_are_those_of_eager():
    settings = make_settings(layer={"normalization": "batch"}, epochs=4)
    native, eager = (session([settings], engine) for engine in ("native", "eager"))
    for training in (native, eager):
        training.run()
    populations = [training.groups[0].population for training in (native, eager)]
    for kept in (lambda p: p, lambda p: p.early_stopping.best, lambda p: p.early_stopping.last):
        buffers, expected = (kept(population).buffers for population in populations)
        assert buffers.keys() == expected.keys() != set()
        for name, value in expected.items():
            torch.testing.assert_close(buffers[name], value)


@pytest.mark.parametrize("rate", [1e-9, 0.999, 1 - 1e-12])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rates_at_the_edges(rate, dtype):
    assert_parity(make_settings(layer={"dropout": rate}, epochs=3, dtype=dtype))


def test_members_with_other_rates():
    settings = [
        make_settings(seed=seed, layer={"dropout": rate}, epochs=3)
        for seed, rate in enumerate((0.0, 0.1, 0.6))
    ]
    native = train(settings, "native")
    for outcome, eager, one in zip(native, train(settings, "eager"), settings, strict=True):
        assert distance(outcome, eager) < 1e-10
        assert_same_bits(outcome, train([one], "native")[0])
    without = make_settings(seed=0, epochs=3)
    assert torch.equal(native[0].theta_P, train([without], "native")[0].theta_P)


PLATEAUS = [
    (Plateau(patience=0, threshold=0.02, gamma=0.5, cooldown=2), {}),
    (Plateau(patience=1, threshold=0.01, threshold_mode="abs"), {"evaluate_every": 3}),
    (
        Plateau(patience=0, min_factor=0.2, threshold_mode="abs"),
        {"monitor": "accuracy", "steps": 39},
    ),
    (Plateau(patience=2, threshold=0.1, warmup=2.5, unit="step"), {"patience": 9}),
]


@pytest.mark.parametrize(("schedule", "fields"), PLATEAUS, ids=str)
def test_a_plateau_drops_at_the_same_evaluations(schedule, fields):
    settings = make_settings(schedule=schedule, **{"epochs": 24, **fields})
    assert_parity(settings)
    native, eager = both(settings)
    np.testing.assert_array_equal(native.history["lr"], eager.history["lr"])
    assert native.history["lr"][-1] < native.history["lr"].max()


class StopAt(Callback):
    """Interrupts a training at a step; the stretches end there."""

    def __init__(self, step: int) -> None:
        self.step = step

    def should_pause(self, session, group):
        return group.stepper.step >= self.step

    def on_pause(self, session, group):
        if group.stepper.step >= self.step:
            raise KeyboardInterrupt


def interrupted(settings, engine, step):
    """The state that a checkpoint would store after this step."""
    training = session(settings, engine, StopAt(step))
    with pytest.raises(KeyboardInterrupt):
        training.run()
    training.read(training.groups[0])
    return stored(training.groups[0])


def continued(settings, engine, state):
    training = session(settings, engine)
    restore(training.groups[0], state["loop"], unpack_rows(state["rows"]))
    training.run()
    return training.outcomes()


def plateaus(members: int):
    return [
        make_settings(
            seed=seed,
            schedule=Plateau(patience=seed % 2, threshold=0.02 * seed, gamma=0.5, unit=UNITS[0]),
            layer={"dropout": 0.1 * seed},
            evaluate_every=2,
            epochs=20,
        )
        for seed in range(members)
    ]


@pytest.mark.parametrize("step", [5, 16, 42])
def test_the_state_of_a_plateau_is_that_of_eager_and_resumes(step, monkeypatch):
    monkeypatch.setattr("mlplab.training.stretches.MAX_GROWTH", 1)  # a stretch is a step
    settings = plateaus(3)
    reference = train(settings, "native")
    native, eager = (interrupted(settings, engine, step) for engine in ("native", "eager"))
    state, expected = (tree["loop"]["now"]["schedule"] for tree in (native, eager))
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value)
    for outcome, other in zip(continued(settings, "native", native), reference, strict=True):
        assert_same_bits(outcome, other)
    for engine, tree in (("eager", native), ("native", eager)):
        for outcome, other in zip(continued(settings, engine, tree), reference, strict=True):
            assert distance(outcome, other) < 1e-10
            np.testing.assert_array_equal(outcome.history["lr"], other.history["lr"])


MONITORED = [
    *(("iris", loss, name) for name in metrics.FINAL["classification"] for loss in ("auto",)),
    *(("two_layer_radial", "bce", name) for name in ("balanced_accuracy", "auroc", "brier")),
    *(("sine", "mse", name) for name in metrics.FINAL["regression"]),
]


@pytest.mark.parametrize(("dataset", "loss", "name"), MONITORED)
def test_every_monitored_metric(dataset, loss, name):
    chosen = DATASETS["iris"]() if dataset == "iris" else dataset
    assert_parity(make_settings(dataset=chosen, loss=loss, monitor=name, hidden=(5,), epochs=10))


@pytest.mark.parametrize("name", ["f1", "auroc"])
def test_metrics_of_folds_of_other_sizes(name):
    """The padding of the shorter folds does not count."""
    settings = [
        dataclasses.replace(
            make_settings(dataset=DATASETS["iris"](), monitor=name, epochs=3),
            validation=KFold(folds=4, fold=fold),
        )
        for fold in range(4)
    ]
    for native, eager in zip(train(settings, "native"), train(settings, "eager"), strict=True):
        assert history_distances(native, eager).max() < 1e-9


def monitoring(**fields):
    return [make_settings(seed=seed, epochs=6, patience=2, **fields) for seed in range(5)]


@pytest.mark.parametrize("name", ["mcc", "brier"])
def test_a_member_that_a_metric_ends_equals_its_single_run(name):
    settings = monitoring(monitor=name)
    together = session(settings, "native")
    together.groups[0].stepper.threads = 3
    together.run()
    for outcome, one in zip(together.outcomes(), settings, strict=True):
        assert_same_bits(outcome, train([one], "native")[0])


@pytest.fixture
def no_registered_metrics(monkeypatch):
    monkeypatch.setattr(metrics, "_registered", {})


@pytest.mark.usefixtures("no_registered_metrics")
def test_a_registered_metric():
    @metrics.register("lowest_probability", "max", "classification")
    def lowest_probability(scores, y):
        return scores[range(len(y)), y].min()

    for settings in monitoring(monitor="lowest_probability")[:2]:
        assert_parity(settings)


@pytest.mark.usefixtures("no_registered_metrics")
def test_an_error_of_a_registered_metric_ends_the_training():
    @metrics.register("failing", "max", "classification")
    def failing(scores, y):
        if len(y) > 6:  # more rows than it is tried on
            raise ZeroDivisionError("of the metric")
        return 0.0

    with pytest.raises(ZeroDivisionError, match="of the metric"):
        train(monitoring(monitor="failing"), "native")

"""The native engine trains as the eager one: weights, history, and how a training ends."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from building import make_settings
from harness import size
from native_training import (
    EPOCHS,
    LR,
    assert_parity,
    assert_same_bits,
    both,
    dataset_for,
    distance,
    session,
    train,
)
from tiers import subset_by_default

from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.native.variants import COMPONENTS, function_name, variants
from mlplab.network import INITIALIZERS
from mlplab.schedules import SCHEDULES
from mlplab.schedules.base import UNITS
from mlplab.task import Task
from mlplab.training import Callback, FrameRecorder, Session, prepare_members

OPTIMIZERS = [
    dataclasses.replace(component, lr=LR.get(name, 0.01))
    for name, cls in COMPONENTS["optimizer"].items()
    for component in variants(cls)
]


def is_default(optimizer):
    return optimizer == dataclasses.replace(type(optimizer)(), lr=optimizer.lr)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    subset_by_default(
        "fuzz",
        list(itertools.product(OPTIMIZERS, ("float64", "float32"))),
        lambda o, dtype: is_default(o) and (dtype == "float64" or type(o).__name__ == "Adam"),
    ),
    ids=lambda value: value if isinstance(value, str) else function_name("optimizer", value),
)
def test_every_optimizer(optimizer, dtype):
    assert_parity(make_settings(optimizer=optimizer, dtype=dtype, epochs=EPOCHS))


ACTIVATIONS = [c for cls in COMPONENTS["activation"].values() for c in variants(cls)]


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda activation: function_name("activation", activation)
)
def test_every_activation(activation):
    assert_parity(make_settings(activation=activation, hidden=(17, 9), epochs=EPOCHS))


def losses():
    for cls in COMPONENTS["loss"].values():
        yield from variants(cls)
    yield LOSSES["bce"](pos_weight=3.0)
    yield LOSSES["cross_entropy"](class_weights="balanced", label_smoothing=0.1)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("loss", list(losses()), ids=repr)
def test_every_loss(loss):
    assert_parity(make_settings(dataset=dataset_for(loss), loss=loss, epochs=EPOCHS))


SEVERAL = [LOSSES[name]() for name in ("gaussian_nll", "poisson", "focal", "hinge", "brier")]
"""Losses with functions of several rows of each kind, and with other predictions."""


def takes_many(loss):
    """Whether a loss is for values or for any number of classes."""
    tasks = Task("regression"), Task("classification", num_classes=200)
    return any(loss.incompatibility(task) is None for task in tasks)


def table(task, num_targets, num_examples, rng):
    """A dataset of three features, with several targets from 0 to 1, or with many classes."""
    x = rng.normal(size=(num_examples, 3))
    if task == "classification":
        y = rng.permutation(np.arange(num_examples) % num_targets)[:, None]
    else:
        y = 1 / (1 + np.exp(-x @ rng.normal(size=(3, num_targets))))
    names = [f"y{i}" for i in range(y.shape[1])]
    lines = [",".join(map(str, [*features, *row])) for features, row in zip(x, y, strict=True)]
    Path("table.csv").write_text("\n".join([",".join(["a", "b", "c", *names]), *lines]))
    return DATASETS["file"](path="table.csv", target=names, task=task)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("loss", "dtype"),
    subset_by_default(
        "fuzz",
        [
            case
            for case in itertools.product(losses(), ("float64", "float32"))
            if takes_many(case[0])
        ],
        lambda loss, dtype: dtype == "float64" and loss in SEVERAL,
    ),
    ids=repr,
)
def test_several_targets_and_many_classes(loss, dtype):
    """200 classes in blocks, whose last one is not full, and three targets."""
    if "classification" not in loss.tasks:
        dataset = table("regression", 3, 90, np.random.default_rng(0))
    else:
        dataset = table("classification", 200, 1000, np.random.default_rng(0))
    assert_parity(
        make_settings(dataset=dataset, loss=loss, hidden=(9,), epochs=size(2, EPOCHS), dtype=dtype)
    )


@pytest.mark.parametrize(
    ("name", "unit"),
    subset_by_default(
        "fuzz",
        list(itertools.product(SCHEDULES, UNITS)),
        lambda name, unit: unit == "epoch" or name == "one_cycle",
    ),
)
def test_every_schedule(name, unit):
    schedule = SCHEDULES[name](unit=unit, warmup=3.0)
    assert_parity(make_settings(schedule=schedule, hidden=(5,), epochs=8))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer(name):
    native, eager = both(make_settings(initializer=name, hidden=(5,), epochs=1))
    assert distance(native, eager) < 1e-10


@pytest.mark.parametrize(
    ("training", "fields"),
    [
        ("batch", {}),
        ("sgd", {"epochs": 2}),
        ("minibatch", {"batch_size": 50, "drop_last": True}),
        ("minibatch", {"batch_size": 7, "shuffle": False}),
        ("minibatch", {"clip_norm": 0.1, "clip_value": 0.02}),
        ("minibatch", {"l1": 0.01, "l2": 0.1}),
        ("minibatch", {"evaluate_every": 3, "steps": 35}),
        ("minibatch", {"monitor": "accuracy", "patience": 3, "min_delta": 0.01}),
    ],
    ids=str,
)
def test_training_options(training, fields):
    assert_parity(make_settings(training=training, **{"epochs": 12, **fields}))


@pytest.mark.parametrize("monitor", ["mae", "rmse", "r2"])
def test_monitors_of_a_regression(monitor):
    assert_parity(make_settings(dataset="sine", monitor=monitor, epochs=12))


@pytest.mark.parametrize("hidden", [(), (1,), (64,), (33, 40), (23, 100), (3, 3, 3, 3, 3, 3)])
def test_structures(hidden):
    assert_parity(make_settings(hidden=hidden, epochs=12))


def test_a_network_without_biases():
    assert_parity(make_settings(layer={"bias": False}, epochs=12))


STYLES = {"minibatch": 50, "batch": 200, "sgd": 2}
"""The lengths in epochs of 200 steps, or of 240."""
TIMES = list(itertools.product(SCHEDULES, UNITS))


def combinations():
    """Every pair of an activation, a loss and an optimizer, the third one in turn; the styles of
    training and the schedules in turn.
    """
    groups = [list(COMPONENTS[g]) for g in ("activation", "loss", "optimizer")]
    choices = [
        names
        for number, names in enumerate(itertools.product(*groups))
        if number % len(groups[2]) == (number // len(groups[2])) % len(groups[2])
    ]
    styles = itertools.cycle(STYLES)
    times = itertools.chain.from_iterable(TIMES[i:] + TIMES[:i] for i in itertools.count())
    for names, style, (schedule, unit) in zip(choices, styles, times, strict=False):
        yield (*names, style, schedule, unit, "float64")
        yield (*names, style, schedule, unit, "float32")


DEFAULT = [
    ("gelu", "bce", "adamw", "batch", "constant", "epoch", "float64"),
    ("leaky_relu", "half_mse", "nag", "minibatch", "constant", "epoch", "float64"),
    ("silu", "mse", "rmsprop", "minibatch", "constant", "epoch", "float64"),
]


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("activation", "loss", "optimizer", "training", "schedule", "unit", "dtype"),
    subset_by_default("fuzz", [*DEFAULT, *combinations()], lambda *names: names in DEFAULT),
)
def test_every_combination(activation, loss, optimizer, training, schedule, unit, dtype):
    component = COMPONENTS["optimizer"][optimizer](lr=LR.get(optimizer, 0.01) / 10)
    assert_parity(
        make_settings(
            dataset=dataset_for(LOSSES[loss]),
            activation=activation,
            loss=loss,
            optimizer=component,
            schedule=SCHEDULES[schedule](unit=unit),
            training=training,
            hidden=(9, 5),
            epochs=STYLES[training],
            dtype=dtype,
        )
    )


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights_of_rows(task, dtype):
    """Weights from a table, 0 among them, alone and with weights of classes."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(90, 3)), np.round(rng.exponential(size=90), 1)
    y = (x[:, 0] > 0).astype(int) if task == "classification" else x[:, 0] ** 2
    lines = [",".join(map(str, row)) for row in zip(*x.T, weight, y, strict=True)]
    Path("table.csv").write_text("\n".join(["a,b,c,weight,y", *lines]))
    assert 0 in weight
    dataset = DATASETS["file"](path="table.csv", weight_column="weight", task=task)
    trained = {
        "classification": [
            LOSSES["cross_entropy"](),
            LOSSES["cross_entropy"](class_weights="balanced"),
            LOSSES["bce"](),
        ],
        "regression": [LOSSES["mse"](), LOSSES["half_mse"](), LOSSES["gaussian_nll"]()],
    }
    for loss, style in zip(trained[task], STYLES, strict=False):
        settings = make_settings(
            dataset=dataset, loss=loss, training=style, hidden=(5,), epochs=4, dtype=dtype
        )
        assert_parity(settings)
        (weighted,) = train([settings], "native")
        unweighted = dataclasses.replace(
            settings, dataset=dataclasses.replace(dataset, weight_column=None, ignore=["weight"])
        )
        assert distance(weighted, train([unweighted], "native")[0]) > 1e-3


def test_members_with_other_numbers_match_eager():
    settings = [
        make_settings(
            seed=seed,
            optimizer=COMPONENTS["optimizer"]["adamw"](lr=lr, weight_decay=decay),
            activation=COMPONENTS["activation"]["leaky_relu"](negative_slope=slope),
            epochs=epochs,
            patience=patience,
        )
        for seed, lr, decay, slope, epochs, patience in [
            (0, 0.01, 0.0, 0.1, 9, None),
            (1, 0.02, 0.1, 0.2, 12, 2),
            (2, 0.03, 0.2, 0.0, 5, None),
        ]
    ]
    for native, eager in zip(train(settings, "native"), train(settings, "eager"), strict=True):
        assert distance(native, eager) < 1e-10
        assert (native.steps, native.best_step) == (eager.steps, eager.best_step)
        assert len(native.history) == len(eager.history)


def test_divergence_is_seen_at_the_same_step():
    settings = make_settings(
        dataset="sine", optimizer=COMPONENTS["optimizer"]["sgd"](lr=1e6), activation="relu"
    )
    native, eager = both(settings)
    assert native.status == eager.status == "diverged"
    assert native.steps == eager.steps
    assert torch.equal(native.theta_P, eager.theta_P)


class Objectives(Callback):
    def __init__(self):
        self.values, self.kept = [], []

    def on_evaluation(self, session, evaluation):
        self.values += [float(objective_K[0]) for objective_K in evaluation.objectives]
        self.kept += list(evaluation.objectives)


def test_callbacks_receive_the_objective_of_each_step():
    settings = make_settings(epochs=5, evaluate_every=2, l2=0.1)
    native, eager = Objectives(), Objectives()
    for engine, callback in (("native", native), ("eager", eager)):
        session([settings], engine, callback).run()
    assert len(native.values) == len(eager.values) > 0
    np.testing.assert_allclose(native.values, eager.values, rtol=1e-12)
    assert torch.stack(native.kept)[:, 0].tolist() == native.values, "the kernel has changed them"


class SkipsTheStart(Objectives):
    def evaluations_to_skip(self, session, group):
        return 0 if group.started else 1


def test_a_long_first_stretch_and_a_skipped_start_change_no_bit():
    settings = make_settings(epochs=7, evaluate_every=3)
    outcomes, curves = [], []
    for callback, first_work in ((Objectives(), 0.0), (SkipsTheStart(), 2.0**20)):
        members = prepare_members([dataclasses.replace(settings, engine="native")])
        training = Session((), [callback], first_work=first_work)
        training.add_group(members)
        training.run()
        outcomes += training.outcomes()
        curves.append(callback.values)
    assert_same_bits(*outcomes)
    assert curves[0] == curves[1]


def test_the_metrics_of_an_outcome_can_be_left_out():
    training = session([make_settings(epochs=1)], "native")
    training.run()
    (whole,), (bare,) = training.outcomes(), training.outcomes(metrics=False)
    assert whole.metrics
    assert not bare.metrics
    assert_same_bits(whole, bare)


@pytest.mark.parametrize("evaluate_every", [1, 3])
def test_frames_are_of_the_same_steps_although_stretches_pass_evaluations(evaluate_every):
    settings = make_settings(epochs=200, evaluate_every=evaluate_every, hidden=(3,))
    frames = {}
    for engine in ("native", "eager"):
        recorder = FrameRecorder(max_frames=10)
        session([settings], engine, recorder).run()
        frames[engine] = recorder.frames()
    assert frames["native"].step.tolist() == frames["eager"].step.tolist()
    assert frames["native"].epoch.tolist() == frames["eager"].epoch.tolist()
    torch.testing.assert_close(frames["native"].theta_RP, frames["eager"].theta_RP)


def test_a_callback_may_end_a_member_at_an_evaluation():
    class StopAtEpoch(Callback):
        def on_evaluation(self, session, evaluation):
            if evaluation.epoch == 3:
                session.stop(1, "enough")

    settings = [make_settings(seed=seed, epochs=6) for seed in range(2)]
    for native, eager in zip(
        train(settings, "native", StopAtEpoch()),
        train(settings, "eager", StopAtEpoch()),
        strict=True,
    ):
        assert (native.epochs, native.reason) == (eager.epochs, eager.reason)
        assert distance(native, eager) < 1e-10

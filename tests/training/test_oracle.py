"""A single member equals nn.Sequential + torch.optim from the same weights and batches, and each of
32 members equals its single run.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import build_component, make_session, make_settings
from harness import size
from oracle.plain import train_plain
from torch import nn

from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS, INITIALIZERS, as_module
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.training import Callback, build_population, prepare_members, train_population

# 200 points, 120 of them for training, batches of 32: 4 steps per epoch; 80 or 200 steps
EPOCHS = size(20, 50)

TORCH_OPTIMIZERS = {
    "sgd": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {},
    ),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.05, "weight_decay": 0.01}, {}),
    "adadelta": (torch.optim.Adadelta, {"lr": 1.0, "weight_decay": 0.01}, {}),
    "rmsprop": (
        torch.optim.RMSprop,
        {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.01},
        {},
    ),
    "adam": (torch.optim.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}, {}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.01}, {}),
    "adamax": (torch.optim.Adamax, {"lr": 0.01, "weight_decay": 0.01}, {}),
    "nadam": (torch.optim.NAdam, {"lr": 0.01, "weight_decay": 0.01}, {}),
    "radam": (torch.optim.RAdam, {"lr": 0.01, "weight_decay": 0.01}, {}),
    "rprop": (torch.optim.Rprop, {"lr": 0.01}, {}),
}


@pytest.fixture(autouse=True)
def _torch_default_dtype_float64():
    """torch.optim stores step counts and NAdam's product of momenta in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start_and_batches(settings):
    """The initial network as a module, and the batches of every epoch, of a single member."""
    member = prepare_members([settings])[0]
    population, _ = build_population([member])
    layers = [
        dataclasses.replace(layer, units=stacked.units)
        for layer, stacked in zip(settings.layers, population.network.layers, strict=True)
    ]
    module = as_module(
        population.network.layout,
        layers,
        population.theta_KP[0],
        {n: v[0] for n, v in population.buffers.items()},
    )
    epochs = (
        [(x[0].clone(), y[0].clone()) for x, y, _ in population.batches.epoch(e)]
        for e in range(1, settings.training.epochs + 1)
    )
    return module, epochs, population, layers


def assert_same_network(outcome, population, layers, plain):
    ours = as_module(population.network.layout, layers, outcome.last_theta_P, outcome.last_buffers)
    for (name, mine), theirs in zip(
        ours.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        if "num_batches" not in name:
            torch.testing.assert_close(
                mine, theirs, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choice", TORCH_OPTIMIZERS)
def test_a_single_member_equals_plain_torch(choice):
    torch_class, fields, extra = TORCH_OPTIMIZERS[choice]
    ours = {key: value for key, value in fields.items() if key != "betas"}
    settings = make_settings(
        optimizer=OPTIMIZERS[choice](**ours),
        schedule=SCHEDULES["step"](step_size=7, gamma=0.7),
        clip_norm=0.5,
        clip_value=0.3,
        epochs=EPOCHS,
    )
    module, epochs, population, layers = start_and_batches(settings)
    optimizer = torch_class(module.parameters(), **fields, **extra)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.7)
    plain = train_plain(
        module, optimizer, nn.CrossEntropyLoss(), epochs, scheduler, clip_norm=0.5, clip_value=0.3
    )
    outcome = train_population([settings])[0]
    assert outcome.steps == 4 * EPOCHS
    assert_same_network(outcome, population, layers, plain)


def test_every_optimizer_of_torch_is_listed():
    # the lecture's forms, Lion and the adapter are tested elsewhere
    tested_elsewhere = {"momentum", "nag", "lion", "torch"}
    assert set(TORCH_OPTIMIZERS) | tested_elsewhere == set(OPTIMIZERS)


def test_lbfgs_equals_plain_torch():
    """25 iterations: L-BFGS divides by differences of gradients, which amplify the last digits of
    differently ordered sums.
    """
    settings = make_settings(
        optimizer=OPTIMIZERS["torch"](class_name="LBFGS", lr=0.1, options={"max_iter": 5}),
        training="batch",
        epochs=5,
    )
    module, epochs, population, layers = start_and_batches(settings)
    plain = train_plain(
        module,
        torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=5),
        nn.CrossEntropyLoss(),
        epochs,
    )
    assert_same_network(train_population([settings])[0], population, layers, plain)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalization_equals_plain_torch(normalization):
    settings = make_settings(
        layer={"normalization": normalization}, optimizer=OPTIMIZERS["sgd"](lr=0.05), epochs=EPOCHS
    )
    module, epochs, population, layers = start_and_batches(settings)
    plain = train_plain(
        module, torch.optim.SGD(module.parameters(), lr=0.05), nn.CrossEntropyLoss(), epochs
    )
    assert_same_network(train_population([settings])[0], population, layers, plain)


def test_penalties_equal_plain_torch():
    settings = make_settings(optimizer=OPTIMIZERS["sgd"](lr=0.05), l1=1e-3, l2=1e-2, epochs=EPOCHS)
    module, epochs, population, layers = start_and_batches(settings)
    weights = [
        parameter for name, parameter in module.named_parameters() if name.endswith("weight")
    ]

    def loss(outputs, y):
        penalty = sum(1e-3 * w.abs().sum() + 1e-2 / 2 * w.square().sum() for w in weights)
        return nn.functional.cross_entropy(outputs, y) + penalty

    plain = train_plain(module, torch.optim.SGD(module.parameters(), lr=0.05), loss, epochs)
    assert_same_network(train_population([settings])[0], population, layers, plain)


def test_class_weights_equal_plain_torch():
    loss = LOSSES["cross_entropy"](class_weights=[1.0, 3.0])
    settings = make_settings(loss=loss, optimizer=OPTIMIZERS["sgd"](lr=0.05), epochs=EPOCHS)
    module, epochs, population, layers = start_and_batches(settings)
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0], dtype=torch.float64))
    plain = train_plain(module, torch.optim.SGD(module.parameters(), lr=0.05), weighted, epochs)
    assert_same_network(train_population([settings])[0], population, layers, plain)


def members_of_32(base, vary):
    return [vary(dataclasses.replace(base, seed=seed), seed) for seed in range(32)]


def assert_members_equal_single_runs(members, compared=(0, 13, 31)):
    batched = train_population(members)
    for k in compared:
        single = train_population([members[k]])[0]
        torch.testing.assert_close(batched[k].last_theta_P, single.last_theta_P, rtol=0, atol=1e-10)
        torch.testing.assert_close(batched[k].theta_P, single.theta_P, rtol=0, atol=1e-10)
        assert batched[k].best_step == single.best_step
        assert (batched[k].status, batched[k].steps) == (single.status, single.steps)


def with_lr(settings, k):
    return dataclasses.replace(
        settings,
        optimizer=dataclasses.replace(settings.optimizer, lr=settings.optimizer.lr * (1 + k / 50)),
    )


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "choice", [choice for choice in OPTIMIZERS if not OPTIMIZERS[choice].single_network]
)
def test_a_member_of_32_equals_its_single_run_for_every_optimizer(choice):
    base = make_settings(optimizer=choice, epochs=size(5, EPOCHS))
    base = dataclasses.replace(
        base, optimizer=dataclasses.replace(base.optimizer, lr=min(base.optimizer.lr, 0.02))
    )
    assert_members_equal_single_runs(members_of_32(base, with_lr))


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choice", ACTIVATIONS)
def test_a_member_of_32_equals_its_single_run_for_every_activation(choice):
    base = make_settings(
        activation=choice,
        epochs=size(2, 10),
        optimizer=build_component(OPTIMIZERS, "sgd", lr=0.01),
        schedule="cosine",
    )
    assert_members_equal_single_runs(members_of_32(base, with_lr), compared=(31,))


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choice", [choice for choice in LOSSES if choice != "auto"])
def test_a_member_of_32_equals_its_single_run_for_every_loss(choice):
    dataset = "two_layer_radial" if "classification" in LOSSES[choice].tasks else "quadratic"
    base = make_settings(
        dataset=dataset,
        loss=choice,
        epochs=size(2, 10),
        optimizer=build_component(OPTIMIZERS, "sgd", lr=0.001),
        clip_norm=1.0,
    )
    assert_members_equal_single_runs(members_of_32(base, with_lr), compared=(31,))


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choice", INITIALIZERS)
def test_a_member_of_32_equals_its_single_run_for_every_initializer(choice):
    base = make_settings(initializer=choice, epochs=size(2, 10))
    assert_members_equal_single_runs(members_of_32(base, with_lr), compared=(31,))


def test_a_member_of_32_equals_its_single_run_when_all_numbers_differ():
    def vary(settings, k):
        dataset = dataclasses.replace(settings.dataset, noise=0.01 * (k % 5))
        layers = tuple(
            dataclasses.replace(layer, dropout=0.02 * (k % 7)) if layer.activation else layer
            for layer in settings.layers
        )
        optimizer = OPTIMIZERS["adam"](
            lr=0.01 * (1 + k), beta1=0.8 + k / 200, weight_decay=1e-4 * k
        )
        training = dataclasses.replace(
            settings.training, l2=1e-4 * k, clip_norm=0.1 + k / 10, epochs=10 + k, patience=5 + k
        )
        schedule = SCHEDULES["cosine"](warmup=float(k % 3), min_factor=0.01 * (k % 4))
        return dataclasses.replace(
            settings,
            dataset=dataset,
            layers=layers,
            optimizer=optimizer,
            training=training,
            schedule=schedule,
        )

    assert_members_equal_single_runs(
        members_of_32(make_settings(patience=5, clip_norm=1.0), vary), compared=(0, 5, 17, 31)
    )


def test_a_diverging_member_leaves_its_neighbors_bit_identical():
    def vary(settings, k, bad):
        lr = 1e30 if k == bad else 0.01
        return dataclasses.replace(
            settings, optimizer=OPTIMIZERS["sgd"](lr=lr + 1e-9 * k, momentum=0.9)
        )

    base = make_settings(
        activation="relu", dtype="float32", epochs=10, clip_norm=1.0, schedule="plateau"
    )
    healthy = train_population(
        [vary(dataclasses.replace(base, seed=k), k, None) for k in range(16)]
    )
    for bad in (0, 7, 15):
        sick = train_population(
            [vary(dataclasses.replace(base, seed=k), k, bad) for k in range(16)]
        )
        assert sick[bad].status == "diverged"
        assert sick[bad].theta_P.isfinite().all()
        for k in set(range(16)) - {bad}:
            assert torch.equal(sick[k].last_theta_P, healthy[k].last_theta_P)
            assert sick[k].history.values.tobytes() == healthy[k].history.values.tobytes()


def test_the_start_is_bit_equal_in_a_population():
    members = [make_settings(seed=seed, dtype="float32") for seed in range(8)]
    batched = build_population(prepare_members(members))[0]
    first = next(batched.batches.epoch(3))
    for k, settings in enumerate(members):
        single = build_population(prepare_members([settings]))[0]
        assert torch.equal(single.theta_KP[0], batched.theta_KP[k])
        x, y, _ = next(single.batches.epoch(3))
        assert torch.equal(x[0], first[0][k])
        assert torch.equal(y[0], first[1][k])


def test_an_interrupted_session_has_outcomes():
    class Interrupt(Callback):
        def on_rows(self, session, group, rows):
            if rows[-1].epoch >= 3:
                raise KeyboardInterrupt

    session = make_session([make_settings(epochs=1000)], Interrupt())
    with pytest.raises(KeyboardInterrupt):
        session.run()
    outcome = session.outcomes()[0]
    assert outcome.status == "interrupted"
    assert outcome.theta_P.isfinite().all()


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_a_bias_in_front_of_batch_normalization_does_not_train_on_rounding(choice):
    """Its gradient is exactly 0: only weight decay, the default of adamw, moves it."""
    base = make_settings(
        optimizer=choice,
        epochs=size(2, 5),
        initializer="torch_default",
        layer={"normalization": "batch"},
    )
    members = [dataclasses.replace(base, seed=seed) for seed in range(2)]
    if OPTIMIZERS[choice].single_network:
        members = members[:1]
    population, _ = build_population(prepare_members(members))
    canceled = population.network.canceled_biases()
    assert len(canceled) == len(base.layers) - 1
    before = dict(
        zip(
            population.network.layout.entries,
            population.network.layout.split(population.theta_KP),
            strict=True,
        )
    )
    decay = 1 - base.optimizer.lr * (0.01 if choice == "adamw" else 0)
    for k, outcome in enumerate(train_population(members)):
        single = train_population([members[k]])[0]
        torch.testing.assert_close(outcome.last_theta_P, single.last_theta_P, rtol=0, atol=1e-10)
        after = population.network.layout.split(outcome.last_theta_P[None])
        for entry, bias_1O in zip(population.network.layout.entries, after, strict=True):
            if entry in canceled:
                decayed = before[entry][k] * decay**outcome.steps
                torch.testing.assert_close(bias_1O[0], decayed, rtol=1e-12, atol=0)

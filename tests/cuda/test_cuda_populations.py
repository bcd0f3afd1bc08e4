"""Members of one population on the device: each equals the same network trained separately, even if
others leave, join or diverge.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import TrialSession, build_component, make_settings
from comparing import (
    DTYPES,
    EPOCHS,
    NUM_MEMBERS,
    TOLERANCE,
    assert_bit_equal,
    assert_same_outcome,
    assert_same_training,
    train_on,
    varied,
    with_seeds,
)

from mlplab.losses import LOSSES
from mlplab.network import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.training.determinism import determinism

STACKABLE = [name for name, kind in OPTIMIZERS.items() if not kind.single_network]


def with_varied_numbers(k, **fields):
    """Member k: data, dropout, optimizer, penalties, clipping, schedule and length differ."""
    base = make_settings(
        seed=k,
        optimizer=varied(OPTIMIZERS["adamw"], k, lr=0.01),
        schedule=varied(SCHEDULES["cosine"], k, warmup=float(k % 3)),
        l2=1e-4 * k,
        clip_norm=0.5 + k / 10,
        epochs=4 + k % 9,
        **fields,
    )
    layers = tuple(
        dataclasses.replace(layer, dropout=0.02 * (k % 7)) if layer.activation else layer
        for layer in base.layers
    )
    dataset = dataclasses.replace(base.dataset, noise=0.01 * (k % 5))
    return dataclasses.replace(base, layers=layers, dataset=dataset)


@pytest.mark.parametrize("dtype", DTYPES)
def test_members_with_different_numbers_and_lengths(dtype, device_under_test):
    """Half of the members end early, so the population shrinks during training."""
    members = [with_varied_numbers(k, dtype=dtype) for k in range(32)]
    assert_same_training(device_under_test, members)
    batched = train_on(device_under_test, members)
    assert len({outcome.steps for outcome in batched}) > 4
    for k in (0, 5, 17, 31):
        single = train_on(device_under_test, [members[k]])[0]
        assert_same_outcome(batched[k], single, TOLERANCE[dtype])


@pytest.mark.parametrize("name", STACKABLE)
def test_a_member_equals_its_single_run_for_every_optimizer(name, device_under_test):
    members = [
        make_settings(
            seed=k,
            optimizer=varied(OPTIMIZERS[name], k, lr=0.005 * (1 + k / 50)),
            training="batch",
            epochs=20,
        )
        for k in range(NUM_MEMBERS)
    ]
    batched = train_on(device_under_test, members)
    single = train_on(device_under_test, members[-1:])[0]
    assert_same_outcome(batched[-1], single, TOLERANCE["float64"])


def test_a_diverging_member_leaves_its_neighbors_bit_identical(device_under_test):
    def population(diverging):
        base = make_settings(activation="relu", dtype="float32", epochs=EPOCHS, clip_norm=1.0)
        return train_on(
            device_under_test,
            [
                dataclasses.replace(
                    settings,
                    optimizer=OPTIMIZERS["sgd"](
                        lr=1e30 if settings.seed == diverging else 0.01 + 1e-4 * settings.seed
                    ),
                )
                for settings in with_seeds(base)
            ],
        )

    healthy = population(None)
    for diverging in (0, NUM_MEMBERS - 1):
        outcomes = population(diverging)
        assert outcomes[diverging].status == "diverged"
        assert outcomes[diverging].theta_P.isfinite().all()
        for k in set(range(NUM_MEMBERS)) - {diverging}:
            assert_bit_equal(outcomes[k], healthy[k])


def test_members_that_join_later(device_under_test):
    """New trials are added while others train, as in a search."""
    from mlplab.sweeps.plan.plan import Job
    from mlplab.sweeps.search.successive_halving import Rungs
    from mlplab.sweeps.search.trials import Trial, TrialMember
    from mlplab.training import prepare_members

    layer = {"dropout": 0.1, "normalization": "batch"}
    settings = [
        make_settings(
            seed=seed,
            layer=layer,
            optimizer=build_component(OPTIMIZERS, "adam", lr=0.003 * (1 + seed)),
            schedule="cosine",
            epochs=4 + seed,
        )
        for seed in range(6)
    ]
    on_device = [dataclasses.replace(s, device=device_under_test) for s in settings]
    jobs, rungs = [Job(s.seed, "", s) for s in on_device], Rungs((2,), 3, "train/loss")
    trials = [
        TrialMember(Trial((job,), rungs), job, member)
        for job, member in zip(jobs, prepare_members(on_device), strict=True)
    ]
    session, waiting, outcomes = TrialSession(trials[:3]), trials[3:], {}
    while session.groups:
        session.advance(session.group)
        outcomes |= {trial.member.settings.seed: outcome for trial, outcome in session.leave()}
        if waiting and session.groups:
            session.add_trials(waiting)
            waiting = []
    for seed, expected in enumerate(train_on("cpu", settings)):
        assert_same_outcome(outcomes[seed], expected, TOLERANCE["float64"])


def deterministic_cases():
    """Settings of every activation, loss and optimizer."""
    for name in ACTIVATIONS:
        yield pytest.param({"activation": name}, id=f"activation-{name}")
    for name, loss in LOSSES.items():
        dataset = "two_layer_radial" if "classification" in loss.tasks else "quadratic"
        yield pytest.param({"loss": name, "dataset": dataset}, id=f"loss-{name}")
    for name in STACKABLE:
        yield pytest.param({"optimizer": name}, id=f"optimizer-{name}")


@pytest.mark.parametrize("fields", [*deterministic_cases()])
def test_deterministic_trainings_repeat_bit_by_bit(fields, device_under_test):
    """With `deterministic=true`, torch raises for operations without a deterministic kernel."""
    layer = {"dropout": 0.1, "normalization": "batch"}
    members = with_seeds(
        make_settings(layer=layer, dtype="float32", clip_norm=1.0, epochs=2, **fields), 4
    )
    with determinism(True):
        first, second = (train_on(device_under_test, members) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_bit_equal(one, other)


def test_a_large_population(device_under_test):
    """Kernels with many blocks: 1024 members."""
    members = with_seeds(make_settings(training="batch", epochs=5), 1024)
    batched = train_on(device_under_test, members)
    for k in (0, 511, 1023):
        single = train_on("cpu", [members[k]])[0]
        assert_same_outcome(batched[k], single, TOLERANCE["float64"])
    thetas_KP = torch.stack([outcome.last_theta_P for outcome in batched])
    assert thetas_KP.isfinite().all()
    assert len(thetas_KP.unique(dim=0)) == 1024

"""Populations of 64: each member equals its single run, and a member that diverges does not affect
the others.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import make_settings
from harness import size

from mlplab.network import INITIALIZERS
from mlplab.optimizers import OPTIMIZERS
from mlplab.training import build_population, prepare_members, train_population

STEPS = 200


def different(k, steps=STEPS):
    """Settings of member k, which differ in learning rate, betas, weight decay, dropout,
    initializer gain, noise and seed.
    """
    base = make_settings(seed=k, patience=None, steps=steps)
    layers = tuple(
        dataclasses.replace(
            layer,
            dropout=0.003 * k if layer.activation else 0.0,
            initializer=INITIALIZERS["xavier_uniform"](gain=0.5 + k / 50),
        )
        for layer in base.layers
    )
    return dataclasses.replace(
        base,
        layers=layers,
        dataset=dataclasses.replace(base.dataset, noise=0.002 * k),
        optimizer=OPTIMIZERS["adamw"](
            lr=0.001 * (1 + k), beta1=0.8 + k / 400, beta2=0.99 + k / 10000, weight_decay=1e-3 * k
        ),
    )


@pytest.mark.campaign("fuzz", small=True)
def test_64_members_that_differ_in_every_number_equal_single_runs_after_200_steps():
    """By default four of them also train as single runs, for 50 steps; in the campaign all do."""
    steps = size(50, STEPS)
    members = [different(k, steps) for k in range(64)]
    batched = train_population(members)
    for k in range(0, 64, size(21, 1)):
        single = train_population([members[k]])[0]
        assert (batched[k].steps, single.steps) == (steps, steps)
        torch.testing.assert_close(batched[k].last_theta_P, single.last_theta_P, rtol=0, atol=1e-10)
        torch.testing.assert_close(batched[k].theta_P, single.theta_P, rtol=0, atol=1e-10)


def test_64_members_start_bit_equal():
    members = [different(k) for k in range(64)]
    batched = build_population(prepare_members(members))[0]
    batches = next(batched.batches.epoch(2))
    for k, settings in enumerate(members):
        single = build_population(prepare_members([settings]))[0]
        assert torch.equal(single.theta_KP[0], batched.theta_KP[k])
        for expected, shared in zip(next(single.batches.epoch(2))[:2], batches[:2], strict=True):
            assert torch.equal(expected[0], shared[k])


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "optimizer", [name for name in OPTIMIZERS if not OPTIMIZERS[name].single_network]
)
def test_a_member_with_an_absurd_learning_rate_leaves_63_bit_identical(optimizer):
    """By default one of three members diverges, which depends on the optimizer, for two epochs."""

    def population(bad):
        members = []
        for k in range(64):
            base = make_settings(
                seed=k,
                activation="relu",
                dtype="float32",
                epochs=size(2, 4),
                clip_norm=1.0,
                clip_value=0.5,
                schedule="plateau",
            )
            lr = 1e30 if k == bad else 0.003 * (1 + k / 64)
            members.append(
                dataclasses.replace(base, optimizer=dataclasses.replace(base.optimizer, lr=lr))
            )
        return train_population(members)

    healthy = population(None)
    number = list(OPTIMIZERS).index(optimizer)
    for bad in (0, 31, 63)[size(number % 3, 0) : size(number % 3 + 1, 3)]:
        diverging = population(bad)
        assert (
            not diverging[bad].last_theta_P.equal(healthy[bad].last_theta_P)
            or diverging[bad].status == "diverged"
        )
        for k in set(range(64)) - {bad}:
            assert torch.equal(diverging[k].last_theta_P, healthy[k].last_theta_P)
            assert torch.equal(diverging[k].theta_P, healthy[k].theta_P)
            assert diverging[k].history.values.tobytes() == healthy[k].history.values.tobytes()

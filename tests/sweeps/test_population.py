"""Populations of 64: each member equals its lone run, and a member that diverges is not noticed by
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
    """Member k: learning rate, betas, weight decay, dropout, initializer gain, noise and seed of
    its own.
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
def test_64_members_that_differ_in_every_number_equal_their_lone_runs_after_200_steps():
    """By default four of them are trained alone too, for 50 steps; in the campaign every one."""
    steps = size(50, STEPS)
    members = [different(k, steps) for k in range(64)]
    together = train_population(members)
    for k in range(0, 64, size(21, 1)):
        alone = train_population([members[k]])[0]
        assert (together[k].steps, alone.steps) == (steps, steps)
        torch.testing.assert_close(together[k].last_theta_P, alone.last_theta_P, rtol=0, atol=1e-10)
        torch.testing.assert_close(together[k].theta_P, alone.theta_P, rtol=0, atol=1e-10)


def test_64_members_start_bit_equal():
    members = [different(k) for k in range(64)]
    together = build_population(prepare_members(members))[0]
    batches = next(together.batches.epoch(2))
    for k, settings in enumerate(members):
        alone = build_population(prepare_members([settings]))[0]
        assert torch.equal(alone.theta_KP[0], together.theta_KP[k])
        for own, shared in zip(next(alone.batches.epoch(2))[:2], batches[:2], strict=True):
            assert torch.equal(own[0], shared[k])


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "word", [word for word in OPTIMIZERS if not OPTIMIZERS[word].single_network]
)
def test_a_member_with_an_absurd_learning_rate_leaves_63_bit_identical(word):
    """By default one of the three is sick, another one for each optimizer, for two epochs."""

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
    number = list(OPTIMIZERS).index(word)
    for bad in (0, 31, 63)[size(number % 3, 0) : size(number % 3 + 1, 3)]:
        sick = population(bad)
        assert (
            not sick[bad].last_theta_P.equal(healthy[bad].last_theta_P)
            or sick[bad].status == "diverged"
        )
        for k in set(range(64)) - {bad}:
            assert torch.equal(sick[k].last_theta_P, healthy[k].last_theta_P)
            assert torch.equal(sick[k].theta_P, healthy[k].theta_P)
            assert sick[k].history.values.tobytes() == healthy[k].history.values.tobytes()

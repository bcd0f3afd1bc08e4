"""The lecture's forms, and optimizers that torch lacks, compared with scalar formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.native.variants import function_name
from mlplab.optimizers import OPTIMIZERS

STEPS, LR, P = 60, 0.05, 5


def gradient(x, p, step):
    error = x - (math.sin(p * 1.7 + step * 0.3) + 0.1 * p)
    return 2 * error / (1 + error**2)


def momentum(x, p):
    v = 0.0
    for step in range(1, STEPS + 1):
        v = 0.8 * v + LR * gradient(x, p, step)
        x = x - v
    return x


def nag(x, p):
    v = 0.0
    for step in range(1, STEPS + 1):
        v = 0.8 * v + LR * gradient(x - 0.8 * v, p, step)
        x = x - v
    return x


def adagrad(x, p):
    total = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        total = total + g**2
        x = x - LR / math.sqrt(total + 1e-4) * g
    return x


def rmsprop(x, p):
    mean = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        mean = 0.9 * mean + (1 - 0.9) * g**2
        x = x - LR / math.sqrt(mean + 1e-4) * g
    return x


def rmsprop_centered_with_momentum(x, p):
    mean = square = velocity = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        mean = 0.9 * mean + (1 - 0.9) * g
        square = 0.9 * square + (1 - 0.9) * g**2
        velocity = 0.7 * velocity + g / math.sqrt(square - mean**2 + 1e-4)
        x = x - LR * velocity
    return x


def adam(x, p):
    m = v = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.99 * v + (1 - 0.99) * g**2
        x = x - LR / (math.sqrt(v) + 1e-4) * m
    return x


def adam_eps_inside(x, p):
    m = v = largest = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.99 * v + (1 - 0.99) * g**2
        largest = max(largest, v)
        x = x - LR * (m / (1 - 0.9**step)) / math.sqrt(largest / (1 - 0.99**step) + 1e-4)
    return x


def adamw_no_correction_eps_inside(x, p):
    m = v = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.99 * v + (1 - 0.99) * g**2
        x = x - LR * 0.3 * x
        x = x - LR * m / math.sqrt(v + 1e-4)
    return x


def lion(x, p):
    m = 0.0
    for step in range(1, STEPS + 1):
        g = gradient(x, p, step)
        direction = math.copysign(1.0, 0.8 * m + (1 - 0.8) * g)
        x = x - LR * (direction + 0.3 * x)
        m = 0.95 * m + (1 - 0.95) * g
    return x


CASES = {
    momentum: ("momentum", {"momentum": 0.8}),
    nag: ("nag", {"momentum": 0.8}),
    adagrad: ("adagrad", {"eps": 1e-4, "eps_inside": True}),
    rmsprop: ("rmsprop", {"alpha": 0.9, "eps": 1e-4, "eps_inside": True}),
    rmsprop_centered_with_momentum: (
        "rmsprop",
        {"alpha": 0.9, "eps": 1e-4, "eps_inside": True, "centered": True, "momentum": 0.7},
    ),
    adam: ("adam", {"beta2": 0.99, "eps": 1e-4, "bias_correction": False}),
    adam_eps_inside: ("adam", {"beta2": 0.99, "eps": 1e-4, "eps_inside": True, "amsgrad": True}),
    adamw_no_correction_eps_inside: (
        "adamw",
        {
            "beta2": 0.99,
            "eps": 1e-4,
            "eps_inside": True,
            "bias_correction": False,
            "weight_decay": 0.3,
        },
    ),
    lion: ("lion", {"beta1": 0.8, "beta2": 0.95, "weight_decay": 0.3}),
}


@pytest.mark.parametrize("formula", CASES, ids=lambda formula: formula.__name__)
def test_equals_its_formula(formula, problem):
    choice, fields = CASES[formula]
    optimizer, theta_KP = OPTIMIZERS[choice](lr=LR, **fields), problem.start(1, P)
    expected = torch.tensor(
        [[formula(x, p) for p, x in enumerate(theta_KP[0].tolist())]], dtype=torch.float64
    )
    state = optimizer.init(theta_KP)
    for step in range(1, STEPS + 1):
        theta_KP, state, _ = optimizer.step(
            theta_KP, lambda x, t=step: problem(x, t), state, step, LR
        )
    assert_close(theta_KP, expected, rtol=0, atol=1e-11)


def test_the_lectures_forms_are_not_torchs(problem):
    """The options have an effect: a comparison of two equal forms would prove nothing."""
    for choice, fields in (
        ("adam", {"bias_correction": False}),
        ("adam", {"eps_inside": True}),
        ("rmsprop", {"eps_inside": True}),
    ):
        results = []
        for options in ({}, fields):
            optimizer, theta_KP = OPTIMIZERS[choice](eps=1e-2, **options), problem.start(1)
            state = optimizer.init(theta_KP)
            results.append(optimizer.update(theta_KP, problem(theta_KP, 1)[1], state, 1, 0.1)[0])
        assert (results[0] - results[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("choice", "lecture"),
    [
        ("sgd", {}),
        ("momentum", {}),
        ("nag", {}),
        ("adagrad", {"eps": 1e-4, "eps_inside": True}),
        ("rmsprop", {"eps_inside": True}),
        ("adam", {"bias_correction": False}),
    ],
)
def test_form_sets_the_keys_of_the_lectures_formula(choice, lecture):
    optimizer = OPTIMIZERS[choice](form="lecture")
    assert optimizer == OPTIMIZERS[choice](**lecture, form="lecture")
    assert replace(optimizer, form="standard") == OPTIMIZERS[choice](**lecture)
    assert function_name("optimizer", optimizer) == function_name(
        "optimizer", OPTIMIZERS[choice](**lecture)
    )


def test_form_refuses_another_value_of_a_key_that_it_sets():
    with pytest.raises(FieldError, match=r"contradicts form=lecture, which sets it to 0\.0001"):
        OPTIMIZERS["adagrad"](form="lecture", eps=1e-3)


def test_nag_reports_the_loss_of_the_point_ahead(problem):
    optimizer, theta_KP = OPTIMIZERS["nag"](lr=0.1, momentum=0.5), problem.start(1)
    state = optimizer.init(theta_KP)
    theta_KP, state, _ = optimizer.step(theta_KP, lambda x: problem(x, 1), state, 1, 0.1)
    ahead_KP = theta_KP - 0.5 * state["velocity"]
    loss_K = optimizer.step(theta_KP, lambda x: problem(x, 2), state, 2, 0.1)[2]
    assert_close(loss_K, problem(ahead_KP, 2)[0], rtol=0, atol=1e-14)


def test_rprop_halves_the_step_and_pauses_after_a_change_of_sign():
    optimizer, theta_KP = (
        OPTIMIZERS["rprop"](lr=1.0, eta_minus=0.5, eta_plus=1.2),
        torch.zeros(1, 1, dtype=torch.float64),
    )
    state, seen = optimizer.init(theta_KP), []
    for step, slope in enumerate([1.0, 3.0, -2.0, -2.0, -2.0], start=1):
        theta_KP, state = optimizer.update(
            theta_KP, torch.full((1, 1), slope, dtype=torch.float64), state, step, 1.0
        )
        seen.append(theta_KP.item())
    # sizes: 1, 1.2, 0.6 (no move), 0.6, 0.72
    assert_close(seen, [-1.0, -2.2, -2.2, -1.6, -0.88], rtol=0, atol=1e-14)

"""Every optimizer that torch also has, with every combination of its options, compared with
torch.optim on the same gradients.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from mlplab.optimizers import OPTIMIZERS

STEPS = 200
# Arguments that are a tuple in torch and separate fields here, and arguments with other names.
TUPLES = {
    "betas": ("beta1", "beta2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_min", "step_max"),
}
NAMES = {"initial_accumulator": "initial_accumulator_value"}

CLASSES = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rprop": torch.optim.Rprop,
}
DECAY = {"weight_decay": [0.0, 0.05]}
# Numbers that are always active vary together; options that switch a term on or off are combined
# with all others.
MOMENTS = {"beta1 beta2 eps": [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-2)]}
OPTIONS = {
    "sgd": {"momentum": [0.0, 0.9], "dampening": [0.0, 0.3], "nesterov": [False, True], **DECAY},
    "adagrad": {
        "eps": [1e-10, 1e-2],
        "lr_decay": [0.0, 0.1],
        "initial_accumulator": [0.0, 0.5],
        **DECAY,
    },
    "adadelta": {"rho eps": [(0.9, 1e-6), (0.5, 1e-2)], **DECAY},
    "rmsprop": {
        "alpha eps": [(0.99, 1e-8), (0.5, 1e-2)],
        "centered": [False, True],
        "momentum": [0.0, 0.9],
        **DECAY,
    },
    "adam": {**MOMENTS, "amsgrad": [False, True], **DECAY},
    "adamw": {**MOMENTS, "amsgrad": [False, True], "weight_decay": [0.01, 0.3]},
    "adamax": {**MOMENTS, **DECAY},
    "nadam": {
        **MOMENTS,
        "momentum_decay": [0.004, 0.5],
        **DECAY,
        "decoupled_weight_decay": [False, True],
    },
    "radam": {**MOMENTS, **DECAY, "decoupled_weight_decay": [False, True]},
    "rprop": {
        "eta_minus eta_plus": [(0.5, 1.2), (0.7, 1.1)],
        "step_min step_max": [(1e-6, 50.0), (1e-2, 0.2)],
    },
}


def combinations(choice):
    for values in itertools.product(*OPTIONS[choice].values()):
        fields = {}
        for names, value in zip(OPTIONS[choice], values, strict=True):
            fields |= (
                dict(zip(names.split(), value, strict=True))
                if isinstance(value, tuple)
                else {names: value}
            )
        if fields.get("nesterov") and (not fields["momentum"] or fields["dampening"]):
            continue
        yield fields


ALL = [(choice, fields) for choice in OPTIONS for fields in combinations(choice)]
"""All are in the campaign, every third by default."""
CASES = [
    pytest.param(
        choice,
        fields,
        id=f"{choice}-{number}",
        marks=() if number % 3 == 0 else (pytest.mark.campaign("fuzz"),),
    )
    for choice in OPTIONS
    for number, fields in enumerate(combinations(choice))
]


def torch_arguments(fields):
    arguments = dict(fields)
    for name, keys in TUPLES.items():
        if keys[0] in arguments:
            arguments[name] = tuple(arguments.pop(key) for key in keys)
    return {NAMES.get(name, name): value for name, value in arguments.items()}


def scheduled(lr, step):
    return lr * (1 + 0.5 * math.sin(step / 10))


def by_torch(problem, optimizer, parameter_P):
    lr = optimizer.param_groups[0]["lr"]
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = scheduled(lr, step)
        parameter_P.grad = problem(parameter_P.detach()[None], step)[1][0]
        optimizer.step()
    return parameter_P.detach()


def by_us(problem, optimizer, theta_KP):
    state = optimizer.init(theta_KP)
    for step in range(1, STEPS + 1):
        theta_KP, state, _ = optimizer.step(
            theta_KP, lambda x, t=step: problem(x, t), state, step, scheduled(optimizer.lr, step)
        )
    return theta_KP


@pytest.mark.usefixtures("default_float64")
@pytest.mark.parametrize(("choice", "fields"), CASES)
def test_equals_torch_for_200_steps_with_a_changing_lr(choice, fields, problem):
    lr = 1.0 if choice == "adadelta" else 0.02
    parameter_P = torch.nn.Parameter(problem.start(1)[0])
    theirs_P = by_torch(
        problem, CLASSES[choice]([parameter_P], lr=lr, **torch_arguments(fields)), parameter_P
    )
    ours_KP = by_us(problem, OPTIMIZERS[choice](lr=lr, **fields), problem.start(1))
    assert (ours_KP[0] - problem.start(1)[0]).abs().max() > 0.01
    assert_close(ours_KP[0], theirs_P, rtol=0, atol=1e-10)


@pytest.mark.parametrize("choice", OPTIONS)
def test_every_value_of_an_option_is_in_the_default_tier(choice):
    every, some = (
        {pair for fields in cases for pair in fields.items()}
        for cases in (list(combinations(choice)), list(combinations(choice))[::3])
    )
    assert some == every


@pytest.mark.parametrize("choice", CLASSES)
def test_defaults_are_torchs(choice):
    ours = OPTIMIZERS[choice]()
    theirs = CLASSES[choice]([torch.nn.Parameter(torch.zeros(2))]).param_groups[0]
    for name, value in torch_arguments(
        {name: getattr(ours, name) for name in ["lr", *next(combinations(choice))]}
    ).items():
        assert theirs[name] == value, name


def test_every_choice_that_torch_has_is_compared():
    ours = {
        choice
        for choice in OPTIMIZERS
        if choice in {name.lower() for name in dir(torch.optim) if name[0].isupper()}
    }
    assert ours == set(CLASSES)
    assert len(OPTIMIZERS) >= 14
    assert len(ALL) == len(CASES) > 80


def test_momentum_equals_torchs_while_lr_is_constant(problem):
    parameter_P = torch.nn.Parameter(problem.start(1)[0])
    theirs = torch.optim.SGD([parameter_P], lr=0.02, momentum=0.9)
    optimizer, theta_KP = OPTIMIZERS["momentum"](lr=0.02, momentum=0.9), problem.start(1)
    state = optimizer.init(theta_KP)
    for step in range(1, STEPS + 1):
        parameter_P.grad = problem(parameter_P.detach()[None], step)[1][0]
        theirs.step()
        theta_KP, state = optimizer.update(theta_KP, problem(theta_KP, step)[1], state, step, 0.02)
    assert_close(theta_KP[0], parameter_P.detach(), rtol=0, atol=1e-10)

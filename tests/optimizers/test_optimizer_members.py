"""What a population requires of every optimizer: independent members, constant dtypes, and no
hidden state.
"""

from __future__ import annotations

import copy
import io
import itertools
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.optimizers import OPTIMIZERS
from mlplab.schema import Component, rules
from mlplab.stacking import select, stack

STEPS = 40
SHARED = [choice for choice, kind in OPTIMIZERS.items() if not kind.single_network]

# The value of each field for three members; the second one switches off what can be off.
MEMBERS = {
    "momentum": (0.9, 0.0, 0.5),
    "dampening": (0.2, 0.5, 0.0),
    "weight_decay": (0.01, 0.0, 0.1),
    "eps": (1e-8, 1e-3, 1e-1),
    "lr_decay": (0.01, 0.0, 0.1),
    "initial_accumulator": (0.1, 0.0, 1.0),
    "rho": (0.9, 0.5, 0.99),
    "alpha": (0.99, 0.5, 0.9),
    "beta1": (0.9, 0.0, 0.5),
    "beta2": (0.999, 0.5, 0.9),
    "momentum_decay": (0.004, 0.0, 0.1),
    "eta_minus": (0.5, 0.7, 0.3),
    "eta_plus": (1.2, 1.1, 1.5),
    "step_min": (1e-6, 1e-3, 1e-2),
    "step_max": (50.0, 1.0, 0.1),
}


def structures(kind: type[Component]):
    """Every combination of the flags of a class."""
    flags = [name for name, rule in rules(kind).items() if rule.kind == "flag"]
    for values in itertools.product((False, True), repeat=len(flags)):
        yield dict(zip(flags, values, strict=True))


CASES = [
    pytest.param(
        choice, structure, id="-".join([choice, *(name for name, on in structure.items() if on)])
    )
    for choice in SHARED
    for structure in structures(OPTIMIZERS[choice])
]


def members(choice, structure):
    """Three optimizers that differ in every number that may differ."""
    kind, optimizers = OPTIMIZERS[choice], []
    for number in range(3):
        fields = {
            name: MEMBERS[name][number]
            for name, rule in rules(kind).items()
            if rule.varies and name != "lr"
        }
        if structure.get("nesterov"):
            fields |= {"momentum": (0.9, 0.1, 0.5)[number], "dampening": 0.0}
        optimizers.append(kind(lr=kind.lr * (1.0, 3.0, 0.5)[number], **fields, **structure))
    return optimizers


def train(problem, optimizer, theta_KP, steps=STEPS, counter=int, first=1, state=None):
    state = optimizer.init(theta_KP) if state is None else state
    for step in range(first, first + steps):
        objective = lambda x, t=step: problem(x, t)  # noqa: E731
        theta_KP, state, loss_K = optimizer.step(
            theta_KP, objective, state, counter(step), optimizer.lr * (1 + 1 / step)
        )
        assert loss_K.shape == theta_KP.shape[:1]
    return theta_KP, state


@pytest.mark.parametrize(("choice", "structure"), CASES)
def test_stacked_members_equal_single_members(choice, structure, problem):
    optimizers = members(choice, structure)
    stacked_KP, _ = train(problem, stack(optimizers), problem.start(3))
    for k, optimizer in enumerate(optimizers):
        assert_close(
            stacked_KP[k : k + 1],
            train(problem, optimizer, problem.start(1))[0],
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize(("choice", "structure"), CASES)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64], ids=["int64", "float64"])
def test_the_step_may_be_a_tensor(choice, structure, dtype, problem):
    for optimizer, num_members in (
        (stack(members(choice, structure)), 3),
        (members(choice, structure)[0], 1),
    ):
        by_int_KP, _ = train(problem, optimizer, problem.start(num_members), steps=20)
        counter = lambda step, k=num_members: torch.full((k, 1), step, dtype=dtype)  # noqa: E731
        by_tensor_KP, _ = train(
            problem, optimizer, problem.start(num_members), steps=20, counter=counter
        )
        assert_close(by_tensor_KP, by_int_KP, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("choice", "structure"), CASES)
def test_float32_stays_float32_and_near_float64(choice, structure, problem):
    optimizers = members(choice, structure)
    theta_KP, state = train(
        problem, stack(optimizers), problem.start(3, dtype=torch.float32), steps=10
    )
    exact_KP, _ = train(problem, stack(optimizers), problem.start(3), steps=10)
    assert theta_KP.dtype == torch.float32
    assert all(value.dtype == torch.float32 or value.shape == (3, 1) for value in state.values())
    assert_close(theta_KP.double(), exact_KP, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("choice", "structure"), CASES)
@pytest.mark.parametrize("harm", ["lr", "nan", "inf"])
def test_a_broken_member_leaves_the_others_bit_identical(choice, structure, harm, problem):
    optimizers = members(choice, structure)
    broken = [
        optimizers[0],
        replace(optimizers[1], lr=1e30) if harm == "lr" else optimizers[1],
        optimizers[2],
    ]

    def objective(theta_KP, step):
        loss_K, gradient_KP = problem(theta_KP, step)
        if harm != "lr" and step == 5:
            gradient_KP[1] = float(harm)
        return loss_K, gradient_KP

    healthy_KP, healthy_state = train(problem, stack(optimizers), problem.start(3), steps=20)
    theta_KP, state = train(objective, stack(broken), problem.start(3), steps=20)
    for k in (0, 2):
        assert torch.equal(theta_KP[k], healthy_KP[k])
        assert all(torch.equal(state[name][k], healthy_state[name][k]) for name in state)
    if harm == "nan":
        assert theta_KP[1].isnan().all()
    if harm == "lr" and choice != "rprop":  # limited by step_max
        assert not (theta_KP[1].abs() < 1e20).all()


@pytest.mark.parametrize(("choice", "structure"), CASES)
def test_members_can_leave(choice, structure, problem):
    optimizer, rows = stack(members(choice, structure)), torch.tensor([0, 2])
    whole_KP, _ = train(problem, optimizer, problem.start(3), steps=20)
    theta_KP, state = train(problem, optimizer, problem.start(3), steps=10)
    remaining = {name: value[rows] for name, value in state.items()}
    theta_KP, _ = train(
        problem, select(optimizer, rows), theta_KP[rows], steps=10, first=11, state=remaining
    )
    assert_close(theta_KP, whole_KP[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("choice", "structure"), CASES)
def test_state_shares_no_memory(choice, structure, problem):
    optimizer, theta_KP = stack(members(choice, structure)), problem.start(3)
    before_KP = theta_KP.clone()
    state = optimizer.init(theta_KP)
    assert torch.equal(theta_KP, before_KP)
    gradient_KP = problem(theta_KP, 1)[1]
    assert optimizer.lookahead(theta_KP, state).shape == theta_KP.shape
    assert torch.equal(theta_KP, before_KP)
    theta_KP, state = optimizer.update(theta_KP, gradient_KP, state, 1, optimizer.lr)
    assert all(value.shape in ((3, theta_KP.shape[1]), (3, 1)) for value in state.values())
    addresses = [
        theta_KP.data_ptr(),
        gradient_KP.data_ptr(),
        *(value.data_ptr() for value in state.values()),
    ]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_the_component_has_no_state(choice, problem):
    optimizer = OPTIMIZERS[choice]()
    before = copy.deepcopy(vars(optimizer))
    first_KP, _ = train(problem, optimizer, problem.start(1), steps=10)
    second_KP, _ = train(problem, optimizer, problem.start(1), steps=10)
    assert torch.equal(first_KP, second_KP)
    assert vars(optimizer) == before


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_training_continues_from_an_exported_state(choice, problem):
    optimizer = OPTIMIZERS[choice]()
    whole_KP, _ = train(problem, optimizer, problem.start(1), steps=20)
    theta_KP, state = train(problem, optimizer, problem.start(1), steps=10)
    file = io.BytesIO()
    torch.save(optimizer.export_state(state), file)
    half_KP = theta_KP.clone()
    # must not change the exported state
    train(problem, optimizer, theta_KP, steps=3, first=11, state=state)
    file.seek(0)
    state = optimizer.import_state(half_KP, torch.load(file, weights_only=True))
    assert torch.equal(
        train(problem, optimizer, half_KP, steps=10, first=11, state=state)[0], whole_KP
    )


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_an_exported_state_is_a_copy(choice, problem):
    optimizer = OPTIMIZERS[choice]()
    theta_KP, state = train(problem, optimizer, problem.start(1), steps=10)
    exported = optimizer.export_state(state)
    copied = copy.deepcopy(exported)
    train(problem, optimizer, theta_KP, steps=3, first=11, state=state)
    assert_close(exported, copied, rtol=0, atol=0)


# Step sizes that suit the optimizers on these two functions; the default is 0.05.
QUADRATIC_LR = {"adadelta": 10.0, "adagrad": 0.5, "radam": 0.2, "torch": 1.0}
ROSENBROCK_LR = {
    "sgd": 1e-3,
    "momentum": 1e-4,
    "nag": 1e-4,
    "radam": 1e-3,
    "adadelta": 1.0,
    "torch": 0.5,
}


def minimize(choice, objective, theta_KP, lr, steps):
    optimizer = OPTIMIZERS[choice](lr=lr)
    state = optimizer.init(theta_KP)
    for step in range(1, steps + 1):
        theta_KP, state, _ = optimizer.step(
            theta_KP, objective, state, step, optimizer.lr * (1 - (step - 1) / steps)
        )
    return objective(theta_KP)[0]


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_solves_a_quadratic(choice):
    curvature_P = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)

    def quadratic(x):
        return (curvature_P * x.square()).sum(1) / 2, curvature_P * x

    start_KP = torch.tensor([[1.0, -2.0, 1.5]], dtype=torch.float64)
    loss_K = minimize(choice, quadratic, start_KP.clone(), QUADRATIC_LR.get(choice, 0.05), 400)
    assert loss_K < 1e-3 * quadratic(start_KP)[0]


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_descends_rosenbrocks_valley(choice):
    def rosenbrock(x):
        a, b = x[:, 0], x[:, 1]
        return (1 - a) ** 2 + 100 * (b - a**2) ** 2, torch.stack(
            [-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], dim=1
        )

    start_KP = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    loss_K = minimize(choice, rosenbrock, start_KP.clone(), ROSENBROCK_LR.get(choice, 0.02), 500)
    assert loss_K < 0.25 * rosenbrock(start_KP)[0]


@pytest.mark.parametrize(
    ("choice", "fields", "key"),
    [
        ("sgd", {"nesterov": True}, "nesterov"),
        ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        ("sgd", {"momentum": 1.0}, "momentum"),
        ("rprop", {"step_min": 1.0, "step_max": 0.1}, "step_min"),
        ("rprop", {"eta_plus": 1.0}, "eta_plus"),
        ("adam", {"beta1": 1.0}, "beta1"),
        ("adam", {"eps": 0.0}, "eps"),
        ("adam", {"lr": float("nan")}, "lr"),
        ("adam", {"lr": "fast"}, "lr"),
        ("rmsprop", {"lr": -0.1}, "lr"),
    ],
)
def test_invalid_fields_are_rejected(choice, fields, key):
    with pytest.raises(FieldError) as caught:
        OPTIMIZERS[choice](**fields)
    assert caught.value.key == key


def test_members_cannot_differ_in_flags():
    with pytest.raises(ValueError, match="amsgrad"):
        stack([OPTIMIZERS["adam"](amsgrad=True), OPTIMIZERS["adam"]()])

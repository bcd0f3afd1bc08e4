"""Every schedule compared with torch's, single and stacked, with and without warm-up.

Shapes: K members.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch.optim import lr_scheduler
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.schedules import SCHEDULES
from mlplab.schema import rules
from mlplab.stacking import select, stack

TOTAL = 60

# (name, fields, function that builds torch's scheduler)
CASES = [
    ("constant", {}, lambda o: lr_scheduler.LambdaLR(o, lambda t: 1.0)),
    ("step", {"step_size": 7, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 7, 0.5)),
    ("step", {"step_size": 1, "gamma": 1.1}, lambda o: lr_scheduler.StepLR(o, 1, 1.1)),
    (
        "multistep",
        {"milestones": [5, 30, 50], "gamma": 0.3},
        lambda o: lr_scheduler.MultiStepLR(o, [5, 30, 50], 0.3),
    ),
    ("multistep", {"milestones": []}, lambda o: lr_scheduler.MultiStepLR(o, [])),
    ("exponential", {"gamma": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
    (
        "cosine",
        {"min_factor": 0.2},
        lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.2),
    ),
    ("cosine_restarts", {"period": 10}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10)),
    (
        "cosine_restarts",
        {"period": 1, "multiplier": 2},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 2),
    ),
    (
        "cosine_restarts",
        {"period": 4, "multiplier": 3, "min_factor": 0.1},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 3, eta_min=0.1),
    ),
    ("one_cycle", {}, lambda o: lr_scheduler.OneCycleLR(o, 1.0, TOTAL, cycle_momentum=False)),
    (
        "one_cycle",
        {"pct_start": 0.43, "div_factor": 5.0, "final_div_factor": 10.0},
        lambda o: lr_scheduler.OneCycleLR(
            o,
            1.0,
            TOTAL,
            pct_start=0.43,
            div_factor=5.0,
            final_div_factor=10.0,
            cycle_momentum=False,
        ),
    ),
    (
        "one_cycle",
        {"pct_start": 0.0},
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, TOTAL, pct_start=0.0, cycle_momentum=False),
    ),
    (
        "one_cycle",
        {"pct_start": 1.0},
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, TOTAL, pct_start=1.0, cycle_momentum=False),
    ),
    ("linear", {}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, TOTAL)),
    ("linear", {"end_factor": 0.3}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.3, TOTAL)),
    ("polynomial", {"power": 2.0}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 2.0)),
    ("polynomial", {"power": 0.5}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 0.5)),
    (
        "flat_cosine",
        {"start": 0.75, "min_factor": 0.2},
        lambda o: lr_scheduler.LambdaLR(
            o, lambda t: 1.0 if t < 45 else 0.6 + 0.4 * math.cos(math.pi * (t - 45) / 15)
        ),
    ),
    ("flat_cosine", {"start": 0.0}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
    (
        "coslog4",
        {},
        lambda o: lr_scheduler.LambdaLR(
            o, lambda t: math.sin(math.pi * math.log2(1 + 15 * t / TOTAL)) ** 2
        ),
    ),
]
IDS = [f"{choice}-{number}" for number, (choice, _, _) in enumerate(CASES)]

# The value of each field for three members.
MEMBERS = {
    "warmup": (0.0, 5.0, 2.5),
    "warmup_start": (0.1, 0.0, 0.5),
    "step_size": (1, 7, 30),
    "gamma": (0.5, 0.9, 0.3),
    "end_factor": (0.0, 0.5, 1.0),
    "power": (0.5, 1.0, 2.0),
    "min_factor": (0.0, 0.1, 0.3),
    "start": (0.5, 0.0, 0.9),
    "period": (1, 5, 7),
    "multiplier": (2, 1, 3),
    "pct_start": (0.3, 0.0, 1.0),
    "div_factor": (25.0, 5.0, 1.0),
    "final_div_factor": (1e4, 1.0, 10.0),
    "patience": (0, 2, 4),
    "threshold": (0.0, 0.01, 0.1),
    "cooldown": (0, 3, 1),
}


def torch_factors(build, num=TOTAL):
    """The learning rates of the first units, from a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, factors = build(optimizer), [optimizer.param_groups[0]["lr"]]
    while len(factors) < num:
        optimizer.step()
        scheduler.step()
        factors.append(optimizer.param_groups[0]["lr"])
    return factors


def members(choice):
    kind = SCHEDULES[choice]
    return [
        kind(**{name: MEMBERS[name][k] for name, rule in rules(kind).items() if rule.varies})
        for k in range(3)
    ]


def test_every_choice_is_compared_with_torch():
    assert len(SCHEDULES) >= 8
    assert {choice for choice, _, _ in CASES} | {"plateau"} == set(SCHEDULES)


@pytest.mark.parametrize(("choice", "fields", "build"), CASES, ids=IDS)
def test_equals_torchs(choice, fields, build):
    schedule = SCHEDULES[choice](**fields)
    ours = [schedule.factor(t, TOTAL) for t in range(TOTAL)]
    assert all(isinstance(factor, float) for factor in ours)
    assert_close(ours, torch_factors(build), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "total",
    [
        torch.tensor([[60], [20], [1]]),
        torch.tensor([[60.0], [20.0], [1.0]], dtype=torch.float64),
        20.0,
    ],
)
@pytest.mark.parametrize("choice", SCHEDULES)
def test_stacked_members_equal_single_members(choice, total):
    schedules = members(choice)
    stacked, single = (
        stack(schedules),
        [total] * 3 if isinstance(total, float) else total[:, 0].tolist(),
    )
    for t in range(TOTAL):
        factor_K1 = torch.as_tensor(stacked.factor(t, total))
        assert factor_K1.dtype == torch.float64
        assert factor_K1.shape == (3, 1)
        assert_close(
            factor_K1[:, 0].tolist(),
            [schedule.factor(t, single[k]) for k, schedule in enumerate(schedules)],
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("choice", SCHEDULES)
def test_equal_members_of_unequal_length(choice):
    schedule, totals = SCHEDULES[choice](), [60, 20, 7]
    for t in range(TOTAL):
        factor_K1 = torch.as_tensor(
            schedule.factor(t, torch.tensor(totals).unsqueeze(1)), dtype=torch.float64
        ).expand(3, 1)
        assert_close(
            factor_K1[:, 0].tolist(),
            [float(schedule.factor(t, total)) for total in totals],
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("warmup", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("total", [1, 2, 3, 10])
@pytest.mark.parametrize("choice", SCHEDULES)
def test_factors_are_finite_and_never_negative_even_after_the_end(choice, total, warmup):
    schedule = SCHEDULES[choice](warmup=warmup)
    for t in range(3 * total):
        assert 0 <= schedule.factor(t, total) <= 1 + 1e-12


@pytest.mark.parametrize(
    # the others begin below the learning rate, or follow a metric
    "choice",
    [choice for choice in SCHEDULES if choice not in ("one_cycle", "coslog4", "plateau")],
)
def test_warm_up_equals_torchs(choice):
    fields, build = next((fields, build) for name, fields, build in CASES if name == choice)
    schedule = SCHEDULES[choice](**fields, warmup=8, warmup_start=0.25)

    def sequence(optimizer):
        schedules = [lr_scheduler.LinearLR(optimizer, 0.25, 1.0, 8), build(optimizer)]
        return lr_scheduler.SequentialLR(optimizer, schedules, milestones=[8])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls what torch deprecates
        theirs = torch_factors(sequence)
    assert_close([schedule.factor(t, TOTAL + 8) for t in range(TOTAL)], theirs, rtol=0, atol=1e-12)


def test_warm_up_rises_to_the_first_factor_of_a_cycle():
    schedule = SCHEDULES["one_cycle"](warmup=10, warmup_start=0.0)
    factors = [schedule.factor(t, 110) for t in range(110)]
    assert_close(factors[:11], [t / 10 / 25 for t in range(11)], rtol=0, atol=1e-15)
    assert_close(
        factors[10:],
        [replace(schedule, warmup=0.0).factor(t, 100) for t in range(100)],
        rtol=0,
        atol=1e-12,
    )
    assert factors.index(max(factors)) == 10 + 0.3 * 100 - 1


def test_the_peak_of_one_cycle_is_the_learning_rate():
    schedule = SCHEDULES["one_cycle"]()
    assert schedule.unit == "step"
    assert schedule.factor(29, 100) == 1.0
    assert_close(schedule.factor(0, 100), 1 / 25)
    assert_close(schedule.factor(99, 100), 1 / 25 / 1e4)


@pytest.mark.parametrize("multiplier", [2, 3, 7])
def test_late_restarts_start_at_exactly_1(multiplier):
    """Rounding gives log(3^5) / log(3) < 5, but the period must not end one unit late."""
    schedule = SCHEDULES["cosine_restarts"](period=2, multiplier=multiplier)
    stacked = stack([schedule, replace(schedule, multiplier=1)])
    start, length = 0, 2
    while start < 10**7:
        assert schedule.factor(start, 1) == 1.0
        assert stacked.factor(start, 1)[0].item() == 1.0
        assert schedule.factor(start + length - 1, 1) < 0.51
        start, length = start + length, length * multiplier


# A metric that falls, wavers, is not finite, and then is constant and slightly better than before.
METRICS = [math.sin(t * 1.3) * 0.2 + max(3 - 0.2 * t, 1.0) for t in range(40)]
METRICS += [0.5, math.nan, math.nan, math.inf] + [0.4999] * 12 + [math.nan] * 9


@pytest.mark.parametrize("mode", ["rel", "abs"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_plateau_equals_torchs(mode, k):
    fields = {name: MEMBERS[name][k] for name in ("patience", "threshold", "cooldown", "gamma")}
    schedule = SCHEDULES["plateau"](threshold_mode=mode, min_factor=0.01, **fields)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    fields["factor"] = fields.pop("gamma")
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, threshold_mode=mode, min_lr=0.01, eps=0.0, **fields
    )
    state, seen = schedule.init(1), []
    for metric in METRICS:
        state = schedule.observe(state, torch.tensor([metric], dtype=torch.float64))
        theirs.step(metric)
        seen.append(schedule.current(state).item())
        assert_close(seen[-1], optimizer.param_groups[0]["lr"], rtol=0, atol=1e-12)
    assert len(set(seen)) > 2


def test_plateau_members_together_equal_members_alone():
    schedules = members("plateau")
    stacked, states = stack(schedules), [schedule.init(1) for schedule in schedules]
    state = stacked.init(3)
    for t, metric in enumerate(METRICS):
        metric_K = torch.tensor([metric, -metric / 10 + 1, METRICS[-1 - t]], dtype=torch.float64)
        state = stacked.observe(state, metric_K.unsqueeze(1) if t % 2 else metric_K)
        states = [
            schedule.observe(states[k], metric_K[k : k + 1]) for k, schedule in enumerate(schedules)
        ]
        for name, value_K1 in state.items():
            assert value_K1.dtype == torch.float64
            assert torch.equal(value_K1, torch.cat([single[name] for single in states]))
    rows = torch.tensor([0, 2])
    remaining = select(stacked, rows).observe(
        {name: value[rows] for name, value in state.items()}, torch.tensor([1.0, 2.0])
    )
    assert torch.equal(
        remaining["factor"], stacked.observe(state, torch.tensor([1.0, 5.0, 2.0]))["factor"][rows]
    )


def test_plateau_counts_nan_as_no_improvement_from_the_first_on():
    schedule = SCHEDULES["plateau"](patience=1, gamma=0.5)
    state = schedule.init(1)
    for expected in (1.0, 0.5, 0.5, 0.25):
        state = schedule.observe(state, torch.tensor([math.nan]))
        assert schedule.current(state).item() == expected


def test_plateau_does_not_change_its_argument():
    schedule = SCHEDULES["plateau"](patience=0)
    state = schedule.init(2)
    schedule.observe(state, torch.tensor([1.0, math.nan]))
    assert all(torch.equal(value, schedule.init(2)[name]) for name, value in state.items())


@pytest.mark.parametrize("choice", SCHEDULES)
def test_callers_need_no_branch(choice):
    schedule = SCHEDULES[choice]()
    state = schedule.observe(schedule.init(3), torch.ones(3))
    assert torch.as_tensor(schedule.current(state)).max() == 1
    assert bool(state) == schedule.stateful


@pytest.mark.parametrize(
    ("choice", "fields", "key"),
    [
        ("step", {"step_size": 0}, "step_size"),
        ("step", {"gamma": -1.0}, "gamma"),
        ("multistep", {"milestones": [30, 10]}, "milestones"),
        ("multistep", {"milestones": [10, 10]}, "milestones"),
        ("multistep", {"milestones": "soon"}, "milestones"),
        ("cosine", {"warmup": -1}, "warmup"),
        ("cosine", {"unit": "hour"}, "unit"),
        ("cosine_restarts", {"multiplier": 1.5}, "multiplier"),
        ("one_cycle", {"pct_start": 1.1}, "pct_start"),
        ("plateau", {"threshold": 1.0}, "threshold"),
        ("plateau", {"gamma": 1.0}, "gamma"),
    ],
)
def test_invalid_fields_are_rejected(choice, fields, key):
    with pytest.raises(FieldError) as caught:
        SCHEDULES[choice](**fields)
    assert caught.value.key == key

"""Properties of every loss, for one and for many members.

Shapes: K members, B examples, C outputs, T targets.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tiers import subset_by_default
from torch import Tensor
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.losses import LOSSES, Loss
from mlplab.schema import meaning, rules
from mlplab.stacking import select, stack
from mlplab.task import Task

TASKS = {
    "1 value": Task("regression", num_targets=1),
    "3 values": Task("regression", num_targets=3),
    "2 classes": Task("classification", num_classes=2),
    "3 classes": Task("classification", num_classes=3),
    "10 classes": Task("classification", num_classes=10),
}
CLASSES: dict[str, Any] = dict(LOSSES)
NAMES = [name for name in LOSSES if name != "auto"]
FITTING = [
    (name, size)
    for name in NAMES
    for size, task in TASKS.items()
    if CLASSES[name]().incompatibility(task) is None
]
VARYING = [
    (name, key) for name in NAMES for key, rule in rules(LOSSES[name]).items() if rule.varies
]
EXTREMES = (-1e4, 1e4, 0.0)


def variants(name: str) -> list[Loss]:
    """The loss with its defaults, and with each option, each flag set and each number changed."""
    loss = CLASSES[name]()
    changes: list[dict[str, object]] = [{}]
    for key, rule in rules(loss).items():
        changes += [{key: option} for option in rule.options]
        changes += [{key: True}] if rule.kind == "flag" else []
        changes += [{key: value} for value in legal(name, key)] if rule.varies else []
    return [dataclasses.replace(loss, **change) for change in changes]


def legal(name: str, key: str) -> list[float]:
    """Valid values of a number, including special ones."""
    accepted = []
    for value in (0.0, 0.05, 0.3, 0.9, 1.0, 2.5):
        try:
            accepted.append(getattr(CLASSES[name](**{key: value}), key))
        except FieldError:
            continue
    return accepted


def batch(
    task: Task, num_outputs: int, num_members: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_outputs)
    outputs_KBC = (
        torch.randn(num_members, 7, num_outputs, generator=generator, dtype=torch.float64) * 2
    )
    if task.classifies:
        targets = torch.randint(task.num_classes, (num_members, 7), generator=generator)
    else:
        targets = (
            torch.rand(
                num_members, 7, task.num_targets, generator=generator, dtype=torch.float64
            ).to(dtype)
            * 3
        )
    return outputs_KBC.to(dtype), targets


def value_and_gradient(loss: Loss, outputs_KBC: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    outputs_KBC = outputs_KBC.detach().requires_grad_()
    loss_KB = loss(outputs_KBC, targets)
    (gradient_KBC,) = torch.autograd.grad(loss_KB.sum(), outputs_KBC)
    return loss_KB.detach(), gradient_KBC


def test_the_table_is_complete() -> None:
    assert len(LOSSES) >= 20
    assert len(set(LOSSES.values())) == len(LOSSES)
    assert all(
        meaning(loss_class).endswith(".") and len(meaning(loss_class)) <= 100
        for loss_class in LOSSES.values()
    )


@pytest.mark.parametrize(("name", "size"), FITTING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_number_an_example_in_the_dtype_of_the_outputs(
    name: str, size: str, dtype: torch.dtype
) -> None:
    task = TASKS[size]
    for loss in variants(name):
        outputs_KBC, targets = batch(task, loss.num_outputs(task), dtype=dtype)
        loss_KB, gradient_KBC = value_and_gradient(loss, outputs_KBC, targets)
        assert loss_KB.shape == (3, 7)
        assert loss_KB.dtype == gradient_KBC.dtype == dtype
        assert gradient_KBC.abs().sum() > 0


@pytest.mark.parametrize(("name", "size"), FITTING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_extreme_outputs(name: str, size: str, dtype: torch.dtype) -> None:
    task = TASKS[size]
    for loss in variants(name):
        num_outputs = loss.num_outputs(task)
        patterns = torch.cartesian_prod(
            *[torch.tensor(EXTREMES, dtype=dtype)] * min(num_outputs, 6)
        ).view(-1, min(num_outputs, 6))
        outputs_KBC = patterns.repeat(1, -(-num_outputs // patterns.shape[1]))[
            None, :, :num_outputs
        ].contiguous()
        num_examples = outputs_KBC.shape[1]
        if task.classifies:
            choices = [torch.full((1, num_examples), c) for c in range(task.num_classes)]
        else:
            choices = [
                torch.full((1, num_examples, task.num_targets), y, dtype=dtype)
                for y in (0.0, 1.0, 50.0)
            ]
        for targets in choices:
            loss_KB, gradient_KBC = value_and_gradient(loss, outputs_KBC, targets)
            assert loss_KB.isfinite().all()
            assert gradient_KBC.isfinite().all()


@pytest.mark.parametrize(("name", "size"), FITTING)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_broken_member_leaves_its_neighbors_alone(name: str, size: str, poison: float) -> None:
    task = TASKS[size]
    for loss in variants(name):
        outputs_KBC, targets = batch(task, loss.num_outputs(task), dtype=torch.float32)
        sound_KB, sound_gradient_KBC = value_and_gradient(loss, outputs_KBC, targets)
        outputs_KBC[1] = poison
        loss_KB, gradient_KBC = value_and_gradient(loss, outputs_KBC, targets)
        for k in (0, 2):
            assert torch.equal(loss_KB[k], sound_KB[k])
            assert torch.equal(gradient_KBC[k], sound_gradient_KBC[k])
        if poison != poison:
            assert loss_KB[1].isnan().all()


@pytest.mark.parametrize(("name", "key"), VARYING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_number_and_a_column_of_it_give_the_same_bits(
    name: str, key: str, dtype: torch.dtype
) -> None:
    for value in legal(name, key):
        single = CLASSES[name](**{key: value})
        column = dataclasses.replace(
            single, **{key: torch.full((3, 1), value, dtype=torch.float64)}
        )
        for size in [size for other, size in FITTING if other == name]:
            outputs_KBC, targets = batch(TASKS[size], single.num_outputs(TASKS[size]), dtype=dtype)
            of_number, of_column = (
                value_and_gradient(loss, outputs_KBC, targets) for loss in (single, column)
            )
            assert torch.equal(of_number[0], of_column[0])
            assert torch.equal(of_number[1], of_column[1])


@pytest.mark.parametrize(("name", "key"), VARYING)
def test_members_with_different_numbers_match_single_ones(name: str, key: str) -> None:
    members = [CLASSES[name](**{key: value}) for value in legal(name, key)]
    stacked = stack(members)
    assert getattr(stacked, key).shape == (len(members), 1)
    for size in [size for other, size in FITTING if other == name]:
        outputs_KBC, targets = batch(TASKS[size], stacked.num_outputs(TASKS[size]), len(members))
        loss_KB, gradient_KBC = value_and_gradient(stacked, outputs_KBC, targets)
        assert not torch.equal(loss_KB, members[0](outputs_KBC, targets))
        for k, member in enumerate(members):
            row = slice(k, k + 1)
            single_KB, single_gradient_KBC = value_and_gradient(
                member, outputs_KBC[row], targets[row]
            )
            assert_close(loss_KB[row], single_KB, rtol=1e-12, atol=1e-12)
            assert_close(gradient_KBC[row], single_gradient_KBC, rtol=1e-12, atol=1e-12)
            assert_close(
                select(stacked, torch.tensor([k]))(outputs_KBC[row], targets[row]),
                single_KB,
                rtol=1e-12,
                atol=1e-12,
            )
            assert_close(
                stacked.predict(outputs_KBC)[row],
                member.predict(outputs_KBC[row]),
                rtol=1e-12,
                atol=1e-12,
            )


@pytest.mark.parametrize(("name", "size"), FITTING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_are_probabilities_or_values(name: str, size: str, dtype: torch.dtype) -> None:
    task, loss = TASKS[size], CLASSES[name]()
    outputs_KBC, _ = batch(task, loss.num_outputs(task), dtype=dtype)
    outputs_KBC[0, 0], outputs_KBC[0, 1], outputs_KBC[0, 2] = (
        1e4,
        -1e4,
        torch.linspace(-1e4, 1e4, outputs_KBC.shape[-1]),
    )
    predictions = loss.predict(outputs_KBC)
    assert predictions.dtype == dtype
    assert_close(loss.predict(outputs_KBC[1]), predictions[1])
    if not task.classifies:
        assert predictions.shape == (3, 7, task.num_targets)
        return
    assert predictions.shape == (3, 7, task.num_classes)
    assert ((predictions >= 0) & (predictions <= 1)).all()
    assert_close(
        predictions.sum(-1),
        torch.ones(3, 7, dtype=dtype),
        rtol=0,
        atol=1e-6 if dtype == torch.float32 else 1e-14,
    )
    if outputs_KBC.shape[-1] == task.num_classes:
        assert torch.equal(predictions.argmax(-1)[1:], outputs_KBC.argmax(-1)[1:])
    else:
        assert torch.equal(predictions[..., 1] > 0.5, outputs_KBC.squeeze(-1) > 0)


def largest_by_default(name: str, size: str) -> bool:
    """Only the largest task of a loss except for ten classes runs by default."""
    sizes = [other for fitting, other in FITTING if fitting == name and other != "10 classes"]
    return size == sizes[-1]


@pytest.mark.parametrize(("name", "size"), subset_by_default("fuzz", FITTING, largest_by_default))
def test_gradient_descent_on_the_outputs_finds_the_targets(name: str, size: str) -> None:
    task, loss = TASKS[size], CLASSES[name]()
    outputs_KBC, targets = batch(task, loss.num_outputs(task))
    if loss.target_range == "share":
        targets = (
            targets / (1 + targets.abs().max())
            if float(targets.min()) >= 0
            else (targets / 10).sigmoid()
        )
    # smape is flat if output and target differ in sign, so values start above 0.
    outputs_KBC = (
        outputs_KBC * 0.1 if task.classifies else 1 + outputs_KBC.abs() * 0.1
    ).requires_grad_()
    optimizer = torch.optim.Adam([outputs_KBC], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss(outputs_KBC, targets).sum().backward()
        optimizer.step()
    predictions = loss.predict(outputs_KBC.detach())
    if task.classifies:
        assert torch.equal(predictions.argmax(-1), targets)
    else:
        assert (predictions - targets).abs().max() < 0.1


def test_incompatibilities_are_explained() -> None:
    three, two, values = TASKS["3 classes"], TASKS["2 classes"], TASKS["3 values"]
    assert (
        CLASSES["mse"]().incompatibility(three)
        == "needs values to predict, the dataset has 3 classes"
    )
    assert (
        CLASSES["cross_entropy"]().incompatibility(values)
        == "needs classes to predict, the dataset has 3 value(s)"
    )
    assert CLASSES["bce"]().incompatibility(three) == "needs 2 classes, the dataset has 3"
    assert CLASSES["bce"]().incompatibility(two) is None
    assert (
        CLASSES["bce"]().incompatibility(values)
        == "needs classes to predict, the dataset has 3 value(s)"
    )
    weighted = CLASSES["cross_entropy"](class_weights=[1.0, 2.0])
    assert weighted.incompatibility(two) is None
    assert (
        weighted.incompatibility(three)
        == "needs one class weight per class (got 2), the dataset has 3 classes"
    )
    for name in NAMES:
        kinds = LOSSES[name].tasks
        assert {
            task.kind for task in TASKS.values() if CLASSES[name]().incompatibility(task) is None
        } == set(kinds)


def test_class_attributes() -> None:
    assert {name for name, loss_class in LOSSES.items() if loss_class.reduction == "sum"} == {"nll"}
    assert {name for name, loss_class in LOSSES.items() if loss_class.original_units} == {
        "mape",
        "smape",
        "msle",
        "poisson",
        "bernoulli",
    }
    assert {name for name, loss_class in LOSSES.items() if loss_class.target_range == "share"} == {
        "bernoulli"
    }
    assert {
        name for name, loss_class in LOSSES.items() if loss_class.target_range == "non-negative"
    } == {
        "msle",
        "poisson",
    }
    assert {loss_class.reduction for loss_class in LOSSES.values()} == {"mean", "sum"}
    assert {loss_class.target_range for loss_class in LOSSES.values()} == {
        "any",
        "non-negative",
        "share",
    }


def test_auto_is_resolved_by_the_task() -> None:
    auto = CLASSES["auto"]()
    assert type(auto.resolve(TASKS["3 classes"])) is LOSSES["cross_entropy"]
    assert type(auto.resolve(TASKS["1 value"])) is LOSSES["mse"]
    assert all(auto.incompatibility(task) is None for task in TASKS.values())
    assert [auto.num_outputs(task) for task in TASKS.values()] == [1, 3, 2, 3, 10]
    with pytest.raises(NotImplementedError):
        auto(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("cross_entropy", "label_smoothing", 1.0),
        ("cross_entropy", "label_smoothing", -0.1),
        ("cross_entropy", "class_weights", [1.0, 0.0]),
        ("cross_entropy", "class_weights", "equal"),
        ("huber", "delta", 0.0),
        ("quantile", "tau", 1.0),
        ("focal", "gamma", -1.0),
        ("hinge", "multiclass", "all_pairs"),
        ("gaussian_nll", "min_variance", 0.0),
    ],
)
def test_values_out_of_range_are_refused(name: str, key: str, value: object) -> None:
    with pytest.raises(FieldError, match=key):
        CLASSES[name](**{key: value})

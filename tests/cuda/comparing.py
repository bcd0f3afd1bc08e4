"""Members that differ in every number, and the tolerances of comparisons between devices.

Tolerances are relative to the largest absolute value of what is compared (a member's weights, a
column of its history), after about 30 steps.

float64: 1e-9. The devices add in different orders, so a step differs in the last of 16 digits, and
later steps amplify the difference.

float32: 1e-2. A step differs in the last of 7 digits. If a value is within 1e-7 of a kink (relu) or
a change of sign (rprop, lion), the devices may take different sides, and such a step moves a weight
by up to twice the learning rate. A wrong formula has a far larger error.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlplab.schema import Component, Rule, rules
from mlplab.settings import Settings
from mlplab.training import Outcome, train_population

REFERENCE = "cpu"
NUM_MEMBERS = 16  # 16 x 120 examples: more than the 1024 rows from which some losses change path
EPOCHS = 8  # of 4 steps each
TOLERANCE = {"float64": 1e-9, "float32": 1e-2}
DTYPES = tuple(TOLERANCE)

# Test machines with CUDA often have torch and little else; the engine needs no more.
needs_configuration = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("hydra", "tensorboard")),
    reason="Hydra or TensorBoard is not installed",
)


def varied(component: type[Component], k: int, **fields: Any) -> Any:
    """The component of member k: every number that may vary differs by member, except `fields`."""
    numbers = {
        name: _number(getattr(component, name), rule, k)
        for name, rule in rules(component).items()
        if rule.varies and isinstance(getattr(component, name, None), (int, float))
    }
    return component(**{**numbers, **fields})


def _number(default: float, rule: Rule, k: int) -> float:
    """A number in the range near the default, rather below it, so that decays stay decays."""
    if rule.kind == "integer":
        return int(default) + k
    number = default * (1 - k / 50) if default else k / 100
    limits = [limit for limit in (rule.at_least, rule.above) if limit is not None]
    return number if all(number > limit for limit in limits) else default * (1 + k / 50)


def flag_combinations(component: type[Component]) -> Iterator[dict[str, bool]]:
    """Every combination of the flags of a component."""
    flags = [name for name, rule in rules(component).items() if rule.kind == "flag"]
    for values in itertools.product((False, True), repeat=len(flags)):
        yield dict(zip(flags, values, strict=True))


def with_seeds(settings: Settings, num_members: int = NUM_MEMBERS) -> list[Settings]:
    """Members that differ in their seeds: data, initial weights and order."""
    return [dataclasses.replace(settings, seed=seed) for seed in range(num_members)]


def train_on(device: str, members: Sequence[Settings]) -> list[Outcome]:
    """Train as one population on this device."""
    return train_population([dataclasses.replace(settings, device=device) for settings in members])


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Close to `tolerance` times the largest absolute finite value; NaN and infinity must agree."""
    actual, expected = _array(actual), _array(expected)
    finite = expected[np.isfinite(expected)]
    scale = np.abs(finite).max(initial=0.0)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * scale, equal_nan=True, err_msg=name
    )


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def assert_same_outcome(actual: Outcome, expected: Outcome, tolerance: float) -> None:
    """The same length, history and last weights.

    Accuracy is not compared, since it jumps if two outputs are equal; a separate test covers it.
    The best weights are not compared either: two evaluations may be equal up to rounding. In
    float32, nor is the size of the updates: some optimizers divide a gradient near 0 by its size.
    """
    ignored = ("accuracy",) if tolerance < 1e-6 else ("accuracy", "update_ratio")
    assert (actual.status, actual.steps) == (expected.status, expected.steps)
    assert actual.history.names == expected.history.names
    assert actual.history.step.tolist() == expected.history.step.tolist()
    for name in expected.history.names:
        if not any(text in name for text in ignored):
            assert_close(actual.history[name], expected.history[name], tolerance, name)
    assert_close(actual.last_theta_P, expected.last_theta_P, tolerance, "weights")
    for name, values in expected.last_buffers.items():
        # outputs of a layer are of order 1, but their mean may be much smaller
        np.testing.assert_allclose(
            _array(actual.last_buffers[name]), _array(values), rtol=0, atol=tolerance, err_msg=name
        )


def assert_same_training(
    device: str, members: Sequence[Settings], tolerance: float | None = None
) -> None:
    """Compare the members, trained as one population on the CPU and on the device."""
    tolerance = TOLERANCE[members[0].dtype] if tolerance is None else tolerance
    expected = train_on(REFERENCE, members)
    actual = train_on(device, members)
    for outcome, reference in zip(actual, expected, strict=True):
        assert reference.last_theta_P.isfinite().all()
        assert_same_outcome(outcome, reference, tolerance)


def assert_bit_equal(actual: Outcome, expected: Outcome) -> None:
    """Every bit is equal."""
    assert (actual.status, actual.steps, actual.best_step) == (
        expected.status,
        expected.steps,
        expected.best_step,
    )
    for name in ("theta_P", "last_theta_P"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name
    for name, values in expected.last_buffers.items():
        assert torch.equal(actual.last_buffers[name], values), name
    assert actual.history.values.tobytes() == expected.history.values.tobytes()

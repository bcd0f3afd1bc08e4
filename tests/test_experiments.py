"""The claims of the lecture that each experiment demonstrates.

Medians over seeds 0-9, trained as one population; over seeds 0-3 by default.
"""

from __future__ import annotations

import dataclasses
from statistics import median

import pytest
from harness import size
from tiers import in_campaign

from mlplab.config import settings_from_overrides
from mlplab.training import train_population

pytestmark = pytest.mark.campaign("lecture", small=True)
SEEDS = range(size(4, 10))


def over_seeds(name, metric, *overrides):
    base = settings_from_overrides([f"experiment={name}", *overrides])
    outcomes = train_population([dataclasses.replace(base, seed=seed) for seed in SEEDS])
    assert {outcome.status for outcome in outcomes} == {"done"}
    return [outcome.metrics[metric] for outcome in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric", "at_least"),
    [
        in_campaign("lecture", "radial_6_6", "test/accuracy", 0.95),
        in_campaign("lecture", "radial_6", "test/accuracy", 0.97),
        in_campaign("lecture", "three_classes_6_4", "test/accuracy", 0.97),
        ("quadratic_8_8", "test/r2", 0.99),
        in_campaign("lecture", "sine_100", "test/r2", 0.99),
        in_campaign("lecture", "sine_1000_relu", "test/r2", 0.99),
        in_campaign("lecture", "sine_1000_tanh", "test/r2", 0.99),
        ("iris", "test/accuracy", 0.93),
        in_campaign("lecture", "digits", "test/accuracy", 0.97),
        ("and_gate", "train/accuracy", 1.0),
    ],
)
def test_it_learns(name, metric, at_least):
    assert median(over_seeds(name, metric)) >= at_least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_most"),
    [
        in_campaign("lecture", "radial_3_3", 0.80),
        ("softmax_regression_radial", 0.70),
        in_campaign("lecture", "spiral_raw", 0.75),
    ],
)
def test_it_is_not_enough(name, at_most):
    assert median(over_seeds(name, "test/accuracy")) <= at_most


@pytest.mark.slow
def test_xor_needs_a_hidden_layer():
    assert max(over_seeds("xor_perceptron", "test/accuracy")) <= 0.75
    assert (
        sum(accuracy == 1.0 for accuracy in over_seeds("xor_mlp", "test/accuracy"))
        >= len(SEEDS) - 1
    )


def test_xor_gate_stays_at_three_of_four_points():
    assert max(over_seeds("and_gate", "train/accuracy", "dataset.gate=xor")) <= 0.75


def first_gradient(*overrides):
    settings = settings_from_overrides(
        ["experiment=vanishing_gradient", "training.epochs=1", *overrides]
    )
    outcomes = train_population([dataclasses.replace(settings, seed=seed) for seed in SEEDS])
    return median(outcome.history["gradient_norm/layer_1"][0] for outcome in outcomes)


def test_the_gradient_vanishes_through_sigmoids_and_not_through_relus():
    assert first_gradient() * 100 <= first_gradient("activation=relu", "initializer=he_normal")

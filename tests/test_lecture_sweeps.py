"""The comparisons of the lecture: its claims hold for the medians of each sweep.

By default only the values of a claim are trained, with four seeds; the campaign trains the whole
sweeps.
"""

from __future__ import annotations

import pytest
from harness import FULL

import mlplab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.campaign("lecture", small=True),
    pytest.mark.timeout(900),
]


def medians(experiment, *keys, small, metric="test/accuracy"):
    """The median over seeds of each configuration.

    By default `small` narrows the sweep. A key with a single value is not a column of its table.
    """
    narrowed = [] if FULL else ["sweep.seeds=4", *small]
    table = mlplab.sweep([f"experiment={experiment}", "tracking=summary", *narrowed])
    assert set(table["status"]) == {"done"}
    single = dict(override.split("=") for override in narrowed)
    table = table.assign(**{key: single[key] for key in keys if key not in table})
    return table.groupby(list(keys) if len(keys) > 1 else keys[0])[metric].median()


@pytest.mark.campaign("lecture")
def test_more_hidden_units_help_until_there_are_enough():
    accuracy = medians(
        "hidden_units", "model.hidden", small=["model.hidden=[1],[8]", "training.evaluate_every=10"]
    )
    assert accuracy["[1]"] < 0.65
    assert accuracy["[8]"] > 0.94
    if FULL:
        assert accuracy["[1]"] < accuracy["[3]"] - 0.05
        units = [accuracy[f"[{n}]"] for n in range(1, 17)]
        assert units[2] < units[5] - 0.05
        assert min(units[6:]) > 0.94
        assert max(units[8:]) - min(units[8:]) < 0.03


def test_layers_without_a_non_linear_activation_add_nothing_and_sigmoid_is_slow():
    accuracy = medians("activations_compared", "activation", small=["activation=identity,tanh"])
    assert accuracy["identity"] < 0.6
    assert accuracy.drop("identity").min() > 0.8
    if FULL:
        assert accuracy["sigmoid"] < min(accuracy[name] for name in ("tanh", "relu", "gelu"))


def test_momentum_speeds_descent_up_and_adaptive_steps_need_a_smaller_rate():
    loss = medians(
        *("optimizers_compared", "optimizer", "optimizer.lr"),
        small=["optimizer=sgd,momentum", "optimizer.lr=0.03,0.1,1.0"],
        metric="train/loss",
    )
    assert loss["momentum", 0.03] < 0.6 * loss["sgd", 0.03]
    assert loss["sgd", 1.0] < loss["sgd", 0.1]
    for optimizer in ("adam", "rmsprop") if FULL else ():
        assert loss[optimizer].idxmin() in (0.03, 0.1)
        assert loss[optimizer, 1.0] > 0.6
    if FULL:
        assert loss["nag", 0.03] < 0.6 * loss["sgd", 0.03]
        assert loss["adagrad", 1.0] < 0.3


@pytest.mark.campaign("lecture")
def test_deep_networks_need_the_initializer_of_their_activation():
    accuracy = medians(
        *("initializers_compared", "activation", "model.hidden", "initializer"),
        small=["activation=relu", "model.hidden=16x20"],
    )
    assert accuracy["relu", "16x20", "he_normal"] > 0.95
    assert accuracy["relu", "16x20", "xavier_normal"] < accuracy["relu", "16x20", "he_normal"]
    for activation in ("sigmoid", "tanh", "relu") if FULL else ("relu",):
        assert accuracy[activation, "16x20", "normal"] < 0.6
    if FULL:
        assert max(accuracy["sigmoid", "16x20"]) < 0.6
        assert accuracy["sigmoid", "16x2", "xavier_normal"] > 0.7


def test_an_epoch_is_worth_more_the_smaller_its_batches():
    loss = medians(
        "batch_styles", "training", small=["training=batch,minibatch"], metric="train/loss"
    )
    assert loss["minibatch"] < 0.6 * loss["batch"]
    if FULL:
        assert loss["sgd"] < 0.6 * loss["minibatch"]


@pytest.mark.campaign("lecture")
def test_more_data_fits_better():
    rmse = medians(
        *("sample_size", "dataset.num_samples"),
        small=["dataset.num_samples=30,100", "training.evaluate_every=20"],
        metric="test/rmse",
    )
    assert rmse[30] > 1.2 * rmse[100]
    if FULL:
        assert rmse[100] > 1.05 * rmse[3000]
        assert rmse[3000] < 0.22

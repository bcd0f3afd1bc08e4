"""The lecture's comparisons: what it claims can be read from the medians of each sweep. `pytest -m
slow` runs them, about four minutes.
"""

from __future__ import annotations

import pytest

import mlplab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def medians(experiment, *keys, metric="test/accuracy"):
    table = mlplab.sweep([f"experiment={experiment}"])
    assert set(table["status"]) == {"done"}
    return table.groupby(list(keys) if len(keys) > 1 else keys[0])[metric].median()


def test_more_hidden_units_help_until_there_are_enough():
    found = medians("hidden_units", "model.hidden")
    units = [found[f"[{n}]"] for n in range(1, 17)]
    assert units[0] < 0.65
    assert units[0] < units[2] - 0.05
    assert units[2] < units[5] - 0.05
    assert min(units[6:]) > 0.94
    assert max(units[8:]) - min(units[8:]) < 0.03


def test_layers_without_a_non_linear_activation_add_nothing_and_sigmoid_is_slow():
    found = medians("activations_compared", "activation")
    assert found["identity"] < 0.6
    assert found.drop("identity").min() > 0.8
    assert found["sigmoid"] < min(found["tanh"], found["relu"], found["gelu"])


def test_momentum_speeds_descent_up_and_adaptive_steps_want_a_smaller_rate():
    found = medians("optimizers_compared", "optimizer", "optimizer.lr", metric="train/loss")
    assert found["momentum", 0.03] < 0.6 * found["sgd", 0.03]
    assert found["nag", 0.03] < 0.6 * found["sgd", 0.03]
    assert found["sgd", 1.0] < found["sgd", 0.1]
    for word in ("adam", "rmsprop"):
        assert found[word].idxmin() in (0.03, 0.1)
        assert found[word, 1.0] > 0.6
    assert found["adagrad", 1.0] < 0.3


def test_deep_networks_need_the_initializer_of_their_activation():
    found = medians("initializers_compared", "activation", "model.hidden", "initializer")
    assert found["relu", "16x20", "he_normal"] > 0.95
    assert found["relu", "16x20", "xavier_normal"] < found["relu", "16x20", "he_normal"]
    for activation in ("sigmoid", "tanh", "relu"):
        assert found[activation, "16x20", "normal"] < 0.6
    assert max(found["sigmoid", "16x20"]) < 0.6
    assert found["sigmoid", "16x2", "xavier_normal"] > 0.7


def test_an_epoch_is_worth_more_the_smaller_its_batches_and_costs_more():
    table = mlplab.sweep(["experiment=batch_styles"])
    loss, seconds = (table.groupby("training")[key].median() for key in ("train/loss", "seconds"))
    assert loss["sgd"] < 0.6 * loss["minibatch"] < 0.6 * loss["batch"]
    assert seconds["sgd"] > 3 * seconds["minibatch"] > seconds["batch"]


def test_more_data_fit_better():
    found = medians("sample_size", "dataset.num_samples", metric="test/rmse")
    assert found[30] > 1.2 * found[100]
    assert found[100] > 1.05 * found[3000]
    assert found[3000] < 0.22

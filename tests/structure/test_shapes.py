"""Names such as theta_KP end in the dimensions of the tensor, checked while things train."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
from building import make_settings
from known import assert_only_known
from shape_suffixes import shapes_of
from source_tree import REPOSITORY
from studies import study_of

from mlplab import experiment
from mlplab.losses import LOSSES, ClassificationLoss, RegressionLoss
from mlplab.network import ACTIVATIONS, INITIALIZERS
from mlplab.optimizers import OPTIMIZERS
from mlplab.sklearn import MLPRegressor
from mlplab.training import train_population

LEAST_CHECKED = 400  # names; a check that sees fewer has lost sight of the code


def train_and_evaluate():
    """A lone classifier."""
    experiment.run(make_settings(epochs=2, dataset="three_classes"), quiet=True)


def train_and_predict():
    """A lone regressor, with batch normalization and dropout."""
    settings = make_settings(
        dataset="sine",
        activation="relu",
        optimizer="sgd",
        schedule="plateau",
        layer={"dropout": 0.1, "normalization": "batch"},
        epochs=2,
        clip_norm=1.0,
    )
    run = experiment.run(settings, quiet=True)
    run.predict(np.zeros((3, 1)))


def train_a_population():
    """Members that differ in numbers."""
    settings = make_settings(epochs=2)
    train_population(
        [
            dataclasses.replace(settings, seed=k, optimizer=OPTIMIZERS["adamw"](lr=0.01 * (k + 1)))
            for k in range(3)
        ]
    )


def train_with_every_component():
    """Every optimizer, activation, initializer and loss, one of each kind at a time."""
    losses = [("two_layer_radial", name) for name in names_of(LOSSES, ClassificationLoss)]
    losses += [("absolute", name) for name in names_of(LOSSES, RegressionLoss)]
    optimizers = [name for name, optimizer in OPTIMIZERS.items() if not optimizer.single_network]
    kinds = [losses, optimizers, list(ACTIVATIONS), list(INITIALIZERS)]
    for i in range(max(map(len, kinds))):
        (dataset, loss), optimizer, activation, initializer = (
            names[i % len(names)] for names in kinds
        )
        settings = make_settings(
            dataset=dataset,
            loss=loss,
            optimizer=optimizer,
            activation=activation,
            initializer=initializer,
            steps=2,
        )
        train_population([settings])


def names_of(table, base):
    return [name for name, component in table.items() if issubclass(component, base)]


def train_an_estimator():
    x, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    MLPRegressor(hidden=(5,), epochs=2, n_members=2).fit(x, y).predict(x)


def look_at_frames():
    """What a regressor predicted at several moments of its training."""
    study = study_of(dataset="sine")
    study.evaluate(0)


def test_tensors_have_the_shapes_that_their_names_say():
    checker = shapes_of(
        REPOSITORY / "src",
        train_and_evaluate,
        train_and_predict,
        train_a_population,
        train_with_every_component,
        train_an_estimator,
        look_at_frames,
    )
    assert len(checker.checked) >= LEAST_CHECKED
    assert_only_known("shapes", checker.offenders.values())


# The check itself, on small modules.


@pytest.fixture
def offenders(write):
    """(body of a function) -> the violations when it runs, as text."""

    def check(body):
        text = "import numpy as np\nimport torch\ndef work():\n"
        root = write({"mlplab/a.py": text + "".join(f"    {line}\n" for line in body.split("\n"))})
        spec = importlib.util.spec_from_file_location("a", root / "mlplab/a.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        checker = shapes_of(root, lambda: list(module.work() or []))
        return [str(offender) for offender in checker.offenders.values()]

    return check


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("x_KP = torch.zeros(3)", "x_KP (shape (3,))"),
        ("x_K = np.zeros((3, 1))", "x_K (shape (3, 1))"),
        ("x_N2 = torch.zeros(5, 3)", "x_N2 (3 instead of 2)"),
        ("x_K1 = torch.zeros(5, 2)", "x_K1 (2 instead of 1)"),
        ("a_KP = np.zeros((2, 3))\nb_P = torch.zeros(4)", "b_P (P is 4 here and 3 in a_KP)"),
        ("a_NN = np.zeros((2, 3))", "a_NN (N is 3 here and 2 in a_NN)"),
        ("a_KN = np.zeros((1, 3))\nb_KN = np.zeros((1, 1))", "b_KN (N is 1 here and 3 in a_KN)"),
        ("for n in (1, 2):\n    x_N = torch.zeros(n, n)\n    yield n", "x_N (shape (1, 1))"),
    ],
)
def test_check_of_shapes(offenders, body, detail):
    assert offenders(body) == [f"mlplab/a.py:3: a.work {detail}"]


@pytest.mark.parametrize(
    "body",
    [
        "a_KP = torch.zeros(3, 2)\nb_K = np.zeros(3)\nc_KP2 = torch.zeros(3, 2, 2)",
        "a_KP = torch.zeros(3, 2)\nb_KP = torch.zeros(1, 2)\nc_K1 = torch.zeros(1, 1)",
        "a_KP = None\nb_KP = 0.5\nc_KP = [torch.zeros(3)]\nLIMIT = torch.zeros(3)",
    ],
)
def test_check_of_shapes_passes_right_ones(offenders, body):
    assert offenders(body) == []

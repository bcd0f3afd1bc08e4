"""A component of a user is tried when it is registered, and missed by name when it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import mlplab
from mlplab import metrics
from mlplab.config.contracts import check_contract
from mlplab.config.plugins import OPEN_GROUPS, register, unregister
from mlplab.config.registry import table
from mlplab.data import Dataset, class_table, value_table
from mlplab.errors import ConfigError, DataError
from mlplab.losses.base import Loss, RegressionLoss
from mlplab.network.activations import Activation
from mlplab.network.initializers import Initializer
from mlplab.optimizers.base import Optimizer
from mlplab.sklearn import MLPRegressor


@dataclass(frozen=True)
class NoTasks(Loss):
    def __call__(self, outputs_KBC, targets):
        return (outputs_KBC - targets).square().squeeze(-1)


@dataclass(frozen=True)
class NoOutputs(NoTasks):
    tasks = ("regression",)


@dataclass(frozen=True)
class Averaged(RegressionLoss):
    def __call__(self, outputs_KBC, targets):
        return (outputs_KBC - targets).square().mean()


@dataclass(frozen=True)
class AveragedValues(RegressionLoss):
    def per_value(self, outputs_KBC, targets_KBT):
        return (outputs_KBC - targets_KBT).square().mean()


@dataclass(frozen=True)
class Crash(RegressionLoss):
    def per_value(self, outputs_KBC, targets_KBT):
        return outputs_KBC @ targets_KBT


@dataclass(frozen=True)
class Summed(Activation):
    def value(self, z_KBH):
        return z_KBH.sum(-1)


@dataclass(frozen=True)
class NoUpdate(Optimizer):
    """No rule."""


@dataclass(frozen=True)
class Forgetful(Initializer):
    def fill(self, weight_OI, generator):
        torch.zeros_like(weight_OI)


@dataclass(frozen=True)
class Fine(RegressionLoss):
    def per_value(self, outputs_KBC, targets_KBT):
        return (outputs_KBC - targets_KBT).square()


@pytest.mark.parametrize(
    ("group", "component", "message"),
    [
        ("loss", NoTasks, r"has tasks = \(\); state what it is for"),
        ("loss", NoOutputs, "does not implement `num_outputs`"),
        ("loss", Averaged, r"one number an example, \[K, B\], not their mean; .* returned \[\]"),
        ("loss", AveragedValues, r"one number a value, \[K, B, T\], .* returned \[\]"),
        ("loss", Crash, "fails on a small example: RuntimeError"),
        ("activation", Summed, r"must keep the shape .* returned \[2, 3\]"),
        ("optimizer", NoUpdate, "does not implement `update`"),
        ("initializer", Forgetful, "leaves weights unset"),
    ],
)
def test_a_wrong_component_is_refused_when_it_is_registered(group, component, message):
    with pytest.raises(ConfigError, match=message):
        register(group, "mine")(component)


def dataset_of_a_cell(table, kind="classification"):
    """A class as a cell of a notebook defines it."""

    @dataclass(frozen=True)
    class Mine(Dataset):
        """Two points."""

        task_kind: ClassVar[str] = kind

        def make(self, rng):
            return table(rng.normal(size=(20, 2)))

    Mine.__module__ = "__main__"
    return Mine


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (dataset_of_a_cell(lambda x: (x, x[:, 0] > 0)), "must return a table.* returned a tuple"),
        (dataset_of_a_cell(lambda x: value_table(x, x[:, 0])), "but its table is a regression"),
        (dataset_of_a_cell(lambda x: class_table(x, x, "ab")), r"fails on a small .*int64 array"),
        (dataset_of_a_cell(lambda x: x, "classes"), "must set task_kind"),
    ],
)
def test_a_dataset_of_a_cell_is_tried_when_it_is_registered(dataset, message):
    with pytest.raises(ConfigError, match=message):
        register("dataset", "mine")(dataset)


def test_a_dataset_of_a_cell_can_be_changed(tmp_path):
    overrides = {"dataset": "mine", "training.epochs": 1, "tracking": "off"}
    try:
        for shift in (0, 5):
            made = dataset_of_a_cell(lambda x, s=shift: class_table(x + s, x[:, 0] > 0, "ab"))
            made.__qualname__ = f"Mine{shift}"  # the cell was edited, its class renamed
            register("dataset", "mine")(made)
            run = mlplab.run(overrides, tmp_path / str(shift))
            scaler = run.preprocessing.feature_scaler
            assert (np.abs(np.asarray(scaler.shift)) > 2).all() == bool(shift)
    finally:
        unregister("dataset", "mine")
    with pytest.raises(ConfigError, match=r"trained with dataset=mine, .* run the cell"):
        mlplab.load(tmp_path / "0")


def test_a_dataset_that_makes_no_table_is_named_when_it_is_used(tmp_path):
    made = dataset_of_a_cell(lambda x: x)
    made.__module__ = "a_plugin"
    register("dataset", "mine")(made)
    try:
        with pytest.raises(DataError, match=r"Mine.make returned a ndarray instead of a table"):
            mlplab.run({"dataset": "mine", "tracking": "off"}, tmp_path / "run")
    finally:
        unregister("dataset", "mine")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda scores: 0.0, r"`mine` fails for scores \[6, 1\] and y \[6, 1\]: TypeError"),
        (lambda scores, y: (scores - y) ** 2, r"one number, but returned shape \[6, 1\]"),
        (lambda scores, y: None, "one number, but returned NoneType"),
        (lambda scores, y: scores.missing(y), "AttributeError.* predicted and true values"),
    ],
)
def test_a_metric_is_tried_when_it_is_registered(function, message):
    with pytest.raises(ConfigError, match=message):
        metrics.register("mine", "min", "regression")(function)
    assert "mine" not in metrics.names_for("regression")


def test_a_run_selected_by_a_metric_of_the_user_names_it_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_registered", {})
    for factor in (1, 2):  # a cell that runs twice
        metrics.register("mine", "min", "regression")(
            lambda scores, y, f=factor: f * abs(scores - y).max()
        )
    overrides = ["experiment=sine_100", "training.epochs=1", "tracking=off"]
    run = mlplab.run([*overrides, "training.monitor=mine"], tmp_path / "run")
    error = abs(run.predict([[0.5]])[0, 0])
    assert run.metrics["train/mine"] > error / 100
    monkeypatch.setattr(metrics, "_registered", {})
    with pytest.raises(ConfigError, match=r"training\.monitor=mine, a metric that a plugin reg"):
        mlplab.load(tmp_path / "run")


class Misspelled(mlplab.Callback):
    def on_evaluate(self, session, evaluation):
        """Never called."""


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([Misspelled()], "has a method `on_evaluate`, which is never called. Events are on_start"),
        ([Misspelled], r"is a class: pass an object, Misspelled\(\)"),
        ([print], "derive its class from mlplab.Callback"),
        (Misspelled(), r"write callbacks=\[...\]"),
    ],
)
def test_a_callback_that_would_not_be_called_is_refused(callbacks, message, tmp_path):
    for train in (mlplab.run, mlplab.sweep):
        with pytest.raises(ConfigError, match=message):
            train({"experiment": "xor_mlp"}, tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=message):
        MLPRegressor(callbacks=callbacks).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])


@pytest.mark.parametrize("group", [group for group in OPEN_GROUPS if group != "dataset"])
def test_every_shipped_component_keeps_the_contract(group):
    for name, component in table(group).items():
        if name != "auto":
            check_contract(group, name, component)


def test_a_run_with_a_plugin_names_it_when_it_is_missing(tmp_path):
    register("loss", "mine")(Fine)
    overrides = ["experiment=quadratic_8_8", "loss=mine", "training.epochs=1", "tracking=off"]
    try:
        mlplab.run(overrides, tmp_path / "run")
        mlplab.load(tmp_path / "run")
    finally:
        unregister("loss", "mine")
    with pytest.raises(ConfigError, match=r"trained with loss=mine, .* a plugin registered it"):
        mlplab.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "override"),
    [
        ("activation", "activation=mine_too"),
        ("model.hidden[1].activation", "model.hidden=[2,{units:2,activation:mine_too}]"),
        ("model.hidden[0].activation", "model.hidden=[{units:2,activation:{name:mine_too}}]"),
    ],
)
def test_a_run_says_where_it_used_a_plugin(key, override):
    @dataclass(frozen=True)
    class MineToo(Activation):
        """Twice the input."""

        def value(self, z_KBH):
            return 2 * z_KBH

    register("activation", "mine_too")(MineToo)
    try:
        mlplab.run(["experiment=xor_mlp", "training.epochs=1", "tracking=off", override], "run")
    finally:
        unregister("activation", "mine_too")
    with pytest.raises(ConfigError, match=re.escape(f"was trained with {key}=mine_too")):
        mlplab.load("run")

"""A component of a user is tried when it is registered, and missed by name when it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch

import mlplab
from mlplab.config.contracts import check_contract
from mlplab.config.plugins import OPEN_GROUPS, register, unregister
from mlplab.config.registry import table
from mlplab.errors import ConfigError
from mlplab.losses.base import Loss, RegressionLoss
from mlplab.network.activations import Activation
from mlplab.network.initializers import Initializer
from mlplab.optimizers.base import Optimizer


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

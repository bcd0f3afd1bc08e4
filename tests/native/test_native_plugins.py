"""Components of plug-ins in the native engine: traced at first use, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from building import make_settings
from harness import size
from native_training import dataset_for, distance, train

from mlplab.cli import main
from mlplab.config import plugins, settings_from_overrides
from mlplab.native import (
    function_name,
    generating,
    library_cache,
    plugin_functions,
    reason_for_eager,
    sources,
)
from mlplab.training import prepare_members

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from mlplab.config import register
from mlplab.losses import ClassificationLoss, RegressionLoss
from mlplab.network.activations import Activation
from mlplab.optimizers import Optimizer
from mlplab.schema import Number, choice, number
from mlplab.stacking import fit

FACTOR = 0.1


@register("activation", "bent")
@dataclass(frozen=True)
class Bent(Activation):
    "A bend."

    slope: Number = number(0.5, "slope below zero", at_least=0)
    form: str = choice("tanh", ("tanh", "atan"), "function below zero")

    def value(self, z_KBH):
        below_KBH = torch.tanh(z_KBH) if self.form == "tanh" else torch.atan(z_KBH)
        above_KBH = z_KBH + FACTOR * z_KBH.abs() ** 1.5
        return torch.where(z_KBH > 0, above_KBH, fit(self.slope, z_KBH) * below_KBH)


@register("activation", "scaled")
@dataclass(frozen=True)
class Scaled(Activation):
    "A tanh of learned size."

    def __call__(self, z_KBH, parameters_K1Q=None):
        return z_KBH.tanh() * (0.5 if parameters_K1Q is None else parameters_K1Q)

    def num_parameters(self):
        return 1

    def initial_parameters(self):
        return [0.5]


@register("activation", "sorted")
@dataclass(frozen=True)
class Sorted(Activation):
    "The sorted units."

    def value(self, z_KBH):
        return z_KBH.sort(-1).values


@register("activation", "branching")
@dataclass(frozen=True)
class Branching(Activation):
    "Depends on a value in Python."

    def value(self, z_KBH):
        return 2 * z_KBH if float(z_KBH.max()) > 0 else z_KBH


@register("loss", "power")
@dataclass(frozen=True)
class Power(ClassificationLoss):
    "A power of the missing probability."

    exponent: Number = number(1.5, "exponent", above=0)

    def __call__(self, outputs_KBC, targets):
        p_KB = outputs_KBC.softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return (1.001 - p_KB) ** fit(self.exponent, p_KB)


@register("loss", "rate")
@dataclass(frozen=True)
class Rate(RegressionLoss):
    "Squared error of a rate."

    def per_value(self, outputs_KBC, targets_KBT):
        return (outputs_KBC.exp() - targets_KBT).square()

    def predict(self, outputs_KBC):
        return outputs_KBC.exp()


@register("optimizer", "slowing")
@dataclass(frozen=True)
class Slowing(Optimizer):
    "Momentum with a count of the steps as a state of its own."

    momentum: Number = number(0.9, "fraction that is kept", at_least=0, below=1)
    state_names: ClassVar[tuple[str, ...]] = ("velocity",)

    def init(self, theta_KP):
        count_K1 = torch.zeros_like(theta_KP[:, :1], dtype=torch.float64)
        return super().init(theta_KP) | {"count": count_K1}

    def update(self, theta_KP, gradient_KP, state, step, lr):
        count_K1 = state["count"].add_(1)
        velocity_KP = state["velocity"].mul_(fit(self.momentum, theta_KP)).add_(gradient_KP)
        return theta_KP.sub_(velocity_KP * fit(lr / count_K1**0.1, theta_KP)), state
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "native_plugin.py").write_text(PLUGIN)
    plugins.load([folder / "native_plugin.py"])
    yield folder
    for group in ("activation", "loss", "optimizer"):
        for name in list(plugins.registered(group)):
            plugins.unregister(group, name)


@pytest.fixture
def component(folder):
    """The plug-in's components by name."""
    tables = [plugins.registered(group) for group in ("activation", "loss", "optimizer")]
    return lambda name, **fields: next(t[name] for t in tables if name in t)(**fields)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Nothing stored, and nothing known in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield library_cache.folder()
    forget()


def forget():
    plugin_functions._functions.clear()


TRAINED = [
    {"activation": ("bent", {"slope": 0.3})},
    {"activation": ("bent", {"form": "atan"})},
    {"activation": ("scaled", {})},
    {"loss": ("power", {"class_weights": [1.0, 2.0]})},
    {"loss": ("rate", {})},
    {"optimizer": ("slowing", {"lr": 0.01})},
]


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("choices", TRAINED, ids=str)
def test_a_plugin_trains_as_with_the_eager_engine(choices, component):
    made = {group: component(name, **fields) for group, (name, fields) in choices.items()}
    dataset = dataset_for(made["loss"]) if "loss" in made else "two_layer_radial"
    settings = make_settings(dataset=dataset, epochs=size(12, 50), **made)
    (native,), (eager,) = train([settings], "native"), train([settings], "eager")
    assert native.status == eager.status == "done"
    assert distance(native, eager) < 1e-10
    torch.testing.assert_close(
        torch.tensor(native.history.values), torch.tensor(eager.history.values), equal_nan=True
    )


REFUSED = {
    "sorted": "it cannot be traced: the operation sort",
    "branching": "it cannot be traced: it depends on the values of a tensor in Python",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_traced_trains_with_torch_and_the_reason_is_named(name, folder, capsys):
    reason = REFUSED[name]
    run = [
        *(f"activation={name}", "dataset=circles", "training.epochs=2", "tracking=summary"),
        f"--plugin={folder / 'native_plugin.py'}",
    ]
    assert main(["plan", *run]) == 0
    assert reason in capsys.readouterr().out
    assert main(["train", *run, "hydra.run.dir=run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["engine"] == "eager"
    assert reason in Path("run/log.txt").read_text()
    assert main(["train", *run, "engine=native"]) == 2
    assert reason in capsys.readouterr().err
    assert main(["list", "activation", f"--plugin={folder / 'native_plugin.py'}"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("engine=eager trains branching, sorted;")
    assert main(["list", "activation", name, f"--plugin={folder / 'native_plugin.py'}"]) == 0
    assert reason in " ".join(capsys.readouterr().out.split())


def test_nothing_is_traced_for_the_eager_engine(folder, empty_cache, monkeypatch):
    monkeypatch.setattr(generating, "functions_of", None)
    settings = settings_from_overrides(["activation=bent", "engine=eager", "dataset=circles"])
    assert prepare_members([settings])[0].settings.engine == "eager"


def test_the_printed_code_is_stored(component, empty_cache, monkeypatch):
    bent = component("bent")
    assert reason_for_eager("activation", bent) is None
    name = function_name("activation", bent, "float32")
    assert reason_for_eager("activation", component("sorted")) == REFUSED["sorted"]
    forget()
    monkeypatch.setattr(generating, "functions_of", None)  # in another process
    assert reason_for_eager("activation", bent) is None
    assert function_name("activation", bent, "float32") == name
    assert reason_for_eager("activation", component("sorted")) == REFUSED["sorted"]


def test_stored_code_of_another_formula_is_traced_again(component, empty_cache, monkeypatch):
    bent = component("bent")
    assert reason_for_eager("activation", bent) is None
    name = function_name("activation", bent, "float32")
    forget()
    monkeypatch.setitem(type(bent).value.__globals__, "FACTOR", 0.2)  # from outside of the file
    assert reason_for_eager("activation", bent) is None
    assert function_name("activation", bent, "float32") != name


def test_a_damaged_text_is_not_used(component, empty_cache):
    bent = component("bent")
    assert reason_for_eager("activation", bent) is None
    (stored,) = empty_cache.glob("*.c")
    content = stored.read_bytes()
    stored.write_bytes(content.replace(b"v_tanh", b"v_sinh"))
    forget()
    assert reason_for_eager("activation", bent) is None
    assert stored.read_bytes() == content


def test_a_compiled_function_that_gives_something_else_is_not_used(
    component, empty_cache, monkeypatch
):
    """As of a component that rounds to float32 whatever the dtype."""
    bent, functions_of = component("bent"), generating.functions_of
    monkeypatch.setattr(
        generating,
        "functions_of",
        lambda *a: ((n, text.replace("v_tanh", "v_sigmoid")) for n, text in functions_of(*a)),
    )
    assert reason_for_eager("activation", bent) == "compiled, it gives another value"


@pytest.mark.parametrize("group", ["activation", "loss", "optimizer"])
def test_the_numbers_of_members_are_arguments(group, component, empty_cache):
    names = {"activation": "bent", "loss": "power", "optimizer": "slowing"}
    key = {"activation": "slope", "loss": "exponent", "optimizer": "momentum"}[group]
    settings = [
        make_settings(
            seed=seed, epochs=5, **{group: component(names[group], **{key: 0.25 + seed / 4})}
        )
        for seed in range(3)
    ]
    before = len(sources._added)
    together = train(settings, "native")
    assert len(sources._added) - before <= 5  # of one component
    for outcome, one in zip(together, settings, strict=True):
        (alone,) = train([one], "native")
        assert torch.equal(outcome.last_theta_P, alone.last_theta_P)


def test_without_a_compiler_a_plugin_trains_with_torch(
    component, empty_cache, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler" in str(reason_for_eager("activation", component("bent")))

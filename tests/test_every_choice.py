"""Every choice of every group in configs/ composes, validates, builds, and trains two steps with
finite results, as a single network and as a population of three.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_openml import serve
from harness import FULL, size

from mlplab.config import composition, settings_from_overrides
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose, compose_tree, plain_tree
from mlplab.config.group_choices import compose_choices
from mlplab.config.overrides import parse_overrides
from mlplab.config.root import COMPONENT_GROUPS
from mlplab.config.search_path import config_folders
from mlplab.data.preparation.registry import DATASETS
from mlplab.data.tabular.arrays_dataset import with_data
from mlplab.data.tabular.collecting import collect
from mlplab.losses import LOSSES
from mlplab.settings import Settings
from mlplab.training import train_population

CONFIGS = Path(__file__).parents[1] / "configs"
CHOICES = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml"))
ARRAYS = collect(np.arange(80.0).reshape(40, 2), np.arange(40) % 2)
MORE = ([], ["optimizer=sgd"], ["dataset=radial", "training=batch"])
MIN_CHOICES = {
    "dataset": 31,
    "activation": 33,
    "loss": 20,
    "optimizer": 14,
    "schedule": 8,
    "initializer": 15,
    "experiment": 16,
    "training": 3,
}


def test_all_choices_are_collected():
    counts = Counter(group for group, _ in CHOICES)
    assert all(counts[group] >= number for group, number in MIN_CHOICES.items()), counts
    assert sum(1 for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS) == len(CHOICES)


def overrides_for(group: str, name: str) -> list[str]:
    overrides = [f"{group}={name}", "training.steps=2", "tracking=off", "device=cpu"]
    if group == "loss" and "classification" not in LOSSES[name].tasks:
        overrides.append("dataset=quadratic")
    if (group, name) == ("dataset", "file"):
        Path("table.csv").write_text(
            "a,b,y\n" + "".join(f"{i},{i % 7},{'pq'[i % 2]}\n" for i in range(40))
        )
        overrides.append("dataset.path=table.csv")
    if (group, name) == ("validation", "kfold"):
        overrides.append("validation.fold=1")
    if (group, name) == ("dataset", "arrays"):
        overrides.append(f"dataset.data_hash={ARRAYS.sha256}")
    if (group, name) == ("dataset", "openml"):
        overrides += ["dataset.data_name=tiny", "dataset.missing=impute", "dataset.cache=cache"]
    if group == "loss" and name == "bce":
        overrides.append("dataset=xor")
    return overrides


def combinations() -> list[dict[str, str]]:
    """Return combinations of choices, the i-th with the i-th choice of every group, so that each
    choice occurs at least once.
    """
    groups = {
        group: [name for other, name in CHOICES if other == group] for group in COMPONENT_GROUPS
    }
    longest = max(map(len, groups.values()))
    return [
        {group: names[i % len(names)] for group, names in groups.items()} for i in range(longest)
    ]


def hydras_tree(overrides: list[str]) -> dict[str, Any]:
    """Compare the trees of `compose_choices` and Hydra, with all keys in order; return the tree."""
    trees = []
    for composer in (compose_tree, compose_choices):
        tree = plain_tree(composer(parse_overrides(overrides), config_folders()))
        # the texts of the overrides themselves: jobs are composed with Hydra where folders use them
        del tree["hydra"]["overrides"], tree["hydra"]["job"]["override_dirname"]
        trees.append(tree)
    assert repr(trees[0]) == repr(trees[1])
    return trees[0]


@pytest.mark.slow
@pytest.mark.campaign("fuzz", small=True)
def test_every_choice_composes_with_choices_of_all_other_groups():
    """By default, every fifth combination is compared with Hydra's. The campaign compares all, and
    composes each choice separately.
    """
    for i, line in enumerate(combinations()):
        overrides = [f"{group}={name}" for group, name in line.items()]
        if line["dataset"] in ("file", "openml", "arrays"):
            overrides.append("experiment=null")  # instead of the recipe for tables
        if i % size(5, 1) == 0:
            hydras_tree(overrides)
        composed = compose(overrides, complete=False)
        for group, name in line.items():
            assert composed.sources.choices[group] == name
            written = node(group, name)
            assert composed.config[group] == written
            assert written["name"] == name


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "overrides",
    size(
        [["xor_mlp"], ["xor_mlp", "optimizer=sgd", "dataset=radial"], ["sine_1000_relu"]],
        [[name, *more] for group, name in CHOICES if group == "experiment" for more in MORE],
    ),
    ids=" ".join,
)
def test_an_experiment_and_other_choices_are_hydras_composition(overrides):
    """The values of the experiment come last; the choices of the command line replace its own. The
    last one of the default tier is based on another experiment.
    """
    experiment, *others = overrides
    tree = hydras_tree([f"experiment={experiment}", *others])
    assert tree["hydra"]["runtime"]["choices"]["experiment"] == experiment


def test_shipped_choices_need_no_further_composition():
    Path("conf/optimizer").mkdir(parents=True)
    Path("conf/optimizer/my_sgd.yaml").write_text("defaults: [sgd]\nlr: 0.5\n")
    folders = config_folders()
    compose_tree([], folders)
    for overrides, lr, compositions in (
        (["optimizer=sgd", "activation=relu"], 0.001, 0),
        (["experiment=xor_mlp", "loss=mse"], 0.03, 0),
        (["experiment=sine_1000_relu"], 0.01, 1),
        (["optimizer=my_sgd"], 0.5, 1),
    ):
        before = composition._composed.cache_info().misses
        tree = plain_tree(compose_choices(parse_overrides(overrides), folders))
        assert composition._composed.cache_info().misses == before + compositions, overrides
        chosen = dict(override.split("=") for override in overrides)
        assert chosen.items() <= tree["hydra"]["runtime"]["choices"].items()
        assert tree["optimizer"]["lr"] == lr


@cache
def node(group: str, name: str) -> dict[str, Any]:
    """The file of a choice, which is what it composes to: see the tests above."""
    return yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())


@cache
def default_configuration() -> dict[str, Any]:
    return compose(["device=cpu"]).config


def assemble(overrides: list[str]) -> dict[str, Any]:
    """Return the configuration of the overrides, assembled from the files of the choices."""
    config = copy.deepcopy(default_configuration())
    for override in overrides:
        key, value = override.split("=")
        group, _, name = key.partition(".")
        if group in COMPONENT_GROUPS and not name:
            config[group] = copy.deepcopy(node(group, value))
        elif name:
            config[group][name] = yaml.safe_load(value)
        else:
            config[group] = value
    return config


def settings_of(overrides: list[str]) -> Settings:
    """Return the settings of the overrides; a campaign composes them like the command line."""
    if FULL or overrides[0].startswith("experiment="):
        return settings_from_overrides(overrides)
    return build(Composed(assemble(overrides)))


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_it_trains_two_steps(group, name, monkeypatch):
    if name == "openml":
        serve(monkeypatch)
    settings = settings_of(overrides_for(group, name))
    if name == "arrays":
        settings = dataclasses.replace(settings, dataset=with_data(settings.dataset, ARRAYS))
    single = train_population([settings])
    members = (
        [settings]
        if settings.optimizer.single_network
        else [dataclasses.replace(settings, seed=seed) for seed in range(3)]
    )
    for outcome in [*single, *train_population(members)]:
        assert outcome.status == "done"
        assert outcome.steps == 2
        assert outcome.last_theta_P.isfinite().all()
        assert all(
            abs(value) < 1e30 for name, value in outcome.metrics.items() if name.endswith("/loss")
        )


def test_a_dataset_declares_its_task_before_it_is_loaded():
    for name, dataset in DATASETS.items():
        assert dataset.task_kind in ("classification", "regression") or name in (
            "file",
            "openml",
            "arrays",
        ), name

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
from harness import FULL

from mlplab.config import settings_from_overrides
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.root import COMPONENT_GROUPS
from mlplab.data.preparation.registry import DATASETS
from mlplab.data.tabular.arrays_dataset import with_data
from mlplab.data.tabular.collecting import collect
from mlplab.losses import LOSSES
from mlplab.settings import Settings
from mlplab.training import train_population

CONFIGS = Path(__file__).parents[1] / "configs"
CHOICES = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml"))
ARRAYS = collect(np.arange(80.0).reshape(40, 2), np.arange(40) % 2)
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


@pytest.mark.slow
def test_every_choice_composes_with_choices_of_all_other_groups():
    """The campaign composes each choice separately."""
    for line in combinations():
        overrides = [f"{group}={name}" for group, name in line.items()]
        composed = compose(overrides, complete=False)
        for group, name in line.items():
            assert composed.sources.choices[group] == name
            written = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
            assert composed.config[group] == written
            assert written["name"] == name


@cache
def node(group: str, name: str) -> dict[str, Any]:
    """The composed choice, which is its file: see the test above."""
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

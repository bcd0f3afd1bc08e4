"""Every word of every group, found by walking configs/: it composes, validates, builds, trains two
steps alone and three together, and is finite.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_openml import serve
from harness import FULL

from mlplab.config import settings_from_overrides
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.root import COMPONENT_GROUPS
from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.settings import Settings
from mlplab.training import train_population

CONFIGS = Path(__file__).parents[1] / "configs"
WORDS = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml"))
AT_LEAST = {
    "dataset": 31,
    "activation": 33,
    "loss": 20,
    "optimizer": 14,
    "schedule": 8,
    "initializer": 14,
    "experiment": 16,
    "training": 3,
}


def test_all_words_were_found():
    found = Counter(group for group, _ in WORDS)
    assert all(found[group] >= number for group, number in AT_LEAST.items()), found
    assert sum(1 for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS) == len(WORDS)


def words_for(group: str, word: str) -> list[str]:
    words = [f"{group}={word}", "training.steps=2", "tracking=off", "device=cpu"]
    if group == "loss" and "classification" not in LOSSES[word].tasks:
        words.append("dataset=quadratic")
    if (group, word) == ("dataset", "file"):
        Path("table.csv").write_text(
            "a,b,y\n" + "".join(f"{i},{i % 7},{'pq'[i % 2]}\n" for i in range(40))
        )
        words.append("dataset.path=table.csv")
    if (group, word) == ("validation", "kfold"):
        words.append("validation.fold=1")
    if (group, word) == ("dataset", "openml"):
        words += ["dataset.data_name=tiny", "dataset.missing=impute", "dataset.cache=cache"]
    if group == "loss" and word == "bce":
        words.append("dataset=xor")
    return words


def lines_of_words() -> list[dict[str, str]]:
    """Each word of each group at least once: the i-th line has the i-th word of every group."""
    groups = {group: [w for g, w in WORDS if g == group] for group in COMPONENT_GROUPS}
    longest = max(map(len, groups.values()))
    return [
        {group: words[i % len(words)] for group, words in groups.items()} for i in range(longest)
    ]


@cache
def composed_lines() -> list[Composed]:
    return [
        compose([f"{group}={word}" for group, word in line.items()], complete=False)
        for line in lines_of_words()
    ]


@pytest.mark.slow
def test_every_word_composes_beside_words_of_all_other_groups():
    """The campaign composes each alone."""
    for line, composed in zip(lines_of_words(), composed_lines(), strict=True):
        for group, word in line.items():
            assert composed.sources.choices[group] == word
            written = yaml.safe_load((CONFIGS / group / f"{word}.yaml").read_text())
            assert composed.config[group] == written
            assert written["name"] == word


@cache
def node(group: str, word: str) -> dict[str, Any]:
    for line, composed in zip(lines_of_words(), composed_lines(), strict=True):
        if line[group] == word:
            return composed.config[group]
    raise AssertionError(f"{group}={word} was not composed")


@cache
def default_configuration() -> dict[str, Any]:
    return compose(["device=cpu"]).config


def put_together(words: list[str]) -> dict[str, Any]:
    """The configuration of these words, of parts that were composed in lines."""
    config = copy.deepcopy(default_configuration())
    for line in words:
        key, value = line.split("=")
        group, _, name = key.partition(".")
        if group in COMPONENT_GROUPS and not name:
            config[group] = copy.deepcopy(node(group, value))
        elif name:
            config[group][name] = yaml.safe_load(value)
        else:
            config[group] = value
    return config


def settings_of(words: list[str]) -> Settings:
    """The settings of the words; a campaign composes them as the command line does."""
    if FULL or words[0].startswith("experiment="):
        return settings_from_overrides(words)
    return build(Composed(put_together(words)))


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(("group", "word"), WORDS)
def test_it_trains_two_steps(group, word, monkeypatch):
    if word == "openml":
        serve(monkeypatch)
    settings = settings_of(words_for(group, word))
    alone = train_population([settings])
    members = (
        [settings]
        if settings.optimizer.single_network
        else [dataclasses.replace(settings, seed=seed) for seed in range(3)]
    )
    for outcome in [*alone, *train_population(members)]:
        assert outcome.status == "done"
        assert outcome.steps == 2
        assert outcome.last_theta_P.isfinite().all()
        assert all(
            abs(value) < 1e30 for name, value in outcome.metrics.items() if name.endswith("/loss")
        )


def test_a_dataset_says_its_task_before_it_is_loaded():
    for word, dataset in DATASETS.items():
        assert dataset.task_kind in ("classification", "regression") or word in (
            "file",
            "openml",
        ), word

"""Every word of every group, found by walking configs/: it composes, validates, builds, trains two
steps alone and three together, and is finite.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from fake_openml import serve

from mlplab.config import settings_from_words
from mlplab.data import DATASETS
from mlplab.losses import LOSSES
from mlplab.training import train_together

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


@pytest.mark.parametrize(("group", "word"), WORDS)
def test_it_trains_two_steps(group, word, monkeypatch):
    if word == "openml":
        serve(monkeypatch)
    settings = settings_from_words(words_for(group, word))
    alone = train_together([settings])
    members = (
        [settings]
        if settings.optimizer.alone
        else [dataclasses.replace(settings, seed=seed) for seed in range(3)]
    )
    for outcome in [*alone, *train_together(members)]:
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

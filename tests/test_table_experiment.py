"""The recipe experiment=table: where it applies, what replaces its values, and what follows from
the data.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mlplab
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composer import Composer
from mlplab.config.composition import compose
from mlplab.io.files import parse_yaml
from mlplab.sweeps.plan.hashing import job_hash
from mlplab.task import Task
from mlplab.training.auto_values import RULES, Facts, auto_keys
from mlplab.training.prepare import with_auto_values

TABLE = ["dataset=file", "dataset.path=table.csv", "dataset.target=y"]
QUICK = ["training.epochs=2", "tracking=summary"]
RECIPE = parse_yaml(
    (Path(__file__).parents[1] / "configs/experiment/table.yaml").read_text(encoding="utf-8")
)
CHOICES = {
    key.removeprefix("override /"): name
    for entry in RECIPE["defaults"]
    for key, name in entry.items()
}
VALUES = {
    f"{group}.{key}": value
    for group, node in RECIPE.items()
    if isinstance(node, dict)
    for key, value in node.items()
}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=120), "b": rng.lognormal(size=120)})
    frame["c"] = rng.choice(list("xyz"), 120)
    frame["y"] = (frame["a"] + np.log(frame["b"]) + (frame["c"] == "x")).round(4)
    frame.to_csv("table.csv", index=False)
    return frame


def composed(*lines):
    return compose([*TABLE, *lines]).config


def value(config, path):
    group, key = path.split(".")
    return config[group][key]


@pytest.mark.parametrize("dataset", ["file", "openml", "arrays"])
def test_the_recipe_applies_to_a_table_of_the_user(dataset):
    config = compose([f"dataset={dataset}"], complete=False).config
    assert {group: config[group]["name"] for group in CHOICES} == CHOICES
    assert {path: value(config, path) for path in VALUES} == VALUES
    assert config["name"] == dataset  # the folder of the run is still named after the data


@pytest.mark.parametrize(
    "lines",
    [
        ["dataset=wine"],
        ["dataset=file", "experiment=null", "dataset.path=table.csv"],
        ["dataset=file", "experiment=iris", "dataset.path=table.csv"],
    ],
)
def test_it_does_not_apply_to_anything_else(lines):
    config = compose(lines).config
    plain = compose([line for line in lines if line == "experiment=iris"]).config
    assert config["optimizer"] == plain["optimizer"]
    assert config["model"] == plain["model"]
    assert config["training"] == plain["training"]


def test_typed_it_applies_to_other_data_too():
    config = compose(["experiment=table", "dataset=wine"]).config
    assert config["optimizer"]["name"] == CHOICES["optimizer"]
    assert config["name"] == "table"
    assert "missing" not in config["dataset"]


@pytest.mark.parametrize("path", VALUES)
def test_a_typed_key_replaces_only_itself(path):
    typed = {"missing": "drop", "scaling": "minmax", "hidden": [3], "dropout": 0.25}
    new = typed.get(path.partition(".")[2], 7)
    if isinstance(VALUES[path], bool):
        new = not VALUES[path]
    config = composed(f"{path}={new}")
    assert value(config, path) == new
    others = {other: VALUES[other] for other in VALUES if other != path}
    assert {other: value(config, other) for other in others} == others


@pytest.mark.parametrize(
    ("group", "other"),
    [
        ("optimizer", "sgd"),
        ("optimizer", "torch"),
        ("schedule", "step"),
        ("training", "batch"),
        ("activation", "snake"),
        ("initializer", "normal"),
        ("model", "mlp"),
    ],
)
def test_another_choice_of_a_group_replaces_those_of_the_recipe(group, other):
    config = composed(f"{group}={other}")
    alone = compose([f"{group}={other}"]).config
    if group == "training":  # its choices share most keys
        keys = config["training"]
        shared = [p for p in VALUES if p.startswith("training.") and p.split(".")[1] in keys]
        assert {p: value(config, p) for p in shared} == {p: VALUES[p] for p in shared}
        assert config["training"].keys() == alone["training"].keys()
    elif group != "model":
        assert config[group] == alone[group]
    others = [p for p in VALUES if p.partition(".")[0] != group]
    assert {p: value(config, p) for p in others} == {p: VALUES[p] for p in others}
    build(compose([*TABLE, f"{group}={other}"]))


@pytest.mark.parametrize(
    "job",
    [
        [],
        ["optimizer=sgd", "optimizer.momentum=0.5"],
        ["training=batch", "training.epochs=7"],
        ["experiment=null"],
        ["experiment=table"],
        ["dataset.scaling=minmax", "seed=3"],
        ["training.patience=null", "optimizer.lr=0.5"],
    ],
)
def test_the_jobs_of_a_sweep_are_composed_alike(job):
    line = [*TABLE, *job]
    composer = Composer(line)
    assert composer.compose(tuple(line)).config == compose(line).config
    assert composer.compose_run().config == compose(line).config


@pytest.mark.parametrize("task", [Task("regression", num_targets=1), Task("classification", 3)])
@pytest.mark.parametrize("rows", [2, 40, 900, 5000, 200_000])
def test_what_follows_from_the_data_is_valid(rows, task):
    facts = Facts(rows, 10, task)
    for path, rule in RULES.items():
        chosen = rule(facts)
        config = compose(["experiment=table", f"{path}={chosen}"]).config
        assert not auto_keys(build(compose(["dataset=wine", f"{path}={chosen}"])))
        assert value(config, path) == chosen


def test_auto_is_resolved_and_stored(table, capfd):
    assert main(["train", *TABLE, *QUICK, "hydra.run.dir=run"]) == 0
    printed = capfd.readouterr().err
    [line] = [line for line in printed.splitlines() if "experiment=table" in line]
    config = parse_yaml(Path("run/config.yaml").read_text(encoding="utf-8"))
    facts = Facts(72, 0, Task("regression", num_targets=1))
    for path, rule in RULES.items():
        if VALUES.get(path) == "auto":
            assert value(config, path) == rule(facts)
    assert "auto" not in (config["model"]["hidden"], config["training"]["batch_size"])
    assert f"batch_size={config['training']['batch_size']}" in line
    assert "experiment=null" in line
    assert line.removeprefix("note: ") in Path("run/log.txt").read_text(encoding="utf-8")
    assert not auto_keys(mlplab.load("run").settings)


def test_a_run_repeats_and_continues_from_its_stored_configuration(table, capfd):
    longer = mlplab.run([*TABLE, *QUICK, "training.epochs=4"], folder="longer")
    mlplab.run([*TABLE, *QUICK], folder="run")
    assert main(["rerun", "run", "--check", "--out", "again"]) == 0
    assert main(["resume", "run", "training.epochs=4"]) == 0
    resumed = mlplab.load("run")
    if longer.settings.choice("schedule") == "constant":
        for one, two in zip(
            resumed.module().parameters(), longer.module().parameters(), strict=True
        ):
            assert torch.equal(one, two)
    dense = [
        [layer for layer in run.settings.layers if not layer.blocks] for run in (resumed, longer)
    ]
    assert dense[0] == dense[1]


def test_weights_are_not_averaged_beside_running_statistics(table):
    run = mlplab.run([*TABLE, *QUICK, "model.normalization=batch"], folder="run")
    assert run.settings.training.average == "none"
    config = parse_yaml(Path("run/config.yaml").read_text(encoding="utf-8"))
    assert config["training"]["average"] == "none"
    assert mlplab.run([*TABLE, *QUICK], folder="other").settings.training.average == "ema"


def test_a_stored_configuration_of_before_resumes_unchanged(table):
    old = mlplab.run([*TABLE, *QUICK, "experiment=null"], folder="old")
    assert main(["resume", "old", "training.epochs=4"]) == 0
    config = parse_yaml(Path("old/config.yaml").read_text(encoding="utf-8"))
    assert config["model"]["hidden"] == [6, 6]
    assert config["optimizer"]["name"] == "adam"
    assert [layer.units for layer in old.settings.layers[:-1]] == [6, 6]


def test_a_sweep_stores_what_it_trained(table):
    lines = [*TABLE, "training.epochs=1", "optimizer=sgd,adamw", "tracking=off"]
    results = mlplab.sweep([*lines, "tracking.jobs=packed"], folder="sweep")
    assert set(results["status"]) == {"done"}
    job = mlplab.load("sweep", job=1)
    assert not auto_keys(job.settings)
    assert len(job.settings.layers[:-1]) > 0
    again = mlplab.sweep([*lines, "tracking.jobs=packed"], folder="sweep")
    assert len(again) == 2  # the same jobs, by their hashes


def test_populations_of_unequal_tables_get_different_values(table):
    pd.concat([table] * 20).to_csv("large.csv", index=False)
    lines = ["dataset=file", "dataset.target=y", "model.hidden=auto", "training.batch_size=auto"]
    small, large = with_auto_values(
        [build(compose([*lines, f"dataset.path={name}.csv"])) for name in ("table", "large")]
    )
    assert small.training.batch_size < large.training.batch_size
    assert job_hash(small) != job_hash(large)


def test_the_folds_of_a_cross_validation_share_one_decision(table):
    folds = "validation=kfold", "validation.folds=4", "training.epochs=1", "tracking=off"
    mlplab.sweep([*TABLE, *folds], folder="folds")
    jobs = [mlplab.load("folds", job=number) for number in range(4)]
    assert len({tuple(layer.units for layer in job.settings.layers) for job in jobs}) == 1
    assert len({job.settings.training.batch_size for job in jobs}) == 1


def test_fit_follows_the_recipe_and_reports_missing_cells(table, capfd):
    frame = table.copy()
    frame.loc[3, "b"] = np.nan
    frame.loc[5, "y"] = np.nan
    run = mlplab.fit(frame, "y", QUICK, folder="fit")
    assert run.settings.choice("optimizer") == CHOICES["optimizer"]
    report = Path("fit/data_report.md").read_text(encoding="utf-8")
    assert "They were left out" in report  # the row without a target
    assert re.search(r"\| b \|.*\| 1 \|", report), report
    plain = mlplab.fit(table, "y", [*QUICK, "experiment=null"], folder="plain")
    assert plain.settings.choice("optimizer") == "adam"


def test_plan_prints_the_choices(table, capfd):
    assert main(["plan", *TABLE]) == 0
    first = capfd.readouterr().out.splitlines()[0]
    assert first.startswith("experiment=table: ")
    assert "auto" not in first


def test_the_estimators_keep_their_defaults():
    from mlplab.sklearn import MLPClassifier

    assert MLPClassifier().get_params()["optimizer"] == "adam"


def test_a_training_that_ends_at_its_best_epoch_says_what_to_try(table, capfd):
    lengths = ["training.epochs=10", "optimizer.lr=0.0003", "tracking=summary"]
    assert main(["train", *TABLE, *lengths]) == 0
    out = capfd.readouterr().out
    folder = out.splitlines()[-1]
    assert mlplab.load(folder).summary["best_epoch"] == 10
    assert f"Try: mlplab resume {folder} training.epochs=20" in out
    assert f"Or a wider network: mlplab rerun {folder} model.hidden=256-256" in out
    intervals = Path(folder, "intervals.json").read_text(encoding="utf-8")
    # which continues, and calibrates the intervals of the network anew
    assert main(["resume", folder, "training.epochs=20"]) == 0
    assert Path(folder, "intervals.json").read_text(encoding="utf-8") != intervals
    assert main(["predict", folder, "table.csv", "--interval", "0.9"]) == 0
    capfd.readouterr()
    assert main(["train", *TABLE, *QUICK]) == 0
    assert "The best epoch is the last one" not in capfd.readouterr().out

"""Packed ensembles: sampling, selection, and the run that they leave."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import mlplab
from mlplab import metrics
from mlplab.ensembles.sampling import _share, load_ranges
from mlplab.ensembles.selection import bagged, greedy
from mlplab.ensembles.validation_score import ValidationScore
from mlplab.errors import ConfigError
from mlplab.export import files
from mlplab.model.packed import PackedModel
from mlplab.runs.ensemble import Predictor
from mlplab.task import Task


def rmse(values_MNC):
    return np.sqrt(np.square(values_MNC).mean((1, 2)))


def reference(scores, score, size):
    """The sizes of the greedy path written out: the chosen candidates of the best size."""
    chosen, best = [], (np.inf, [])
    for _ in range(size):
        tried = [
            (score(np.mean([scores[i] for i in [*chosen, m]], 0)[None])[0], m)
            for m in range(len(scores))
        ]
        value, index = min(tried)
        chosen.append(index)
        if value < best[0] - 1e-12:
            best = value, list(chosen)
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_selection_equals_the_reference(seed):
    scores = np.random.default_rng(seed).normal(size=(7, 20, 1))

    counts = greedy(scores, rmse, 12)

    assert counts.tolist() == np.bincount(reference(scores, rmse, 12), minlength=7).tolist()


def test_the_weights_of_bags_sum_to_one_and_depend_on_the_seed_alone():
    scores = np.random.default_rng(0).normal(size=(9, 20, 1))
    first, second = (bagged(scores, rmse, 3) for _ in range(2))

    assert first.sum() == pytest.approx(1)
    assert (first == second).all()


def test_a_sample_is_a_function_of_seed_and_member_and_typed_keys_are_fixed():
    ranges = load_ranges(None, ["optimizer.lr=0.1"])
    samples = [
        ranges.sample(seed, member) for seed, member in itertools.product(range(2), repeat=2)
    ]

    assert len({tuple(sample) for sample in samples}) == 4
    assert samples[0] == ranges.sample(0, 0)
    assert not any(line.startswith("optimizer.lr=") for line in samples[0])


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"optimizer.lr": 0.1}, "ensemble_ranges.optimizer.lr"),
        ({"optimizer.lr": "tag(log,interval(0,1))"}, "above 0"),
        ({"dataset.scaling": ["standard", "robust_clip"]}, "`dataset.scaling` is the same"),
        ({"training.monitor": ["f1"]}, "`training.monitor` is the same"),
        ({"seed": [1, 2]}, "`seed` is the same"),
        ({"model.width": [1, 2]}, "no key"),
    ],
)
def test_a_range_that_has_no_effect_is_refused(ranges, message):
    with pytest.raises(ConfigError, match=message):
        mlplab.run(["dataset=moons", "ensemble=2", f"ensemble_ranges={shown(ranges)}"])


def shown(ranges):
    """The ranges as a user types them, in Hydra's grammar."""
    return "{" + ", ".join(f"{key}: {node!r}" for key, node in ranges.items()) + "}"


def test_a_typed_key_of_a_sampled_group_fixes_the_group():
    ranges = load_ranges(None, ["embedding.bins=12"])
    lines = [line for member in range(16) for line in ranges.sample(0, member)]

    assert lines
    assert not any(line.startswith("embedding") for line in lines)


def test_consecutive_members_sample_all_choices_and_the_whole_interval():
    ranges = load_ranges({"model.hidden": ["8", "9", "10"], "optimizer.lr": "interval(0,8)"}, [])
    space = {one.name: one for one in ranges.space}
    shares = {
        name: [_share(space[name], 5, member) for member in range(24)]
        for name in ("model.hidden", "optimizer.lr")
    }

    for first in range(0, 24, 3):
        block = [space["model.hidden"].at(s) for s in shares["model.hidden"][first : first + 3]]
        assert sorted(block) == ["10", "8", "9"]
    for first in range(0, 24, 8):
        block = [space["optimizer.lr"].at(s) for s in shares["optimizer.lr"][first : first + 8]]
        assert sorted(int(value) for value in block) == list(range(8))


def test_a_quarter_of_the_members_keeps_the_settings():
    ranges = load_ranges(None, [])
    assert sum(not ranges.sample(1, member) for member in range(32)) == 8


@pytest.mark.parametrize("rows", [4, 400])
def test_few_validation_rows_give_equal_weights_of_the_better_half(rows):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(8, rows, 1)) * np.linspace(1, 2, 8)[:, None, None]

    weights_M = bagged(scores, rmse, 0)

    better = np.argsort(rmse(scores))[:4]
    equal = 1 / 4 * 200 / (rows + 200)
    assert weights_M.sum() == pytest.approx(1)
    assert (weights_M[better] >= equal - 1e-12).all()
    assert (np.delete(weights_M, better) <= rows / (rows + 200)).all()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_score_of_a_mixture_is_the_metric(kind):
    rng = np.random.default_rng(0)
    task = Task("classification", 3, 0) if kind == "classification" else Task("regression", 0, 2)
    scores = rng.dirichlet([1, 1, 1], (4, 30)) if task.classifies else rng.normal(size=(4, 30, 2))
    y = rng.integers(0, 3, 30) if task.classifies else rng.normal(size=(30, 2))
    targets = torch.tensor(np.broadcast_to(y, (4, *y.shape)))

    for name in metrics.names_for(kind):
        if name == "loss":
            continue
        score = ValidationScore(name, task, y)
        expected = score.sign * metrics.final_metric(name, kind, torch.tensor(scores), targets)
        np.testing.assert_allclose(score(scores), expected, rtol=1e-12)
        mean = score.of_view(score.view(scores).mean(0, keepdims=True))
        np.testing.assert_allclose(mean, score(scores.mean(0, keepdims=True)), rtol=1e-12)


@pytest.mark.slow
def test_members_with_different_embeddings_predict_the_same_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = np.sin(2 * x[:, 0]) + x[:, 1]
    names = ["none", "piecewise_linear", "plr", "pbld"]
    ranges = {"embedding": names, "model.hidden": ["8", "8-8"], "training.patience": [5]}
    lines = ["ensemble=6", "training.epochs=10", "training.batch_size=16", "tracking=off"]

    run = mlplab.fit(x, y, [*lines, f"ensemble_ranges={shown(ranges)}"], folder=tmp_path / "run")
    loaded = mlplab.load(run.folder)

    members = [one.preprocessing.groups for one in run.model.members]
    assert len(set(members)) > 2
    expected = run.predict(x)
    np.testing.assert_array_equal(loaded.predict(x), expected)
    scaled_NF = run.preprocessing.features(x)
    np.testing.assert_allclose(run.model.scores(scaled_NF)[0], expected, rtol=1e-12)
    assert files.export(Predictor((run,)), "torch", tmp_path / "model") < 1e-6


def test_the_module_clamps_each_member_before_the_mean(tmp_path):
    """Bounds that only some members leave tell the mean of clamped values from a clamped mean."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    y = np.clip(x[:, 0] + rng.normal(size=80), -1, 1)
    lines = ["ensemble=4", "training.epochs=8", "tracking=off", "dataset.target_clamp=true"]

    run = mlplab.fit(x, y, [*lines, "activation=identity", "optimizer.lr=0.1"], folder=tmp_path)
    scaled_NF = run.preprocessing.features(3 * rng.normal(size=(200, 2)))
    predicted = run.module()(torch.from_numpy(scaled_NF)).detach().numpy()

    expected = run.model.scores(scaled_NF)[0]
    low, high = run.preprocessing.target_bounds
    assert ((expected > low) & (expected < high)).any()
    free = [replace(one.preprocessing, target_bounds=None) for one in run.model.members]
    members = [replace(m, preprocessing=p) for m, p in zip(run.model.members, free, strict=True)]
    mean = PackedModel.of_members(members, run.model.weights).scores(scaled_NF)[0]
    assert not np.allclose(np.clip(mean, low, high), expected, atol=1e-3)
    np.testing.assert_allclose(
        run.preprocessing.in_target_units(predicted), expected, rtol=1e-5, atol=1e-5
    )


def test_rungs_end_the_worse_members(tmp_path):
    lines = ["dataset=moons", "ensemble=16", "training.epochs=25", "tracking=off"]
    run = mlplab.run([*lines, "model.hidden=4"], tmp_path / "run")

    selections = json.loads((run.folder / "ensemble.json").read_text())["selections"]
    in_training = {one["epoch"]: one["in_training"] for one in selections}

    assert in_training[5] == 16
    assert in_training[10] == 12
    assert in_training[15] <= 8
    assert in_training[25] <= 4


@pytest.mark.slow
def test_an_ensemble_is_one_run(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    overrides = ["ensemble=4", "training.epochs=12", "model.hidden=8"]

    run = mlplab.fit(x, y, overrides, folder=tmp_path / "a")
    again = mlplab.fit(x, y, overrides, folder=tmp_path / "b")
    loaded = mlplab.load(run.folder)
    expected = run.predict_proba(x)

    assert run.status == "done"
    assert {"train/log_loss", "val/log_loss", "test/log_loss"} <= run.metrics.keys()
    np.testing.assert_array_equal(loaded.predict_proba(x), expected)
    np.testing.assert_array_equal(again.predict_proba(x), expected)
    names = ("weights.safetensors", "ensemble.json", "metrics.csv")
    assert all((run.folder / n).read_bytes() == (again.folder / n).read_bytes() for n in names)


def test_an_ensemble_trains_every_fold():
    with pytest.raises(ConfigError, match="fold"):
        mlplab.run(["ensemble=4", "validation=kfold", "validation.fold=0"])


def test_a_monitored_metric_is_improved_in_its_direction(tmp_path):
    """Of accuracy the highest is the best, in the selection and in metrics.csv."""
    line = ["dataset=moons", "ensemble=6", "training.epochs=20", "training.monitor=accuracy"]

    run = mlplab.run(line, tmp_path / "run")

    document = json.loads((run.folder / "ensemble.json").read_text())
    assert document["selections"][-1]["score"] < 0
    alone = [-member["score"] for member in document["members"]]
    assert run.metrics["val/accuracy"] >= np.median(alone)
    assert run.history["val/accuracy"].max() == pytest.approx(run.metrics["val/accuracy"])

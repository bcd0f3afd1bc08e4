"""Packed ensembles: sampling, selection, and the run that they leave."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import mlplab
from mlplab.ensembles.sampling import load_ranges
from mlplab.ensembles.selection import bagged, greedy
from mlplab.errors import ConfigError


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


def test_an_invalid_range_is_refused():
    with pytest.raises(ConfigError, match="log_uniform"):
        load_ranges({"optimizer.lr": {"log_uniform": [0, 1]}}, [])


def test_an_ensemble_is_one_run(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    overrides = ["ensemble=4", "training.epochs=12"]

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

    for name in ("weights.safetensors", "summary.json"):  # as after a kill
        (again.folder / name).unlink()
    resumed = mlplab.resume(again.folder)

    np.testing.assert_array_equal(resumed.predict_proba(x), expected)


def test_an_ensemble_cannot_be_cross_validated():
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

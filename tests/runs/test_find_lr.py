"""The learning-rate range test."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from mlplab.cli import main
from mlplab.config.stored import settings_from_overrides
from mlplab.runs.lr_range import HIGHEST, LOWEST, spaced, try_rates, whole_steps

QUICK = ["experiment=xor_mlp", "training.epochs=60", "device=cpu"]
CASES = {
    "two_layer_radial": ["experiment=radial_6_6"],
    # without noise the loss of every large rate goes to 0
    "xor": ["experiment=xor_mlp", "dataset.noise=0.5"],
    "spiral": ["dataset=spiral", "model.hidden=16-16", "activation=relu"],
    "moons": ["dataset=moons", "model.hidden=8-8", "optimizer=sgd"],
    "iris": ["experiment=iris"],
    "digits": ["dataset=digits", "model.hidden=32", "training.epochs=30"],
    "diabetes": ["dataset=diabetes", "model.hidden=16", "optimizer=momentum"],
    "sine": ["experiment=sine_100"],
}
"""Eight datasets, with four optimizers or more."""


@pytest.mark.campaign("lecture")
@pytest.mark.parametrize("case", CASES)
def test_the_suggestion_is_near_the_best_rate_of_a_grid(case):
    """Within a factor of three of a rate with the lowest validation loss of whole trainings, as a
    run reports it (of its best weights), in the median of seeds that the range test did not see.
    Rates whose losses differ by less than 2% count as equally good: which of them is the lowest
    depends on the seeds.
    """
    settings = settings_from_overrides([*CASES[case], "device=cpu"])
    rates = spaced(LOWEST, HIGHEST, 25)
    result = try_rates(settings, rates)
    others = settings_from_overrides([*CASES[case], "device=cpu", "seed=100", "dataset.seed=0"])
    grid = try_rates(others, rates, steps=result.whole_steps, seeds=9)
    lowest = grid.losses_R.min()
    best = [rate for rate, loss in zip(rates, grid.losses_R, strict=True) if loss <= 1.02 * lowest]
    print(f"{case}: suggested {result.suggestion:.3g}, best of the grid {best}")
    assert any(rate / 3 <= result.suggestion <= 3 * rate for rate in best)


def test_a_json_result_says_what_to_type(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *QUICK, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["format"] == "mlplab-find-lr-1"
    assert result["override"] == f"optimizer.lr={result['suggestion']:.3g}"
    assert len(result["rates"]) == 25
    assert result["seeds"] == 3
    losses = {rate["lr"]: rate["loss"] for rate in result["rates"]}
    assert losses[result["suggestion"]] < 0.5 * result["start"]
    assert list(tmp_path.iterdir()) == []
    assert main(["train", *QUICK, result["override"], "tracking=off"]) == 0


def test_a_table_and_a_figure(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *QUICK, "--rates", "7", "--seeds", "1", "-o", "found"]) == 0
    output = capfd.readouterr().out
    assert output.count("<- suggested") == 1
    assert "optimizer.lr=" in output
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        *("find_lr.json", "find_lr.png"),
    ]
    with Image.open(tmp_path / "found" / "find_lr.png") as image:
        assert image.size[0] > 600


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=torch", "optimizer.class_name=ASGD", "training.epochs=2"],
        ["validation=kfold", "training.epochs=3", "schedule=cosine"],
        ["dataset=diabetes", "loss=gaussian_nll", "training.average=swa"],
        ["training.steps=3", "engine=eager", "model.hidden=[]", "schedule=plateau"],
    ],
)
def test_any_configuration_can_be_tried(overrides, capfd):
    arguments = ["find-lr", *QUICK, *overrides, "--rates", "3", "--seeds", "1", "--json"]
    main([*arguments, "--lowest", "1e-3", "--highest", "1e9"])
    result = json.loads(capfd.readouterr().out)
    assert len(result["rates"]) == 3
    assert all(rate["loss"] is None or math.isfinite(rate["loss"]) for rate in result["rates"])


def test_rates_share_weights_and_batches():
    settings = settings_from_overrides(QUICK)
    twice = try_rates(settings, (0.01, 0.1, 0.01), steps=20, seeds=2)
    np.testing.assert_array_equal(twice.losses_SR[:, 0], twice.losses_SR[:, 2])


def test_the_length_of_a_training():
    for overrides in (["training=sgd"], ["training.drop_last=true"], ["training.steps=7"]):
        settings = settings_from_overrides([*QUICK, *overrides])
        result = try_rates(settings, (0.01, 0.1, 1.0), seeds=1)
        assert result.whole_steps == whole_steps(settings, 600)
        assert result.steps <= max(20, math.ceil(0.4 * result.whole_steps))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["seeds=3"], "one configuration"),
        (["optimizer.lr=0.1,0.2"], "one configuration"),
        (["--lowest", "1", "--highest", "0.1"], "no range"),
        (["--rates", "1"], "3 to 1,000"),
        (["--steps", "0"], "at least 1"),
        (["--seeds", "-1"], "at least 1"),
        (["--ratio", "3"], "Usage"),
        (["optimizer.rate=3"], "rate"),
    ],
)
def test_what_is_refused(arguments, text, capfd):
    assert main(["find-lr", *arguments]) == 2
    assert text in capfd.readouterr().err


def test_what_cannot_learn_gets_no_suggestion(capfd):
    frozen = ["dataset=xor", "training.clip_norm=1e-12", "optimizer=sgd", "training.epochs=3"]
    assert main(["find-lr", *frozen, "--rates", "3"]) == 1
    assert "debug=overfit" in capfd.readouterr().out

"""Embeddings of numbers: values against closed forms, gradients, and the same answer everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from tiers import in_campaign

import mlplab
from mlplab.config import settings_from_overrides
from mlplab.data.feature_groups import CATEGORY, NUMBER, OTHER, FeatureGroup, FeatureGroups
from mlplab.embeddings import EMBEDDINGS, Embedding, Pbld, Periodic, PiecewiseLinear, Plr
from mlplab.export.files import export
from mlplab.network import MLP, initial_theta, stack_layers
from mlplab.runs.ensemble import Predictor
from mlplab.sklearn import MLPClassifier, MLPRegressor
from mlplab.training import prepare_members
from mlplab.training.population import build

GROUPS = FeatureGroups(
    (
        FeatureGroup(OTHER, 2),
        FeatureGroup(NUMBER),
        FeatureGroup(CATEGORY, 3, 2),
        FeatureGroup(NUMBER),
    )
)
QUICK = ["training.epochs=2", "tracking=off", "model.hidden=[5]"]
LEARNED = [
    ["embedding=piecewise_linear", "embedding.bins=5", "embedding.outputs=3"],
    ["embedding=piecewise_linear", "embedding.outputs=3", "embedding.activation=relu"],
    ["embedding=periodic", "embedding.frequencies=3"],
    ["embedding=plr", "embedding.frequencies=3", "embedding.outputs=2"],
    ["embedding=pbld", "embedding.frequencies=3"],
    ["embedding=pbld", "embedding.frequencies=3", "embedding.scale_lr_factor=6"],
    ["embedding=none", "embedding.scale_lr_factor=6"],
]


def embedded(embedding: Embedding, x, seed=0):
    """The outputs of the layers of an embedding, and the parameters by layer."""
    layers = embedding.layers(GROUPS)
    for layer in layers:
        assert layer.units == sum(block.outputs for block in layer.blocks)
    network = MLP(GROUPS.num_inputs, stack_layers([layers], 1, torch.device("cpu")))
    theta_KP = initial_theta(network.layout, [layers], [seed])
    views = network.layout.layers(network.layout.split(theta_KP))
    with torch.no_grad():
        return network.forward(views, torch.from_numpy(x)[None], {})[0].numpy(), views


def inputs(rows=20):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, GROUPS.num_inputs)) * 2
    x[:, 3:6] = np.eye(3)[rng.integers(0, 3, rows)]
    return x


def parameters(view, size):
    """The weights and biases of the two blocks of numbers."""
    weight = view.weight.flatten().numpy()
    bias = view.bias.flatten().numpy()
    return weight.reshape(2, -1), bias.reshape(2, size)


def columns_of(outputs, wanted):
    """Assert that each wanted column is one of the outputs, and that there are no others."""
    assert outputs.shape[1] == wanted.shape[1]
    np.testing.assert_allclose(
        np.sort(outputs, axis=1), np.sort(wanted, axis=1), rtol=1e-12, atol=1e-12
    )


def category_vectors(views, x):
    return x[:, 3:6] @ views[-1].weight.flatten().numpy().reshape(3, 2)


def test_periodic_is_cosines_and_sines_of_fixed_frequencies():
    x, size = inputs(), 4
    outputs, views = embedded(Periodic(frequencies=size, sigma=0.5), x)
    frequencies, phases = parameters(views[0], 2 * size)
    waves = []
    for i, column in enumerate((2, 6)):
        c = frequencies[i, :size]
        np.testing.assert_array_equal(c, frequencies[i, size:])
        angle = 2 * np.pi * c * x[:, [column]]
        waves += [np.cos(angle), np.sin(angle)]
    np.testing.assert_array_equal(phases, [[0.25] * size + [0] * size] * 2)
    columns_of(outputs, np.hstack([*waves, x[:, [0, 1, 2, 6]], category_vectors(views, x)]))
    assert Periodic().layers(GROUPS)[0].lr_factor == 0


def test_plr_is_a_rectified_linear_map_of_waves():
    x = inputs()
    outputs, views = embedded(Plr(frequencies=4, sigma=0.5, outputs=3), x)
    frequencies, _ = parameters(views[0], 8)
    weights, biases = parameters(views[1], 3)
    units = []
    for i, column in enumerate((2, 6)):
        angle = 2 * np.pi * frequencies[i, :4] * x[:, [column]]
        waves = np.hstack([np.cos(angle), np.sin(angle)])
        units.append(np.maximum(waves @ weights[i].reshape(8, 3) + biases[i], 0))
    columns_of(outputs, np.hstack([*units, x[:, :2], category_vectors(views, x)]))


def test_pbld_is_the_number_and_a_linear_map_of_waves_with_phases():
    x = inputs()
    outputs, views = embedded(Pbld(frequencies=5, sigma=0.5), x)
    frequencies, phases = parameters(views[0], 5)
    weights, biases = parameters(views[1], 3)
    units = []
    for i, column in enumerate((2, 6)):
        waves = np.sin(2 * np.pi * (frequencies[i] * x[:, [column]] + phases[i]))
        units.append(waves @ weights[i].reshape(5, 3) + biases[i])
    assert np.abs(phases).max() <= 0.5
    columns_of(outputs, np.hstack([*units, x[:, [0, 1, 2, 6]], category_vectors(views, x)]))
    assert {layer.lr_factor for layer in Pbld().layers(GROUPS)[:2]} == {0.1}


def test_the_learned_scaling_comes_last_and_starts_at_one():
    x = inputs()
    plain, _ = embedded(Pbld(frequencies=5), x)
    scaled, views = embedded(Pbld(frequencies=5, scale_lr_factor=6.0), x)
    np.testing.assert_array_equal(plain, scaled)
    np.testing.assert_array_equal(views[-1].weight.flatten(), np.ones(plain.shape[1]))
    assert Pbld(scale_lr_factor=6.0).layers(GROUPS)[-1].lr_factor == 6


def test_bins_have_a_learned_map_if_they_have_outputs():
    x = inputs()
    outputs, views = embedded(PiecewiseLinear(outputs=3, activation="relu"), x)
    weights, biases = parameters(views[0], 3)
    units = [np.maximum(x[:, [c]] * weights[i] + biases[i], 0) for i, c in enumerate((2, 6))]
    columns_of(outputs, np.hstack([*units, x[:, :2], category_vectors(views, x)]))
    assert [layer.units for layer in PiecewiseLinear().layers(GROUPS)] == [6]


def member_of(*overrides):
    return prepare_members([settings_from_overrides([*QUICK, *overrides])])[0]


@pytest.mark.parametrize("overrides", LEARNED)
def test_the_gradient_is_that_of_finite_differences(overrides):
    member = member_of("dataset=iris", "dtype=float64", "engine=eager", *overrides)
    population = build([member.settings], [member.prepared], torch.device("cpu"))
    batch = next(population.batches.epoch(1))
    theta_KP = population.theta_KP.clone()
    _, gradient_KP = population.objective(theta_KP, batch, 1)
    gradient_P = gradient_KP[0].clone()
    rng, step = np.random.default_rng(0), 1e-6
    for p in rng.choice(theta_KP.shape[1], 12, replace=False):
        moved = [theta_KP.clone(), theta_KP.clone()]
        moved[0][0, p] += step
        moved[1][0, p] -= step
        above, below = (float(population.objective(theta, batch, 1)[0]) for theta in moved)
        assert (above - below) / (2 * step) == pytest.approx(float(gradient_P[p]), abs=1e-7)


@pytest.mark.parametrize("overrides", LEARNED)
def test_both_engines_train_alike(overrides):
    line = [*QUICK, "dataset=iris", "dtype=float64", "optimizer=adamw", *overrides]
    runs = [mlplab.run([*line, f"engine={engine}"]) for engine in ("eager", "native")]
    assert runs[1].summary["engine"] == "native"
    eager_P, native_P = (run.model.theta_KP[0].numpy() for run in runs)
    np.testing.assert_allclose(native_P, eager_P, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("overrides", LEARNED)
def test_a_member_of_a_population_is_the_network_trained_alone(overrides):
    line = [*QUICK, "dataset=iris", "engine=native", "dataset.seed=1", *overrides]
    table = mlplab.sweep([*line, "seeds=2"])
    for seed in range(2):
        run = mlplab.run([*line, f"seed={seed}"])
        assert table["val/loss"][seed] == run.metrics["val/loss"]


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_members_may_differ_in_numbers_of_their_embedding(engine):
    line = [*QUICK, "dataset=iris", f"engine={engine}", "dataset.seed=1", "embedding=pbld"]
    table = mlplab.sweep([*line, "embedding.sigma=0.1,1.0", "embedding.lr_factor=0.1,1.0"])
    assert len(table) == 4
    assert table["val/loss"].nunique() == 4


def test_fixed_frequencies_stay_as_they_are_drawn():
    line = ["dataset=iris", "embedding=periodic", *QUICK, "training.epochs=20"]
    for engine in ("eager", "auto"):
        run = mlplab.run([*line, f"engine={engine}"])
        layers = run.settings.layers
        start = initial_theta(run.model.network.layout, [layers], [run.settings.seed])
        views = run.model.network.layout.split(run.model.theta_KP)
        drawn = run.model.network.layout.split(start)
        for entry, value, first in zip(run.model.network.layout.entries, views, drawn, strict=True):
            assert torch.equal(value, first.to(value.dtype)) == (entry.layer == 0)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_folds_sweeps_and_ensembles_train_with_every_embedding(name):
    line = [*QUICK, "dataset=iris", f"embedding={name}", "validation=kfold", "validation.folds=3"]
    assert mlplab.sweep(line)["test/loss"].notna().all()


@pytest.mark.parametrize("name", [name for name in EMBEDDINGS if name != "none"])
def test_estimators_take_an_embedding(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = np.sin(3 * x[:, 0]) > 0
    options = {"hidden": (8,), "epochs": 5, "random_state": 0, "embedding": name}
    assert MLPClassifier(**options, n_members=2).fit(x, y).predict_proba(x).shape == (200, 2)
    model = MLPRegressor(**options).partial_fit(x, y * 1.0).partial_fit(x[:50], y[:50] * 1.0)
    assert np.isfinite(model.predict(x)).all()


def write_table(rows=200):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows).round(3),
            "day": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(rows)],
            "member": rng.random(rows) < 0.5,
            "color": np.array(["red", "green"])[rng.integers(0, 2, rows)],
            "town": [f"t{i}" for i in rng.integers(0, 25, rows)],
        }
    )
    frame["y"] = np.where(frame["x"] ** 2 + (frame["color"] == "red") > 1, "yes", "no")
    frame.loc[::11, ["x", "town"]] = None
    frame.to_csv("t.csv", index=False)


def check_export(form, overrides, tmp_path):
    write_table()
    line = ["dataset=file", "dataset.path=t.csv", "dataset.target=y", "dataset.missing=impute"]
    run = mlplab.run([*line, "dataset.encode=auto", *QUICK, *overrides])
    loaded = mlplab.load(run.folder)
    frame = pd.read_csv("t.csv").drop(columns="y")
    frame.loc[0, "town"] = "never seen"
    np.testing.assert_array_equal(run.predict_proba(frame), loaded.predict_proba(frame))
    assert export(Predictor((loaded,)), form, tmp_path / f"model.{form}", rows=200) < 2e-6


@pytest.mark.parametrize(
    "overrides", [in_campaign("fuzz", ["embedding=piecewise_linear"]), LEARNED[5]]
)
def test_exported_programs_are_the_run(overrides, tmp_path):
    check_export("torch", overrides, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [LEARNED[0], in_campaign("fuzz", ["embedding=plr", "embedding.sigma=3.0"])],
)
def test_exported_onnx_models_are_the_run(overrides, tmp_path):
    check_export("onnx", overrides, tmp_path)

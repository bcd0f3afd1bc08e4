"""Feature groups: piecewise-linear inputs, categories with learned vectors, storage, export."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import mlplab
from mlplab.config import settings_from_overrides
from mlplab.data.feature_groups import (
    CATEGORY,
    NUMBER,
    OTHER,
    FeatureGroup,
    FeatureGroups,
    Grouping,
    fit_groups,
    quantile_edges,
)
from mlplab.errors import DataError
from mlplab.model.preprocessing import Preprocessing
from mlplab.training import prepare_members

QUICK = ["training.epochs=2", "tracking=off", "model.hidden=[4]"]


def piecewise_linear(x, edges):
    """The definition, number by number."""
    encoded = np.empty((len(x), len(edges) - 1))
    for t, (low, high) in enumerate(itertools.pairwise(edges)):
        for i, value in enumerate(x):
            if value < low and t > 0:
                encoded[i, t] = 0
            elif value >= high and t < len(edges) - 2:
                encoded[i, t] = 1
            else:
                encoded[i, t] = (value - low) / (high - low)
    return encoded


def groups_of(x, bins):
    number = FeatureGroups((FeatureGroup(NUMBER),) * x.shape[1])
    return fit_groups(number, [x], Grouping(True, bins))[0]


@pytest.mark.parametrize("bins", [1, 2, 7])
def test_inputs_are_the_piecewise_linear_encoding_of_quantile_bins(bins):
    x = np.random.default_rng(0).normal(size=(200, 2)) ** 3
    groups = groups_of(x, bins)
    edges = [np.quantile(x[:, i], np.linspace(0, 1, bins + 1)) for i in range(2)]
    for group, expected in zip(groups, edges, strict=True):
        np.testing.assert_allclose(group.edges, expected, rtol=1e-14)
    far = np.concatenate([x, [[-1e3, 1e3], [edges[0][0], edges[1][-1]]]])
    wanted = np.hstack([piecewise_linear(far[:, i], groups.groups[i].edges) for i in range(2)])
    np.testing.assert_allclose(groups.inputs(far), wanted, rtol=1e-14, atol=1e-14)
    assert groups.inputs(far).shape == (202, 2 * bins)


def test_edges_that_coincide_are_one():
    assert quantile_edges(np.array([0.0] * 50 + [1.0, 2.0, 3.0]), 8) == (0.0, 3.0)
    assert quantile_edges(np.full(5, 2.5), 4) == (2.5, 3.5)
    edges = quantile_edges(np.array([0, 1e-30, 2e-30, 1.0]), 3)
    assert edges == (0.0, 1.0)


def test_zeros_and_ones_and_constants_stay_as_they_are():
    x = np.column_stack([np.arange(50) % 2, np.ones(50), np.linspace(0, 1, 50), np.arange(50) % 2])
    groups = groups_of(x, 4)
    assert [(group.kind, group.size) for group in groups] == [(OTHER, 2), (NUMBER, 1), (OTHER, 1)]
    np.testing.assert_array_equal(groups.inputs(x)[:, [0, 1, 6]], x[:, [0, 1, 3]])
    assert groups.input_names(["a", "b", "c", "d"]) == (
        "a",
        "b",
        "c[1]",
        "c[2]",
        "c[3]",
        "c[4]",
        "d",
    )


def test_each_fold_has_bins_of_its_train_split_and_equal_shapes():
    line = ["dataset=iris", "embedding=piecewise_linear", "embedding.bins=6", "validation=kfold"]
    lines = [[*line, "validation.folds=4", f"validation.fold={i}"] for i in range(4)]
    folds = [m.prepared for m in prepare_members([*map(settings_from_overrides, lines)])]
    assert len({fold.train.x.shape for fold in folds}) == 1
    assert len({fold.groups.groups[0].edges for fold in folds}) == 4
    for fold in folds:
        real = fold.train.real()
        scaled = fold.feature_scaler.apply(real.columns)
        np.testing.assert_allclose(fold.groups.inputs(scaled), real.x, atol=1e-12)
        for i, group in enumerate(fold.groups):
            assert group.edges == quantile_edges(scaled[:, i].round(15), 6) or np.allclose(
                group.edges, quantile_edges(scaled[:, i], 6), atol=1e-12
            )
            assert len(group.edges) - 1 + group.spare == fold.groups.groups[i].num_inputs


def test_groups_are_stored_without_loss_and_damage_is_refused():
    x = np.random.default_rng(1).normal(size=(60, 3))
    groups = groups_of(x, 5)
    stored = json.loads(json.dumps(groups.to_dict()))
    assert FeatureGroups.from_dict(stored, 3) == groups
    with pytest.raises(ValueError, match="do not describe 4"):
        FeatureGroups.from_dict(stored, 4)
    with pytest.raises(ValueError, match="version 9, and this version of mlplab reads 1"):
        FeatureGroups.from_dict({**stored, "version": 9}, 3)
    stored["groups"][0]["edges"].reverse()
    with pytest.raises(ValueError, match="do not describe"):
        FeatureGroups.from_dict(stored, 3)


def write_table(rows=300, seed=0):
    """Write t.csv: a number, a 0/1 column, a date, a small, a large category and a class."""
    rng = np.random.default_rng(seed)
    town = rng.integers(0, 30, rows)
    x = rng.normal(size=rows)
    table = pd.DataFrame(
        {
            "x": x.round(4),
            "flag": rng.integers(0, 2, rows),
            "day": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(rows)],
            "color": np.array(["red", "green", "blue"])[rng.integers(0, 3, rows)],
            "town": [f"t{i:02d}" for i in town],
            "y": np.where(np.sin(2 * x) + (town % 2) > 0.5, "yes", "no"),
        }
    )
    table.loc[::17, "town"] = None
    table.loc[::13, "x"] = np.nan
    table.to_csv("t.csv", index=False)
    return table


TABLE = [
    *("experiment=null", "dataset=file", "dataset.path=t.csv", "dataset.target=y"),
    "dataset.missing=impute",
]


def test_numbers_and_fields_of_dates_are_embedded_and_indicators_are_not():
    write_table()
    overrides = [*TABLE, "embedding=piecewise_linear", "embedding.bins=4"]
    (member,) = prepare_members([settings_from_overrides(overrides)])
    kinds = {}
    start = 0
    for group in member.prepared.groups:
        for name in member.prepared.feature_names[start : start + group.size]:
            kinds[name] = group.kind
        start += group.size
    numbers = {name for name, kind in kinds.items() if kind == NUMBER}
    assert numbers == {"x", "day.month", "day.day", "day.day_of_week"}
    stored = Preprocessing.of(member.prepared).to_json()
    assert Preprocessing.from_json(stored).to_json() == stored


def test_without_embeddings_nothing_new_is_stored():
    write_table()
    (member,) = prepare_members([settings_from_overrides(TABLE)])
    stored = Preprocessing.of(member.prepared).to_json()
    assert "feature_groups" not in stored
    assert "outputs" not in stored


def test_large_categories_are_one_group_of_their_learned_vector():
    write_table()
    (member,) = prepare_members([settings_from_overrides([*TABLE, "dataset.encode=auto"])])
    groups = [group for group in member.prepared.groups if group.kind == CATEGORY]
    assert [(group.size, group.outputs) for group in groups] == [(31, 8)]  # with (missing)


@pytest.mark.parametrize("encode", ["onehot", "ordinal", "embed"])
def test_rare_and_unseen_categories_are_other(encode):
    rows = ["a"] * 60 + ["b"] * 30 + ["c"] * 3 + ["d"] * 2
    frame = pd.DataFrame({"c": rows, "x": np.arange(95.0), "y": np.arange(95.0)})
    frame.to_csv("t.csv", index=False)
    run = mlplab.run(
        [
            *("dataset=file", "dataset.path=t.csv", "dataset.target=y", "dataset.missing=impute"),
            *(f"dataset.encode={encode}", "dataset.min_frequency=10", *QUICK),
        ]
    )
    column = run.preprocessing.encoder.columns[0]
    assert column.categories == ("a", "b", "(other)")
    cells = pd.DataFrame({"c": ["c", "d", "never", None, "a"], "x": 1.0})
    predicted = run.predict(cells)
    assert predicted[0] == predicted[1] == predicted[2] == predicted[3] != predicted[4]


def test_an_unseen_category_is_neutral_if_none_is_rare():
    write_table()
    run = mlplab.run([*TABLE, "dataset.encode=embed", "dataset.min_frequency=1", *QUICK])
    encoder = run.preprocessing.encoder.columns[4]
    assert encoder.name == "town"
    assert "(other)" not in encoder.categories
    assert sum(encoder.neutral) == pytest.approx(1)


def test_thousands_of_categories_are_learned_and_refused_as_text_otherwise():
    frame = pd.DataFrame({"c": [f"v{i % 400}" for i in range(1200)], "y": np.arange(1200) % 2})
    frame.to_csv("t.csv", index=False)
    line = ["dataset=file", "dataset.path=t.csv", "dataset.target=y", *QUICK]
    with pytest.raises(DataError, match="text cannot be learned from"):
        mlplab.run(line)
    run = mlplab.run([*line, "dataset.encode=auto"])
    assert run.model.network.layers[0].units == 8

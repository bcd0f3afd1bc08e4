"""Splitting and scaling: sizes, strata, random streams, and no leak into training."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlplab.data import Scaler, Table, class_table, toy, value_table
from mlplab.data.preparation.examples import Prepared, prepare, prepare_table
from mlplab.data.preparation.registry import DATASETS
from mlplab.data.scaling import fit_scaler
from mlplab.data.splitting import split_rows
from mlplab.errors import DataError
from mlplab.randomness import numpy_generator

SINE, XOR = DATASETS["sine"], DATASETS["xor"]
FRACTIONS = {"val": 0.2, "test": 0.2}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbered(counts: list[int], **changes: Any) -> Table:
    """Return a table whose feature is the row number, with counts[c] rows of class c, shuffled."""
    y = rng(7).permutation(np.repeat(np.arange(len(counts)), counts))
    table = class_table(
        np.arange(len(y), dtype=float)[:, None], y, [f"c{i}" for i in range(len(counts))]
    )
    return dataclasses.replace(table, **changes)


def assert_same(a: Prepared, b: Prepared, split: str) -> None:
    np.testing.assert_array_equal(getattr(a, split).x, getattr(b, split).x)
    np.testing.assert_array_equal(getattr(a, split).y, getattr(b, split).y)


# Splits


@settings(max_examples=60, deadline=None)
@example(counts=[3, 3, 3], val=0.3, test=0.4, seed=0)  # fewer rows remain than classes
@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    val=st.sampled_from([0.0, 0.1, 0.25, 0.3]),
    test=st.sampled_from([0.0, 0.15, 0.2, 0.4]),
    seed=st.integers(0, 5),
)
def test_every_row_is_in_one_split_and_classes_in_proportion(
    counts: list[int], val: float, test: float, seed: int
) -> None:
    table = numbered(counts)
    num_rows, num_classes = len(table.x), len(counts)
    fractions = {"val": val, "test": test}
    sizes = {
        split: max(1, int(fraction * num_rows + 0.5)) if fraction else 0
        for split, fraction in fractions.items()
    }
    if num_rows - sum(sizes.values()) < num_classes:
        with pytest.raises(DataError, match=f"fewer than {num_classes} remain to train on"):
            split_rows(table, fractions, rng(seed))
        return
    rows = split_rows(table, fractions, rng(seed))
    assert sorted(np.concatenate(list(rows.values()))) == list(range(num_rows))
    for split, size in sizes.items():
        assert len(rows[split]) == size
        held = np.bincount(table.y[rows[split]], minlength=num_classes)
        quota = np.array(counts) * size / num_rows
        if quota.min() >= 1 or size < num_classes:
            assert np.abs(held - quota).max() < 1
        if size >= num_classes:
            assert held.min() >= 1
    assert np.bincount(table.y[rows["train"]], minlength=num_classes).min() >= 1


def test_largest_remainder() -> None:
    table = numbered([47, 33, 20])
    rows = split_rows(table, {"val": 0.1, "test": 0.1}, rng())
    for split in ("val", "test"):  # quotas 4.7, 3.3, 2.0
        assert np.bincount(table.y[rows[split]]).tolist() == [5, 3, 2]


def test_sizes_do_not_depend_on_the_classes() -> None:
    sizes = {
        tuple(map(len, split_rows(numbered(counts), FRACTIONS, rng()).values()))
        for counts in ([50, 47], [30, 67], [10, 40, 47])
    }
    assert sizes == {(59, 19, 19)}


def test_the_test_split_does_not_depend_on_val() -> None:
    for table in (numbered([30, 50, 20]), value_table(np.arange(100.0)[:, None], np.zeros(100))):
        first, second = (split_rows(table, {"val": val, "test": 0.2}, rng()) for val in (0.0, 0.3))
        np.testing.assert_array_equal(first["test"], second["test"])
        assert set(second["val"]) <= set(first["train"])


def test_splits_are_in_random_order() -> None:
    for table in (numbered([60, 60]), value_table(np.arange(120.0)[:, None], np.zeros(120))):
        rows = split_rows(table, FRACTIONS, rng())
        for row_numbers in rows.values():
            assert not np.array_equal(row_numbers, np.sort(row_numbers))
        assert all(
            not np.array_equal(rows[split], split_rows(table, FRACTIONS, rng(1))[split])
            for split in rows
        )


def test_missing_class_is_named() -> None:
    with pytest.raises(
        DataError, match=r"Class 'c1' has 2 example\(s\), but train, val, test need"
    ):
        split_rows(numbered([30, 2]), FRACTIONS, rng())
    # two splits and two rows of the class are enough
    assert len(split_rows(numbered([30, 2]), {"val": 0.0, "test": 0.2}, rng())["test"]) == 6
    with pytest.raises(DataError, match="Class 'c1' has 0"):
        split_rows(numbered([30, 0]), {"val": 0.0, "test": 0.0}, rng())


def test_a_rare_class_is_in_every_split() -> None:
    table = numbered([200, 3])
    rows = split_rows(table, FRACTIONS, rng())
    assert [int((table.y[row_numbers] == 1).sum()) for row_numbers in rows.values()] == [1, 1, 1]


@pytest.mark.parametrize(("counts", "val", "test"), [([1, 1], 0.4, 0.4), ([2, 2], 0.4, 0.25)])
def test_too_few_rows(counts: list[int], val: float, test: float) -> None:
    with pytest.raises(DataError, match="remain to train on"):
        split_rows(numbered(counts), {"val": val, "test": test}, rng())


def test_too_few_rows_for_regression() -> None:
    with pytest.raises(DataError, match=r"Of 2 example\(s\), 1 go to val and 1 to test"):
        split_rows(value_table([[1.0], [2.0]], [1.0, 2.0]), FRACTIONS, rng())
    assert [
        len(row_numbers)
        for row_numbers in split_rows(
            value_table(np.zeros((3, 1)), np.zeros(3)), {"val": 0.1, "test": 0.1}, rng()
        ).values()
    ] == [
        1,
        1,
        1,
    ]


def test_a_predefined_split_is_kept() -> None:
    split = {"train": np.arange(0, 60), "val": np.arange(60, 70), "test": np.arange(70, 100)}
    rows = split_rows(numbered([50, 50], given_split=split), FRACTIONS, rng())
    np.testing.assert_array_equal(np.sort(rows["train"]), split["train"])
    np.testing.assert_array_equal(rows["val"], split["val"])
    np.testing.assert_array_equal(rows["test"], split["test"])


def test_splits_that_are_not_predefined_are_drawn_from_the_train_rows() -> None:
    split = {"train": np.arange(0, 60), "test": np.arange(70, 100)}
    rows = split_rows(numbered([50, 50], given_split=split), FRACTIONS, rng())
    assert len(rows["val"]) == 12
    assert sorted([*rows["train"], *rows["val"]]) == list(range(60))
    np.testing.assert_array_equal(rows["test"], split["test"])


# Seeds and streams


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_seed_decides(split: str) -> None:
    first, again, other = (prepare(XOR(), seed, True) for seed in (3, 3, 4))
    assert_same(first, again, split)
    assert first.data_hash == again.data_hash != other.data_hash
    assert not np.array_equal(getattr(first, split).x, getattr(other, split).x)


def test_the_split_has_a_separate_random_stream() -> None:
    dataset = DATASETS["iris"]()  # the same rows for every seed
    prepared, other = prepare(dataset, 3, True), prepare(dataset, 4, True)
    assert prepared.data_hash == other.data_hash
    assert not np.array_equal(prepared.train.x, other.train.x)
    assert_same(
        prepared,
        prepare_table(dataset.make(rng()), dataset, numpy_generator(3, "split"), True),
        "train",
    )


def test_the_seed_of_the_dataset_precedes_that_of_the_run() -> None:
    fixed, again, free = (
        prepare(XOR(seed=5), 0, True),
        prepare(XOR(seed=5), 1, True),
        prepare(XOR(), 5, True),
    )
    assert fixed.data_hash == again.data_hash == free.data_hash
    for split in ("train", "val", "test"):
        assert_same(fixed, again, split)
        assert_same(fixed, free, split)


def test_split_does_not_depend_on_what_the_data_drew() -> None:
    # The split must not depend on how many random numbers the table used; blobs draw their centers
    # first.
    few, many = (
        prepare(toy.Blobs(num_features=size, scaling="none", noise=0.0), 0, True) for size in (1, 9)
    )
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(few, split).y, getattr(many, split).y)


def test_the_data_does_not_depend_on_the_split() -> None:
    assert (
        len(
            {
                prepare(XOR(val=val, test=0.3 - val / 2, scaling=scaling), 0, True).data_hash
                for val in (0, 0.3)
                for scaling in ("none", "minmax")
            }
        )
        == 1
    )


# Scaling


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["friedman1", "xor"]),
    scaling=st.sampled_from(["standard", "minmax", "none"]),
    split=st.sampled_from(["val", "test"]),
    row=st.integers(0, 9),
    value=st.floats(-1e12, 1e12),
)
def test_held_out_rows_change_nothing_in_training(
    name: str, scaling: str, split: str, row: int, value: float
) -> None:
    keys: dict[str, Any] = {"num_samples": 50, "scaling": scaling}
    dataset = DATASETS[name](**keys)
    table = dataset.make(rng())
    changed_row = split_rows(table, FRACTIONS, rng(1))[split][row]
    x, y = table.x.copy(), table.y.copy()
    x[changed_row] = value
    if not table.task.classifies:
        y[changed_row] = value
    before = prepare_table(table, dataset, rng(1), True)
    after = prepare_table(dataclasses.replace(table, x=x, y=y), dataset, rng(1), True)
    assert before.data_hash != after.data_hash
    assert before.feature_scaler.to_dict() == after.feature_scaler.to_dict()
    assert before.target_scaler.to_dict() == after.target_scaler.to_dict()
    for same in {"train", "val", "test"} - {split}:
        assert_same(before, after, same)
    assert not np.array_equal(getattr(before, split).x, getattr(after, split).x)


def test_standard_and_minmax() -> None:
    standard = prepare(DATASETS["wine"](), 0, True)
    np.testing.assert_allclose(standard.train.x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(standard.train.x.std(0), 1, rtol=1e-12)
    assert standard.test is not None
    assert np.abs(standard.test.x.mean(0)).max() > 1e-3
    minmax = prepare(DATASETS["wine"](scaling="minmax"), 0, True)
    np.testing.assert_array_equal(minmax.train.x.min(0), 0)
    np.testing.assert_array_equal(minmax.train.x.max(0), 1)
    plain = prepare(DATASETS["wine"](scaling="none"), 0, True)
    np.testing.assert_allclose(
        standard.feature_scaler.invert(standard.train.x), plain.train.x, rtol=1e-12
    )
    np.testing.assert_allclose(
        minmax.feature_scaler.invert(minmax.train.x), plain.train.x, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("how", "default", "scaled"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("standard", False, True),
        ("none", True, False),
    ],
)
def test_target_scaling(how: str, default: bool, scaled: bool) -> None:
    prepared = prepare(DATASETS["linnerud"](target_scaling=how), 0, default)
    raw = prepare(DATASETS["linnerud"](target_scaling="none"), 0, default)
    if scaled:
        np.testing.assert_allclose(prepared.train.y.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(prepared.train.y.std(0), 1, rtol=1e-12)
    else:
        assert_same(prepared, raw, "train")
    assert prepared.val is not None
    assert raw.val is not None
    np.testing.assert_allclose(
        prepared.target_scaler.invert(np.asarray(prepared.val.y, dtype=np.float64)),
        raw.val.y,
        rtol=1e-12,
    )


def test_classes_are_never_scaled() -> None:
    prepared = prepare(XOR(), 0, True)
    assert prepared.train.y.dtype == np.int64
    assert prepared.target_scaler.to_dict() == {"shift": [0.0], "scale": [1.0]}


@pytest.mark.parametrize("how", ["standard", "minmax"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7, 1e300])
def test_a_constant_feature_becomes_zero(how: str, constant: float) -> None:
    values = np.column_stack([np.full(7, constant), np.arange(7.0)])
    scaler = fit_scaler(values, how, "feature")
    assert scaler.scale[0] == 1
    np.testing.assert_array_equal(scaler.apply(values)[:, 0], 0)
    assert np.isfinite(scaler.apply(values)).all()


def test_numbers_too_far_apart_are_refused() -> None:
    dataset = SINE(val=0.0, test=0.0)
    with pytest.raises(DataError, match="spans more"):
        prepare_table(
            value_table([[1e308], [-1e308], [1e308]], [0.0, 1.0, 2.0]), dataset, rng(), True
        )
    tiny = value_table([[0.0], [1e-150], [1e300]], [0.0, 1.0, 2.0])
    tiny = dataclasses.replace(
        tiny,
        given_split={
            "train": np.array([0, 1]),
            "val": np.array([], dtype=int),
            "test": np.array([2]),
        },
    )
    with pytest.raises(DataError, match="hardly varies"):
        prepare_table(tiny, dataset, rng(), True)


def test_scaler_survives_a_file() -> None:
    scaler = prepare(DATASETS["wine"](), 0, True).feature_scaler
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.shift, scaler.shift)
    np.testing.assert_array_equal(again.scale, scaler.scale)


def test_splits_without_rows_are_none() -> None:
    prepared = prepare(SINE(val=0.0, test=0.0), 0, True)
    assert prepared.val is None
    assert prepared.test is None
    assert len(prepared.train) == 100
    assert (prepared.num_features, prepared.feature_names, prepared.target_names) == (
        1,
        ("x",),
        ("y",),
    )

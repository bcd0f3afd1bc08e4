"""Properties of every dataset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlplab.data
from mlplab.data import Dataset, Table
from mlplab.data.preparation.examples import prepare
from mlplab.data.preparation.registry import DATASETS as ALL_DATASETS
from mlplab.errors import FieldError
from mlplab.randomness import numpy_generator
from mlplab.schema import meaning, rules

# lets a new process import the same mlplab from any working folder
SOURCE = Path(mlplab.data.__file__).parents[2]
FILE_DATASETS = ("file", "openml", "arrays")
# these have their tests in other files
DATASETS = {name: dataset for name, dataset in ALL_DATASETS.items() if name not in FILE_DATASETS}
BUNDLED = {"iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud"}
FIXED = {*BUNDLED, "boolean"}  # the same rows for every seed, and no size or noise to choose
# without noise, only the split is random
NO_DRAW = {*FIXED, "moons", "circles", "playground_spiral"}
DRAWN = sorted(set(DATASETS) - FIXED)

every_dataset = pytest.mark.parametrize("name", sorted(DATASETS))


def make(name: str, seed: int = 0, **keys: Any) -> Table:
    return DATASETS[name](**keys).make(numpy_generator(seed, "data"))


def test_the_promised_number_of_datasets() -> None:
    assert len(DATASETS) >= 31
    assert len(set(DATASETS.values())) == len(DATASETS)


@every_dataset
def test_describes_itself(name: str) -> None:
    dataset = DATASETS[name]
    assert issubclass(dataset, Dataset)
    assert dataset.task_kind in ("classification", "regression")
    assert 20 < len(meaning(dataset)) < 140
    assert meaning(dataset) != meaning(dataset.__mro__[1])
    assert set(rules(dataset)) >= {"val", "test", "scaling", "target_scaling", "seed"}
    assert all(rule.meaning for rule in rules(dataset).values())


@every_dataset
def test_table_fits_what_is_known_before_loading(name: str) -> None:
    table = make(name)
    assert table.task.kind == DATASETS[name].task_kind
    assert table.given_split is None
    if name not in FIXED:
        assert len(table.x) == vars(DATASETS[name]())["num_samples"]
        assert rules(DATASETS[name])["noise"].varies
        assert not rules(DATASETS[name])["num_samples"].varies
        assert len(make(name, num_samples=101).x) == 101


@every_dataset
def test_one_seed_one_table(name: str) -> None:
    first, again, other = make(name), make(name), make(name, seed=1)
    assert first.content_hash() == again.content_hash()
    noisy_by_default = getattr(DATASETS[name](), "noise", 0) > 0
    assert (first.content_hash() == other.content_hash()) == (
        name in NO_DRAW and not noisy_by_default
    )


@pytest.mark.parametrize("name", [name for name in DRAWN if not name.startswith("playground")])
def test_noise_only_moves_what_one_seed_draws(name: str) -> None:
    clean, noisy, noisier = (make(name, noise=noise) for noise in (0.0, 0.5, 1.0))
    assert clean.content_hash() != noisy.content_hash()
    np.testing.assert_allclose(noisier.x - clean.x, 2 * (noisy.x - clean.x), atol=1e-12)
    if clean.task.classifies:
        np.testing.assert_array_equal(noisier.y, clean.y)
    else:
        np.testing.assert_allclose(noisier.y - clean.y, 2 * (noisy.y - clean.y), atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in DRAWN
        if DATASETS[name].task_kind == "classification" and name != "playground_xor"
    ],
)
@pytest.mark.parametrize("num_samples", [60, 101])
def test_classes_are_as_even_as_can_be(name: str, num_samples: int) -> None:
    table = make(name, num_samples=num_samples, noise=0.0)
    counts = np.bincount(table.y, minlength=table.task.num_classes)
    assert counts.max() - counts.min() <= 1


@every_dataset
def test_prepares_by_default(name: str) -> None:
    prepared = prepare(DATASETS[name](), 0, target_scaling_default=True)
    splits = [split for split in (prepared.train, prepared.val, prepared.test) if split is not None]
    assert len(splits) == (1 if name == "boolean" else 3)
    assert sum(map(len, splits)) == len(make(name).x)
    for split in splits:
        assert split.x.dtype == np.float64
        assert split.x.shape == (len(split), prepared.num_features)
        assert np.isfinite(split.x).all()
        assert np.isfinite(split.y).all()
        assert split.y.shape == (
            (len(split),) if prepared.task.classifies else (len(split), prepared.task.num_targets)
        )
        if prepared.task.classifies:
            assert set(split.y) == set(range(prepared.task.num_classes))


@every_dataset
def test_takes_numbers_of_the_right_kind_only(name: str) -> None:
    wrong: dict[str, Any] = {
        "val": 1.0,
        "test": -0.1,
        "scaling": "robust",
        "target_scaling": "minmax",
        "seed": -1,
    }
    for key, value in wrong.items():
        with pytest.raises(FieldError) as error:
            DATASETS[name](**{key: value})
        assert error.value.key == key
    with pytest.raises(FieldError, match="sum must be below 1"):
        DATASETS[name](val=0.5, test=0.5)


def test_standard_target_scaling_is_for_regression() -> None:
    assert DATASETS["sine"](target_scaling="standard").target_scaling == "standard"
    with pytest.raises(FieldError, match="classes"):
        DATASETS["iris"](target_scaling="standard")


@pytest.mark.slow
def test_lecture_sets_need_no_sklearn() -> None:
    script = """
import sys
import numpy as np
from mlplab.data.preparation.examples import prepare
from mlplab.data.preparation.registry import DATASETS
for name, dataset in DATASETS.items():
    if name not in sys.argv[1].split(","):
        prepare(dataset(), 0, True)
sys.exit("sklearn" in sys.modules)
"""
    excluded = ",".join([*BUNDLED, *FILE_DATASETS])
    command = [sys.executable, "-c", script, excluded]
    assert subprocess.run(command, cwd=SOURCE, check=False).returncode == 0

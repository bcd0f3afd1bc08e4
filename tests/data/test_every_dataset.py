"""What holds for every word of the dataset group."""

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
from mlplab.data.preparation.registry import DATASETS as EVERY
from mlplab.errors import FieldError
from mlplab.randomness import numpy_generator
from mlplab.schema import meaning, rules

# the new process finds the same mlplab, whatever folder the tests run in
SOURCE = Path(mlplab.data.__file__).parents[2]
OWN = ("file", "openml")
# a user's own table has tests of its own
DATASETS = {word: dataset for word, dataset in EVERY.items() if word not in OWN}
BUNDLED = {"iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud"}
FIXED = {*BUNDLED, "boolean"}  # the same rows for every seed, and no size or noise to choose
# without noise nothing is random but the split
NO_DRAW = {*FIXED, "moons", "circles", "playground_spiral"}
DRAWN = sorted(set(DATASETS) - FIXED)

every_dataset = pytest.mark.parametrize("word", sorted(DATASETS))


def make(word: str, seed: int = 0, **keys: Any) -> Table:
    return DATASETS[word](**keys).make(numpy_generator(seed, "data"))


def test_the_promised_number_of_words() -> None:
    assert len(DATASETS) >= 31
    assert len(set(DATASETS.values())) == len(DATASETS)


@every_dataset
def test_describes_itself(word: str) -> None:
    part = DATASETS[word]
    assert issubclass(part, Dataset)
    assert part.task_kind in ("classification", "regression")
    assert 20 < len(meaning(part)) < 140
    assert meaning(part) != meaning(part.__mro__[1])
    assert set(rules(part)) >= {"val", "test", "scaling", "target_scaling", "seed"}
    assert all(rule.meaning for rule in rules(part).values())


@every_dataset
def test_table_fits_what_is_known_before_loading(word: str) -> None:
    table = make(word)
    assert table.task.kind == DATASETS[word].task_kind
    assert table.given_split is None
    if word not in FIXED:
        assert len(table.x) == vars(DATASETS[word]())["num_samples"]
        assert rules(DATASETS[word])["noise"].varies
        assert not rules(DATASETS[word])["num_samples"].varies
        assert len(make(word, num_samples=101).x) == 101


@every_dataset
def test_one_seed_one_table(word: str) -> None:
    first, again, other = make(word), make(word), make(word, seed=1)
    assert first.content_hash() == again.content_hash()
    noisy_by_default = getattr(DATASETS[word](), "noise", 0) > 0
    assert (first.content_hash() == other.content_hash()) == (
        word in NO_DRAW and not noisy_by_default
    )


@pytest.mark.parametrize("word", [word for word in DRAWN if not word.startswith("playground")])
def test_noise_only_moves_what_one_seed_draws(word: str) -> None:
    clean, noisy, noisier = (make(word, noise=noise) for noise in (0.0, 0.5, 1.0))
    assert clean.content_hash() != noisy.content_hash()
    np.testing.assert_allclose(noisier.x - clean.x, 2 * (noisy.x - clean.x), atol=1e-12)
    if clean.task.classifies:
        np.testing.assert_array_equal(noisier.y, clean.y)
    else:
        np.testing.assert_allclose(noisier.y - clean.y, 2 * (noisy.y - clean.y), atol=1e-12)


@pytest.mark.parametrize(
    "word",
    [
        word
        for word in DRAWN
        if DATASETS[word].task_kind == "classification" and word != "playground_xor"
    ],
)
@pytest.mark.parametrize("num_samples", [60, 101])
def test_classes_are_as_even_as_can_be(word: str, num_samples: int) -> None:
    table = make(word, num_samples=num_samples, noise=0.0)
    counts = np.bincount(table.y, minlength=table.task.num_classes)
    assert counts.max() - counts.min() <= 1


@every_dataset
def test_prepares_by_default(word: str) -> None:
    prepared = prepare(DATASETS[word](), 0, target_scaling_default=True)
    parts = [part for part in (prepared.train, prepared.val, prepared.test) if part is not None]
    assert len(parts) == (1 if word == "boolean" else 3)
    assert sum(map(len, parts)) == len(make(word).x)
    for part in parts:
        assert part.x.dtype == np.float64
        assert part.x.shape == (len(part), prepared.num_features)
        assert np.isfinite(part.x).all()
        assert np.isfinite(part.y).all()
        assert part.y.shape == (
            (len(part),) if prepared.task.classifies else (len(part), prepared.task.num_targets)
        )
        if prepared.task.classifies:
            assert set(part.y) == set(range(prepared.task.num_classes))


@every_dataset
def test_takes_numbers_of_the_right_kind_only(word: str) -> None:
    wrong: dict[str, Any] = {
        "val": 1.0,
        "test": -0.1,
        "scaling": "robust",
        "target_scaling": "minmax",
        "seed": -1,
    }
    for key, value in wrong.items():
        with pytest.raises(FieldError) as error:
            DATASETS[word](**{key: value})
        assert error.value.key == key
    with pytest.raises(FieldError, match="sum must be below 1"):
        DATASETS[word](val=0.5, test=0.5)


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
for word, dataset in DATASETS.items():
    if word not in sys.argv[1].split(","):
        prepare(dataset(), 0, True)
sys.exit("sklearn" in sys.modules)
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", script, ",".join([*BUNDLED, *OWN])], cwd=SOURCE, check=False
        ).returncode
        == 0
    )

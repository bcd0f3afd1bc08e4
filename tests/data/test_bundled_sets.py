"""The data sets of scikit-learn are complete, unscaled and named."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets

from mlplab.data.preparation.registry import DATASETS


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "options"),
    [
        ("iris", (150, 4), 3, {}),
        ("wine", (178, 13), 3, {}),
        ("breast_cancer", (569, 30), 2, {}),
        ("digits", (1797, 64), 10, {}),
        ("diabetes", (442, 10), 1, {"scaled": False}),
        ("linnerud", (20, 3), 3, {}),
    ],
)
def test_same_as_sklearn(
    name: str, shape: tuple[int, int], outputs: int, options: dict[str, bool]
) -> None:
    table = DATASETS[name]().make(np.random.default_rng(0))
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    assert table.x.shape == shape
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_array_equal(table.y, y if table.task.classifies else y.reshape(len(y), -1))
    assert (table.task.num_classes if table.task.classifies else table.task.num_targets) == outputs


def test_names() -> None:
    rng = np.random.default_rng(0)
    iris, digits, linnerud = (DATASETS[name]().make(rng) for name in ("iris", "digits", "linnerud"))
    assert iris.class_names == ("setosa", "versicolor", "virginica")
    assert iris.feature_names[0] == "sepal length (cm)"
    assert digits.class_names == tuple("0123456789")
    assert linnerud.target_names == ("Weight", "Waist", "Pulse")
    assert all(
        type(name) is str
        for name in (*iris.class_names, *digits.feature_names, *linnerud.target_names)
    )


def test_a_shared_table_cannot_be_written_to() -> None:
    table = DATASETS["iris"]().make(np.random.default_rng(0))
    with pytest.raises(ValueError, match="read-only"):
        table.x[0, 0] = 0

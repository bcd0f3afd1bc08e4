"""How large the error of a prediction is expected to be: small boosted trees, fitted on absolute
residuals of held-out rows and stored as plain numbers.

Shapes: N rows, F features, M nodes of all trees, R trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NUM_TREES, DEPTH, LEARNING_RATE = 60, 2, 0.1
MAX_FIT_ROWS = 3000
MAX_FEATURES = 32
"""Columns that a split of a tree chooses among; more would make wide tables slow."""
FOLDS = 5
MIN_ROWS = 60
"""Rows below which all predictions count as equally difficult."""
EXPONENTS = (0.0, 0.5, 0.75, 1.0)
"""How much of the estimated differences in difficulty is kept; the best on held-out rows is."""


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of regression trees: node m sends a row to `left` if x[feature] <= threshold, else to
    `right`; a leaf has the feature -1. Arrays are [M], the indices of the `roots` [R].
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    roots: np.ndarray
    constant: float

    def predict(self, x_NF: np.ndarray) -> np.ndarray:
        """Return the sum of the trees, float64 [N]."""
        x_NF = x_NF.astype(np.float32)  # as the thresholds were chosen
        node_NR = np.tile(self.roots, (len(x_NF), 1))
        rows_N1 = np.arange(len(x_NF))[:, None]
        for _ in range(DEPTH):
            feature_NR = self.feature[node_NR]
            goes_left = x_NF[rows_N1, feature_NR] <= self.threshold[node_NR]
            below_NR = np.where(goes_left, self.left[node_NR], self.right[node_NR])
            node_NR = np.where(feature_NR < 0, node_NR, below_NR)
        return np.asarray(self.constant + self.value[node_NR].sum(1))

    def to_dict(self) -> dict[str, object]:
        """Return plain lists for a JSON file."""
        arrays = {name: value.tolist() for name, value in vars(self).items() if name != "constant"}
        return {**arrays, "constant": self.constant}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object], num_columns: int) -> Trees:
        """Return the trees that `to_dict` described, of rows with this number of columns. Raises
        KeyError or ValueError for others.
        """
        integers = {
            name: np.array(fields[name], np.int64) for name in ("feature", "left", "right", "roots")
        }
        numbers = {name: np.array(fields[name], np.float64) for name in ("threshold", "value")}
        trees = cls(**integers, **numbers, constant=float(str(fields["constant"])))
        size = len(trees.value)
        nodes = (trees.left, trees.right, trees.roots)
        if (
            any(len(getattr(trees, name)) != size for name in ("feature", "left", "threshold"))
            or len(trees.right) != size
            or any(((index < 0) | (index >= size)).any() for index in nodes)
            or ((trees.feature < -1) | (trees.feature >= num_columns)).any()
            or not (np.isfinite(trees.value).all() and np.isfinite(trees.constant))
        ):
            raise ValueError("its trees do not fit the columns of the network")
        return trees


@dataclass(frozen=True, eq=False)
class Difficulty:
    """The expected size of the error up to a factor: exp(exponent * trees(x)); 1 without trees."""

    trees: Trees | None = None
    exponent: float = 0.0

    def __call__(self, x_NF: np.ndarray) -> np.ndarray:
        """Return the difficulty of rows, positive float64 [N]."""
        if self.trees is None:
            return np.ones(len(x_NF))
        return np.asarray(np.exp(self.exponent * self.trees.predict(x_NF)))


def fit_difficulty(x_NF: np.ndarray, error_N: np.ndarray) -> tuple[Difficulty, np.ndarray]:
    """Return the difficulty fitted on absolute errors, and that of these rows by trees that were
    fitted on the other folds, [N].

    The exponent has the highest likelihood of exponentially distributed errors on held-out rows, so
    that errors of equal size everywhere get equal difficulty.
    """
    ones_N = np.ones(len(error_N))
    typical = float(np.median(error_N))
    if len(error_N) < MIN_ROWS or typical <= 0:
        return Difficulty(), ones_N
    log_error_N = np.log(error_N / typical + 0.05)
    rng = np.random.default_rng(0)
    fold_N = rng.permutation(len(error_N)) % FOLDS
    held_out_N = np.empty(len(error_N))
    for fold in range(FOLDS):
        rows = rng.permutation(np.flatnonzero(fold_N != fold))[:MAX_FIT_ROWS]
        trees = _boost(x_NF[rows], log_error_N[rows])
        held_out_N[fold_N == fold] = trees.predict(x_NF[fold_N == fold])
    costs = [_negative_log_likelihood(error_N, exponent * held_out_N) for exponent in EXPONENTS]
    exponent = EXPONENTS[int(np.argmin(costs))]
    # two parameters more must gain more than they do by chance
    if exponent == 0 or costs[0] - min(costs) < 2 / len(error_N):
        return Difficulty(), ones_N
    rows = rng.permutation(len(error_N))[:MAX_FIT_ROWS]
    difficulty = Difficulty(_boost(x_NF[rows], log_error_N[rows]), exponent)
    return difficulty, np.exp(exponent * held_out_N)


def _negative_log_likelihood(error_N: np.ndarray, log_scale_N: np.ndarray) -> float:
    """Of exponentially distributed errors with these scales times the best factor, per row."""
    mean = np.mean(error_N * np.exp(-log_scale_N))
    return float(np.log(mean) + log_scale_N.mean())


def _boost(x_NF: np.ndarray, y_N: np.ndarray) -> Trees:
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(
        n_estimators=NUM_TREES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        min_samples_leaf=max(5, len(y_N) // 40),
        max_features=min(MAX_FEATURES, x_NF.shape[1]),
        random_state=0,
    )
    model.fit(x_NF, y_N)
    return _joined([estimator.tree_ for estimator in model.estimators_[:, 0]], float(y_N.mean()))


def _joined(trees: Sequence[object], constant: float) -> Trees:
    """The trees of scikit-learn as one list of nodes."""
    columns: dict[str, list[np.ndarray]] = {}
    roots, start = [], 0
    for tree in trees:
        feature = np.asarray(tree.feature)  # type: ignore[attr-defined]
        is_leaf = feature < 0
        for name, values in (
            ("feature", np.where(is_leaf, -1, feature)),
            ("threshold", np.where(is_leaf, 0.0, tree.threshold)),  # type: ignore[attr-defined]
            ("left", np.where(is_leaf, 0, tree.children_left) + start),  # type: ignore[attr-defined]
            ("right", np.where(is_leaf, 0, tree.children_right) + start),  # type: ignore[attr-defined]
            ("value", LEARNING_RATE * tree.value[:, 0, 0]),  # type: ignore[attr-defined]
        ):
            columns.setdefault(name, []).append(values)
        roots.append(start)
        start += len(feature)
    arrays = {name: np.concatenate(values) for name, values in columns.items()}
    return Trees(**arrays, roots=np.array(roots), constant=constant)

#!/usr/bin/env python
"""Compare the test metrics of mlplab's estimators with scikit-learn's MLP and gradient boosting.

All use the same Pipeline and splits, with 10 seeds; the metric is accuracy for classes and R^2 for
values. scikit-learn divides alpha by the rows of a batch and mlplab does not divide l2, so l2 =
alpha / 200.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn import datasets, neural_network
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlplab import sklearn as ours

NAMES = ("iris", "wine", "breast_cancer", "digits", "diabetes", "penguins")


def table(name: str) -> tuple[Any, Any]:
    """Return features and target.

    The penguins of palmerpenguins 0.1.6 have empty cells and categories; rows of unknown sex are
    included.
    """
    if name == "penguins":
        from palmerpenguins import load_penguins

        frame = load_penguins()
        return frame.drop(columns=["species", "year"]), frame["species"].to_numpy()
    if name == "diabetes":
        return datasets.load_diabetes(return_X_y=True, scaled=False)
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def prepared(model: Any) -> Any:
    """The Pipeline: numbers are imputed by the median and scaled, categories by the most frequent
    one and one-hot encoded.
    """
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include=np.number)),
        (categories, make_column_selector(dtype_exclude=np.number)),
    )
    return make_pipeline(columns, model)


def models(classifies: bool, seed: int) -> Iterator[tuple[str, Any]]:
    theirs = neural_network.MLPClassifier if classifies else neural_network.MLPRegressor
    mine = ours.MLPClassifier if classifies else ours.MLPRegressor
    trees = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    yield "mlplab", mine((100,), lr=1e-3, l2=1e-4 / 200, epochs=200, random_state=seed)
    yield (
        "mlplab, 8 members",
        mine((100,), lr=1e-3, l2=1e-4 / 200, epochs=200, n_members=8, random_state=seed),
    )
    other = theirs(
        hidden_layer_sizes=(100,),
        learning_rate_init=1e-3,
        alpha=1e-4,
        max_iter=200,
        random_state=seed,
    )
    # targets are standardized, as mlplab does internally
    yield (
        "sklearn MLP",
        other if classifies else TransformedTargetRegressor(other, transformer=StandardScaler()),
    )
    yield "gradient boosting", trees(random_state=seed)


def scores(name: str, seeds: int) -> dict[str, list[float]]:
    x, y = table(name)
    classifies = np.asarray(y).dtype.kind != "f"
    scores_by_model: dict[str, list[float]] = {}
    for seed in range(seeds):
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, test_size=0.25, random_state=seed, stratify=y if classifies else None
        )
        for label, model in models(classifies, seed):
            pipeline = prepared(model).fit(_frame(x_train), y_train)
            score = float(pipeline.score(_frame(x_test), y_test))
            scores_by_model.setdefault(label, []).append(score)
    return scores_by_model


def _frame(values: Any) -> Any:
    if hasattr(values, "columns"):
        return values
    import pandas as pd

    return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sets", nargs="*", default=NAMES)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        f"mean ± standard deviation of the test metric over {args.seeds} seeds; torch"
        f" {torch.__version__}, scikit-learn {sklearn.__version__}"
    )
    for i, name in enumerate(args.sets):
        scores_by_model = scores(name, args.seeds)
        if i == 0:
            print(
                "| set | "
                + " | ".join(scores_by_model)
                + " | mlplab - sklearn MLP |\n|---" * 1
                + "|---" * (len(scores_by_model) + 1)
                + "|"
            )
        cells = [
            f"{statistics.mean(values):.4f} ±"
            f" {statistics.stdev(values) if len(values) > 1 else 0:.4f}"
            for values in scores_by_model.values()
        ]
        gap = statistics.mean(scores_by_model["mlplab"]) - statistics.mean(
            scores_by_model["sklearn MLP"]
        )
        print(f"| {name} | " + " | ".join(cells) + f" | {gap:+.4f} |", flush=True)


if __name__ == "__main__":
    main()

"""The methods that tables.py compares: each fits one table and predicts its test rows.

All see the same splits. A method that needs validation rows gets those of the split; the others are
fitted on the train and validation rows together.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from table_list import Table

Array: TypeAlias = NDArray[Any]
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Split:
    """A table and the split of its rows: the rows of a split, features and targets. A method may
    write files to `folder`, which is temporary.
    """

    table: Table
    frame: pd.DataFrame
    split: NDArray[np.str_]
    seed: int
    folder: Path | None = None

    def rows(self, *splits: str) -> pd.DataFrame:
        return self.frame[np.isin(self.split, splits)]

    def x(self, *splits: str) -> pd.DataFrame:
        return self.rows(*splits).drop(columns=self.table.target)

    def y(self, *splits: str) -> Array:
        """Class codes in the order of `classes`, or values, [N]."""
        target = self.rows(*splits)[self.table.target]
        if self.table.classifies:
            return np.searchsorted(self.classes, target.astype(str).to_numpy(dtype=str))
        return target.to_numpy(dtype=np.float64)

    @property
    def classes(self) -> NDArray[np.str_]:
        return np.unique(self.frame[self.table.target].astype(str).to_numpy(dtype=str))

    @property
    def categories(self) -> list[str]:
        x = self.frame.drop(columns=self.table.target)
        return [c for c in x if not pd.api.types.is_numeric_dtype(x[c]) or x[c].dtype == bool]


@dataclass(frozen=True)
class Predicted:
    """What a method says of the test rows: class probabilities [N, C] or values [N]. `uncertainty`
    returns what is known of their errors, after the processor time is taken.
    """

    values: Array
    uncertainty: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Method:
    """One method. `predict` returns class probabilities [N, C] or values [N] of the test rows, or
    Predicted; `config` and the versions of `packages` are what its results depend on.
    """

    predict: Callable[[Split, Mapping[str, Any]], Array | Predicted]
    packages: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    is_ours: bool = False
    tasks: tuple[str, ...] = ("classification", "regression")

    def described(self) -> dict[str, Any]:
        """What identifies the method's results: its configuration, versions and source."""
        described = {"config": dict(self.config), "versions": versions(self.packages)}
        return described | ({"source": source_of_mlplab()} if self.is_ours else {})


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {name: version(name) for name in packages}


def source_of_mlplab() -> str:
    """The git trees of the package and of its configs, with a mark if there are changes that are
    not committed.
    """
    import mlplab

    folder = Path(mlplab.__file__).parents[2]
    paths = ("src/mlplab", "configs")
    git = ["git", "-C", str(folder)]
    trees = subprocess.run(
        [*git, "rev-parse", *(f"HEAD:{path}" for path in paths)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    command = [*git, "diff", "--quiet", "HEAD", "--", *paths]
    changed = subprocess.run(command, check=False).returncode
    return "-".join(trees) + ("+changes" if changed else "")


def mlplab_run(split: Split, config: Mapping[str, Any]) -> Predicted:
    """mlplab as from the command line: a CSV file, its target, and the column of the split."""
    import mlplab

    assert split.folder is not None
    path = split.folder / f"{split.table.name}.csv"
    split.frame.assign(split=split.split).to_csv(path, index=False)
    overrides = [
        "dataset=file",
        f"dataset.path={path}",
        f"dataset.target={split.table.target}",
        "dataset.split_column=split",
        f"seed={split.seed}",
        *config["overrides"],
    ]
    run = mlplab.run(overrides, folder=split.folder / "run")
    x = pd.read_csv(path)[split.split == "test"].drop(columns=["split", split.table.target])
    if split.table.classifies:
        scores = _in_order(split, run.predict_proba(x), run.preprocessing.class_names)
        return Predicted(scores, partial(_calibration, scores, split.y("test")))
    values = np.asarray(run.predict(x), dtype=np.float64).reshape(len(x))
    return Predicted(values, partial(_coverage, run, x, split.y("test")))


def _calibration(scores: Array, codes: Array) -> dict[str, float]:
    """The calibration error, and the 95th percentile of that of calibrated predictions."""
    from mlplab.model.reliability import reliability

    result = reliability(scores, codes)
    return {"ece": float(result.ece), "ece_95": float(result.ece_95)}


def _coverage(run: Any, x: pd.DataFrame, y: Array) -> dict[str, float]:
    """The share of the test rows that the 90 % intervals contain; empty if there are none."""
    from mlplab.errors import MlplabError

    try:
        low, high = (np.asarray(end)[:, 0] for end in run.predict_interval(x, 0.9))
    except MlplabError as error:  # the predictions count without them
        print(f"no intervals: {error}", file=sys.stderr)
        return {}
    return {"coverage": float(((low <= y) & (y <= high)).mean())}


def _in_order(split: Split, scores: Array, names: Any) -> Array:
    """Probabilities with a column per class of the table, in its order."""
    out = np.zeros((len(scores), len(split.classes)))
    out[:, np.searchsorted(split.classes, np.asarray(names, dtype=str))] = scores
    return out


def sklearn_mlp(split: Split, config: Mapping[str, Any]) -> Array:
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, y = _with_text_categories(split, "train", "val"), split.y("train", "val")
    numbers = [c for c in x if c not in split.categories]
    columns = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                ),
                numbers,
            ),
            ("categories", OneHotEncoder(handle_unknown="ignore"), split.categories),
        ],
        sparse_threshold=0,
    )
    keys = {**config, "random_state": split.seed}
    if split.table.classifies:
        model = make_pipeline(columns, MLPClassifier(**keys)).fit(x, y)
        return _all_classes(split, model, _with_text_categories(split, "test"))
    model = make_pipeline(
        columns, TransformedTargetRegressor(MLPRegressor(**keys), transformer=StandardScaler())
    ).fit(x, y)
    return np.asarray(model.predict(_with_text_categories(split, "test")))


def _with_text_categories(split: Split, *splits: str) -> pd.DataFrame:
    """Features whose categories are strings, with a word for a missing one."""
    x = split.x(*splits).copy()
    for column in split.categories:
        x[column] = x[column].astype(object).where(x[column].notna(), "missing").astype(str)
    return x


def _all_classes(split: Split, model: Any, test: pd.DataFrame) -> Array:
    """Probabilities of the test rows with a column for each class, also of one not trained on."""
    out = np.zeros((len(test), len(split.classes)))
    out[:, model.classes_] = model.predict_proba(test)
    return out


def boosting(split: Split, config: Mapping[str, Any]) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = (
        HistGradientBoostingClassifier if split.table.classifies else HistGradientBoostingRegressor
    )
    x = _typed(split, "train", "val")
    model = kind(categorical_features="from_dtype", random_state=split.seed, **config)
    model.fit(x, split.y("train", "val"))
    test = _typed(split, "test")
    if not split.table.classifies:
        return np.asarray(model.predict(test))
    return _all_classes(split, model, test)


def _typed(split: Split, *splits: str) -> pd.DataFrame:
    """Features whose categories are of the type category, with the categories of all rows."""
    x = _with_text_categories(split, "train", "val", "test")
    for column in split.categories:
        x[column] = pd.Categorical(x[column])
    return x[np.isin(split.split, splits)]


def pytabkit(split: Split, config: Mapping[str, Any]) -> Array:
    """A model of pytabkit, which selects its epoch by the validation rows."""
    import pytabkit

    kind = "Classifier" if split.table.classifies else "Regressor"
    keys = {key: value for key, value in config.items() if key != "model"}
    model = getattr(pytabkit, f"{config['model']}_{kind}")(
        device="cpu", n_threads=1, random_state=split.seed, **keys
    )
    x = _filled(_typed(split, "train", "val", "test"), split)
    splits_x = {name: x[split.split == name] for name in ("train", "val", "test")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(splits_x["train"], split.y("train"), splits_x["val"], split.y("val"))
        if not split.table.classifies:
            return np.asarray(model.predict(splits_x["test"]), dtype=np.float64).reshape(-1)
        return _all_classes(split, model, splits_x["test"])


def _filled(x: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Missing numbers replaced by the median of the train rows, with an indicator column."""
    x = x.copy()
    for column in [c for c in x if c not in split.categories]:
        x[column] = x[column].astype(float)
        if (missing := x[column].isna()).any():
            x[column] = x[column].fillna(x[column][split.split == "train"].median())
            x[f"{column} missing"] = missing.astype(float)
    return x


SKLEARN = ("scikit-learn",)
PYTABKIT = ("pytabkit", "torch")
OURS = ("mlplab", "torch")
OLD = ["experiment=null", "dataset.missing=impute"]

METHODS: dict[str, Method] = {
    "mlplab": Method(mlplab_run, OURS, {"overrides": []}, is_ours=True),
    "mlplab_ensemble": Method(mlplab_run, OURS, {"overrides": ["ensemble=32"]}, is_ours=True),
    "mlplab_old": Method(mlplab_run, OURS, {"overrides": OLD}, is_ours=True),
    "sklearn_mlp": Method(sklearn_mlp, SKLEARN),
    "sklearn_mlp_early": Method(sklearn_mlp, SKLEARN, {"early_stopping": True}),
    "boosting": Method(boosting, SKLEARN),
    "realmlp": Method(pytabkit, PYTABKIT, {"model": "RealMLP_TD"}),
    "realmlp_ce": Method(
        pytabkit,
        PYTABKIT,
        {"model": "RealMLP_TD", "val_metric_name": "cross_entropy", "use_ls": False},
        tasks=("classification",),
    ),
    "tabm": Method(pytabkit, PYTABKIT, {"model": "TabM_D"}),
}

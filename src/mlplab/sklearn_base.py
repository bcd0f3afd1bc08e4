"""The base class of the estimators of mlplab.sklearn: parameters, seeds, fitting and tags."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mlplab.fitting import ComponentChoice, Fitted, fit, fit_more
from mlplab.training import Callback

_NUM_SEEDS = 2**31


class Estimator(BaseEstimator):  # type: ignore[misc]
    """The base class of classifier and regressor."""

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        activation: ComponentChoice = "relu",
        embedding: ComponentChoice = "none",
        initializer: ComponentChoice = "xavier_uniform",
        loss: ComponentChoice = "auto",
        optimizer: ComponentChoice = "adam",
        lr: float = 0.001,
        schedule: ComponentChoice = "constant",
        dropout: float = 0.0,
        normalization: str = "none",
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        epochs: int = 200,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        n_members: int = 1,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        dtype: str = "auto",
        callbacks: Sequence[Callback] | None = None,
        log_dir: str | Path | None = None,
    ) -> None:
        self._store(locals())

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> tuple[str, ...]:
        return tuple(super()._get_param_names())  # inspects the signature, which is slow

    def _store(self, arguments: Mapping[str, Any]) -> None:
        """Store the parameters, which are the arguments of the constructor."""
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    def _fit(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, num_classes: int
    ) -> Self:
        self._check()
        seeds = self._seeds()
        train_and_val: tuple[Any, ...] = (X, None, y, None, weights, None)
        if self.early_stopping:
            held_out = train_test_split(
                np.arange(len(X)),
                test_size=self.validation_fraction,
                random_state=seeds[0] % _NUM_SEEDS,
                stratify=y if num_classes else None,
            )[1]
            train = np.setdiff1d(np.arange(len(X)), held_out)
            train_and_val = (
                X[train],
                X[held_out],
                y[train],
                y[held_out],
                *(weights[rows] if weights is not None else None for rows in (train, held_out)),
            )
        return self._set_fitted(
            fit(self._parameters(), seeds, self._dtype(X), num_classes, *train_and_val)
        )

    def _fit_more(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, num_classes: int
    ) -> Self:
        previous: Fitted | None = getattr(self, "fitted_", None)
        if previous is None:
            self._check()
        seeds = self._seeds() if previous is None else None
        return self._set_fitted(
            fit_more(
                self._parameters(), seeds, self._dtype(X), num_classes, X, y, weights, previous
            )
        )

    def _parameters(self) -> dict[str, object]:
        """The parameters passed to `fit` and `fit_more`."""
        return dict(self.get_params(deep=False))

    def _check(self) -> None:
        for name in ("n_members", "epochs", "patience"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} = {value!r} is not an integer of at least 1")
        if self.batch_size != "auto" and (
            not isinstance(self.batch_size, Integral) or self.batch_size < 1
        ):
            raise ValueError(
                f"batch_size = {self.batch_size!r} is neither 'auto' nor an integer of at least 1"
            )
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction = {self.validation_fraction!r} is not between 0 and 1"
            )

    def _seeds(self) -> list[int]:
        """One seed per member.

        An integer random_state gives consecutive seeds, so that the members of an ensemble equal
        networks fitted one by one.
        """
        if isinstance(self.random_state, Integral):
            return [int(self.random_state) + k for k in range(self.n_members)]
        return [
            int(seed)
            for seed in check_random_state(self.random_state).randint(
                _NUM_SEEDS, size=self.n_members
            )
        ]

    def _dtype(self, X: np.ndarray) -> str:
        """For "auto", the dtype of X, as in scikit-learn, or float32 for several members.

        Members differ far more than float32 rounds, and float64 would cost twice as much.
        """
        if self.dtype != "auto":
            return str(self.dtype)
        return "float32" if self.n_members > 1 or X.dtype == np.float32 else "float64"

    def _set_fitted(self, fitted: Fitted) -> Self:
        """Set the attributes that scikit-learn's networks have after a fit."""
        self.fitted_ = fitted
        self.n_iter_ = max(fitted.epochs)
        self.n_members_ = len(fitted.epochs)
        self.loss_curve_ = fitted.history.get("train/loss", [])
        self.validation_loss_curve_ = fitted.history.get("val/loss")
        self.history_ = fitted.logged
        self.n_layers_ = len(self.hidden) + 2
        return self

    def _scores(self, X: object, allow_nan: bool = False) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32])
        return self.fitted_.predict(dense(X), allow_nan)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True  # accepted and converted to dense: a network reads every cell
        tags.non_deterministic = False
        return tags


def dense(X: object) -> np.ndarray:
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X)

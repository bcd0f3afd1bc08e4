"""The engine as scikit-learn estimators: `MLPClassifier` and `MLPRegressor`, for Pipeline,
GridSearchCV, cross_val_score, clone and pickle.

    from mlplab.sklearn import MLPClassifier
    model = MLPClassifier(hidden=(16, 16), activation="tanh", n_members=32).fit(X, y)

Every component is chosen by its name, or by a mapping of its name and keys: optimizer={"name":
"momentum", "momentum": 0.95}. Features are not scaled (put a scaler in front); the targets of a
regression are standardized internally, and predictions are in the original units. With `n_members`,
networks that differ in their seeds train as one population, and their mean is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from mlplab.fitting import ComponentChoice
from mlplab.sklearn_base import Estimator, dense
from mlplab.training import Callback


class MLPClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A feed-forward network that predicts classes.

    `hidden`: units of each hidden layer, () for softmax regression. `activation`, `embedding` (of
    features with more than two values), `initializer`, `loss`, `optimizer`, `schedule`: names shown
    by `mlplab list`, or mappings. `batch_size`: "auto"
    is min(200, rows). `early_stopping` holds out `validation_fraction` of the rows, stops after
    `patience` epochs without improvement, and uses the best weights. `dtype`: "float32" (half the
    cost), "float64", or "auto", the dtype of X, but float32 for several members; predictions are
    computed in float64. `class_weight`: None, "balanced", or {class: weight}. `n_members`: number
    of networks whose mean is predicted. `callbacks` follow the training; the curves, and what they
    log, are written to TensorBoard event files in `log_dir`.

    Attributes after `fit`: classes_, n_features_in_, n_iter_, loss_curve_, validation_loss_curve_,
    n_members_, and history_, what callbacks logged: name -> values, averaged over the members.
    """

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
        class_weight: Mapping[Any, float] | str | None = None,
        n_members: int = 1,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        dtype: str = "auto",
        callbacks: Sequence[Callback] | None = None,
        log_dir: str | Path | None = None,
    ) -> None:
        self._store(locals())

    def fit(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X [N, F] and classes y [N], or labels y [N, L] of 0 and 1 (multilabel).

        `sample_weight` [N] weights the rows. Returns the estimator. Raises ValueError for invalid
        input.
        """
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], multi_output=True
        )
        X = dense(X)
        codes = self._codes(y)
        if not self.multilabel_ and len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]}: at least two are needed")
        return self._fit(X, codes, self._weights(X, y, sample_weight), self._num_classes())

    def partial_fit(
        self,
        X: object,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one more epoch on these rows, from the state after the last call.

        The first call must name all `classes` unless y has them all. Returns the estimator.
        """
        first = not hasattr(self, "fitted_")
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            reset=first,
            multi_output=True,
        )
        X = dense(X)
        codes = self._partial_fit_codes(y, classes, first)
        return self._fit_more(X, codes, self._weights(X, y, sample_weight), self._num_classes())

    def _num_classes(self) -> int:
        """The number of classes; 0 for labels, which are trained as values."""
        return 0 if self.multilabel_ else len(self.classes_)

    def _parameters(self) -> dict[str, object]:
        """Multilabel targets are trained as values between 0 and 1, with the bernoulli loss."""
        params = super()._parameters()
        return (
            {**params, "loss": "bernoulli"}
            if self.multilabel_ and params["loss"] == "auto"
            else params
        )

    def _codes(self, y: ArrayLike) -> np.ndarray:
        # the check takes as long as 20 steps: it is left out where it has nothing to say
        if not _are_few_integers(y):
            check_classification_targets(y)
        self.multilabel_ = np.ndim(y) > 1 and type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            labels = dense(y)
            self.classes_ = np.arange(labels.shape[1])
            return np.asarray(labels, np.float64)
        self.classes_, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        return np.asarray(codes.reshape(-1), np.int64)

    def _partial_fit_codes(
        self, y: ArrayLike, classes: ArrayLike | None, first: bool
    ) -> np.ndarray:
        """The codes of y by the classes, or the number of labels, of the first call."""
        if type_of_target(y) == "multilabel-indicator" or (not first and self.multilabel_):
            labels = dense(y)
            if not first and (
                not self.multilabel_ or labels.ndim != 2 or labels.shape[1] != len(self.classes_)
            ):
                raise ValueError(
                    f"y has the shape {labels.shape}, and the first call had {len(self.classes_)}"
                    " labels or classes"
                )
            return self._codes(y)
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if first:
            self.multilabel_ = False
            self.classes_ = unique_labels(classes) if classes is not None else unique_labels(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has the class {unknown[0]}, which is not among"
                f" {', '.join(map(str, self.classes_))}: name all classes in the first call"
            )
        return np.asarray(np.searchsorted(self.classes_, y), np.int64)

    def _weights(
        self, X: np.ndarray, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> np.ndarray | None:
        if self.multilabel_ and self.class_weight is not None:
            raise ValueError(
                "class_weight is for one class per row, not for several labels per row"
            )
        if sample_weight is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return np.asarray(
            weights * compute_sample_weight(self.class_weight, y)
            if self.class_weight is not None
            else weights
        )

    def predict_proba(self, X: object) -> np.ndarray:
        """Return the probabilities of classes_ [N, C], or of each label [N, L].

        They are the mean over the members. Rows for which the network's output is not finite are
        NaN.
        """
        return self._scores(X, allow_nan=True)

    def predict_log_proba(self, X: object) -> np.ndarray:
        """Return the logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict(self, X: object) -> np.ndarray:
        """Return the most probable class of each row [N], or its labels [N, L] as 0 and 1.

        Raises ValueError if the network's output is not finite.
        """
        scores = self._scores(X)
        if self.multilabel_:
            return np.asarray(scores > 0.5, np.int64)
        return np.asarray(self.classes_[scores.argmax(1)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _are_few_integers(y: ArrayLike) -> bool:
    """Whether y is a vector of integers, of which at most half as many as rows differ."""
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "biu":
        return False
    return len(np.unique(y)) <= len(y) // 2


class MLPRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A feed-forward network that predicts one value or several.

    The parameters are those of MLPClassifier, except `class_weight`. Targets are standardized
    internally, unless the loss needs their original units.

    Attributes after `fit`: n_features_in_, n_outputs_, n_iter_, loss_curve_,
    validation_loss_curve_, n_members_, history_.
    """

    def fit(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X [N, F] and values y [N] or [N, T]; `sample_weight` [N] weights the rows.

        Returns the estimator. Raises ValueError for invalid input.
        """
        return self._fit(*self._checked(X, y, sample_weight, True), 0)

    def partial_fit(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train one more epoch on these rows, from the state after the last call.

        The scaling of the targets is that of the first call. Returns the estimator.
        """
        first = not hasattr(self, "fitted_")
        return self._fit_more(*self._checked(X, y, sample_weight, first), 0)

    def _checked(
        self, X: object, y: ArrayLike, sample_weight: ArrayLike | None, reset: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        values = np.asarray(y, np.float64)
        targets = values.reshape(len(values), -1)
        if reset:
            self.one_dimensional_ = values.ndim == 1
            self.n_outputs_ = targets.shape[1]
        elif targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {targets.shape[1]} targets, and the first call had {self.n_outputs_}"
            )
        weights = (
            None
            if sample_weight is None
            else _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        )
        return dense(X), targets, weights

    def predict(self, X: object) -> np.ndarray:
        """Return the predicted values [N], or [N, T] if y had columns: the mean over the members.

        Raises ValueError if a value is not finite.
        """
        scores = self._scores(X)
        return scores[:, 0] if self.one_dimensional_ else scores

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

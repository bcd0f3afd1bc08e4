"""The mean prediction of models that learned the same task.

Shapes: N rows, F features, C classes, T targets, K members of all models.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlplab.model.model import Model

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

MAX_MEMBER_ROWS = 1 << 21
"""Rows times members whose scores are held at once."""


class Ensemble:
    """The members of several models. Those of equal structure and preprocessing predict as one
    batch, and the features of equal preprocessing are computed once.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        groups: dict[str, dict[Hashable, list[tuple[Model, float]]]] = {}
        for model in models:
            for member, weight in model.weighted_members():
                by_structure = groups.setdefault(member.preprocessing.to_json(), {})
                by_structure.setdefault(member.key, []).append((member, weight / len(models)))
        sorted_groups = [list(by_structure.values()) for by_structure in groups.values()]
        self.groups = [
            [Model.stack([model for model, _ in equal]) for equal in by_structure]
            for by_structure in sorted_groups
        ]
        self.weights: list[float] | None = None  # None: all members count equally
        if any(len(model.weighted_members()) > 1 for model in models):
            self.weights = [
                weight for group in sorted_groups for equal in group for _, weight in equal
            ]

    def scores(
        self,
        x: ArrayLike | pd.DataFrame,
        source: str = "x",
        first: int = 0,
        allow_nan: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over the members of class probabilities [N, C] or values [N, T] in the
        units of the target, and their standard deviation over the members, [N, C or T].

        `x` is what `Preprocessing.features` takes. Raises what it raises, and NotFiniteError as
        `Model.scores` does.
        """
        features = [models[0].preprocessing.features(x, source) for models in self.groups]
        return self.scores_of_features(features, source, first, allow_nan)

    def scores_of_features(
        self,
        features: Sequence[np.ndarray],
        source: str = "x",
        first: int = 0,
        allow_nan: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `scores` does for scaled features [N, F], one array per preprocessing."""
        num_members = sum(len(model) for models in self.groups for model in models)
        rows, chunks = max(1, MAX_MEMBER_ROWS // num_members), []
        for start in range(0, max(1, len(features[0])), rows):
            scores_KNC = np.concatenate(
                [
                    model.scores(x_NF[start : start + rows], source, first + start, allow_nan)
                    for models, x_NF in zip(self.groups, features, strict=True)
                    for model in models
                ]
            )
            # summed in order: NumPy's own sum over members depends on the number of rows
            mean_NC = self._mean(scores_KNC)
            with np.errstate(over="ignore", invalid="ignore"):
                variance_NC = self._mean(np.square(scores_KNC - mean_NC))
            chunks.append((mean_NC, np.sqrt(variance_NC)))
        mean_NC, spread_NC = (np.concatenate(values) for values in zip(*chunks, strict=True))
        return mean_NC, spread_NC

    def _mean(self, values_KNC: np.ndarray) -> np.ndarray:
        if self.weights is None:
            return np.asarray(sum(values_KNC) / len(values_KNC))
        weighted = zip(self.weights, values_KNC, strict=True)
        return np.asarray(sum(weight * values_NC for weight, values_NC in weighted))

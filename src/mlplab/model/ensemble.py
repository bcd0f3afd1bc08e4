"""The mean prediction of models that learned the same task.

Shapes: N rows, F features, C classes, T targets, K members of all models.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.feature_groups import FeatureGroups
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

_Placed = tuple[Model, int]  # a member and its number

MAX_MEMBER_ROWS = 1 << 21
"""Rows times members whose scores are held at once."""


class Ensemble:
    """The members of several models. Those of equal structure and preprocessing predict as one
    batch, and the features of equal preprocessing are computed once.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        groups: dict[tuple[str, FeatureGroups | None], dict[Hashable, list[_Placed]]] = {}
        bases: dict[str, Preprocessing] = {}
        weights: list[float] = []
        for model in models:
            base = model.preprocessing.to_json()
            bases.setdefault(base, model.preprocessing)
            for member, weight in model.weighted_members():
                # the members of a packed ensemble embed its features, each in its own way
                embedded = None if member is model else member.preprocessing.groups
                by_structure = groups.setdefault((base, embedded), {})
                by_structure.setdefault(member.key, []).append((member, len(weights)))
                weights.append(weight / len(models))
        sorted_groups = [list(by_structure.values()) for by_structure in groups.values()]
        self.groups = [
            [Model.stack([model for model, _ in equal]) for equal in by_structure]
            for by_structure in sorted_groups
        ]
        self._bases = list(bases.values())
        self._inputs = [(list(bases).index(base), embedded) for base, embedded in groups]
        # The row and the weight of each member in the order of the models, in which a packed model
        # adds its members; None: all members count equally.
        self.weights: list[tuple[int, float]] | None = None
        if any(len(model.weighted_members()) > 1 for model in models):
            positions = [p for group in sorted_groups for equal in group for _, p in equal]
            self.weights = [(positions.index(p), weight) for p, weight in enumerate(weights)]

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
        features = [preprocessing.features(x, source) for preprocessing in self._bases]
        return self.scores_of_features(features, source, first, allow_nan)

    def scores_of_features(
        self,
        features: Sequence[np.ndarray],
        source: str = "x",
        first: int = 0,
        allow_nan: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `scores` does for the scaled features [N, F] of each preprocessing of the
        models.
        """
        num_members = sum(len(model) for models in self.groups for model in models)
        rows, chunks = max(1, MAX_MEMBER_ROWS // num_members), []
        for start in range(0, max(1, len(features[0])), rows):
            scores_KNC = np.concatenate(
                [
                    model.scores(x_NG, source, first + start, allow_nan)
                    for models, x_NG in zip(
                        self.groups, self._embedded(features, start, rows), strict=True
                    )
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

    def _embedded(
        self, features: Sequence[np.ndarray], start: int, count: int
    ) -> Iterator[np.ndarray]:
        """The inputs of the networks of each group for some rows."""
        for base, embedded in self._inputs:
            x_NF = features[base][start : start + count]
            yield x_NF if embedded is None else embedded.inputs(x_NF)

    def _mean(self, values_KNC: np.ndarray) -> np.ndarray:
        if self.weights is None:
            return np.asarray(sum(values_KNC) / len(values_KNC))
        return np.asarray(sum(weight * values_KNC[row] for row, weight in self.weights))

"""The rungs of a search: the epochs at which a trial is compared with all trials that got as far,
and one in `reduction` continues.

One bracket is asynchronous successive halving (Li et al. 2020, ASHA); several brackets are
Hyperband (Li et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlplab import metrics


@dataclass(frozen=True)
class Rungs:
    """The epochs at which a trial is compared; one in `reduction` trials continues."""

    epochs: tuple[int, ...]
    reduction: int
    metric: str
    bracket: int = 0

    @classmethod
    def of(
        cls, num_epochs: int, min_epochs: int, reduction: int, metric: str, every: int = 1
    ) -> Rungs:
        """Return rungs from `min_epochs` on, growing by the factor `reduction`, below `num_epochs`.

        Each is rounded up to an epoch with an evaluation, of which there is one in `every` epochs.
        """
        epochs, epoch = [], -(-min_epochs // every) * every
        while epoch < num_epochs:
            epochs.append(epoch)
            epoch *= reduction
        return cls(tuple(epochs), reduction, metric)

    def from_rung(self, bracket: int) -> Rungs:
        """Return a bracket of Hyperband, which omits the first `bracket` rungs.

        Trials are compared within their bracket only.
        """
        return Rungs(self.epochs[bracket:], self.reduction, self.metric, bracket)

    @property
    def sign(self) -> int:
        """1 if a lower metric is better, -1 if a higher one is."""
        return -1 if metrics.direction(self.metric) == "max" else 1


class RungScores:
    """The scores of the trials that reached each rung, by trial number in order of arrival.

    Lower scores are better.
    """

    def __init__(self, stored: Mapping[str, Mapping[str, float | None]] | None = None) -> None:
        self._values = {
            rung: {
                int(number): math.inf if value is None else float(value)
                for number, value in scores.items()
            }
            for rung, scores in (stored or {}).items()
        }

    def judge(
        self, rungs: Rungs, epoch: int, values: Mapping[int, float]
    ) -> tuple[set[int], float]:
        """Return the numbers of the arriving trials that continue, and the score they had to reach.

        The best 1 / `reduction` of all trials that ever reached the rung continue. The newest wins
        a tie: a metric over few rows has many ties, and the first arrivals would block the rung
        for all later ones.
        """
        pool = self._values.setdefault(f"{rungs.bracket}/{epoch}", {})
        pool |= values
        keep = max(1, math.ceil(len(pool) / rungs.reduction))
        arrival = {number: i for i, number in enumerate(pool)}
        best = sorted(pool, key=lambda number: (pool[number], -arrival[number]))[:keep]
        return set(best) & set(values), pool[best[-1]]

    def plain(self) -> dict[str, dict[str, float | None]]:
        """Return the scores as JSON values; None stands for a score that is not finite."""
        return {
            rung: {
                str(number): value if math.isfinite(value) else None
                for number, value in scores.items()
            }
            for rung, scores in self._values.items()
        }

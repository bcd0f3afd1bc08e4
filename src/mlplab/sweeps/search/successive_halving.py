"""The rungs of a search: the epochs at which a trial is compared with all trials that got as far,
and one in `reduction` continues.

One bracket is asynchronous successive halving (Li et al. 2020, ASHA); several brackets are
Hyperband (Li et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


VERSION = 2
"""The version of the stored scores. Version 1 had no arrivals and did not name its version."""

Arrivals = dict[tuple[int, int], dict[int, float]]
"""(number of a trial, epoch of a rung) -> number of a job -> its score there."""


class RungScores:
    """The scores of the trials that reached each rung, by trial number in order of arrival, and
    those of jobs that wait there for the other jobs of their trial.

    Lower scores are better. Raises ValueError if the stored scores have another version.
    """

    def __init__(self, stored: Mapping[str, Any] | None = None) -> None:
        stored = stored or {}
        version = stored.get("version", 1)
        if version not in (1, VERSION):
            raise ValueError(f"its version is {version}, and this program reads {VERSION}")
        tables = stored if version == 1 else stored["scores"]
        self._values = {rung: _finite_or_inf(scores) for rung, scores in tables.items()}
        self.arrivals: Arrivals = {}
        for name, scores in (stored.get("arrivals") or {}).items() if version > 1 else ():
            trial, _, epoch = name.partition("/")
            self.arrivals[int(trial), int(epoch)] = _finite_or_inf(scores)

    def arrive(self, trial: int, epoch: int, job: int, score: float) -> None:
        """Record that a job has reached a rung."""
        self.arrivals.setdefault((trial, epoch), {})[job] = score

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

    def plain(self) -> dict[str, object]:
        """Return all scores as JSON values; None stands for a score that is not finite."""
        return {
            "version": VERSION,
            "scores": {rung: _plain(scores) for rung, scores in self._values.items()},
            "arrivals": {
                f"{trial}/{epoch}": _plain(scores)
                for (trial, epoch), scores in self.arrivals.items()
            },
        }


def _finite_or_inf(scores: Mapping[str, float | None]) -> dict[int, float]:
    return {
        int(number): math.inf if value is None else float(value) for number, value in scores.items()
    }


def _plain(scores: Mapping[int, float]) -> dict[str, float | None]:
    return {
        str(number): value if math.isfinite(value) else None for number, value in scores.items()
    }

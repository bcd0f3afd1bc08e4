"""Rungs of a search: at these epochs a trial is compared with all that came as far, and one in
`reduction` goes on.

Asynchronous successive halving (Li et al. 2020, ASHA), by several brackets Hyperband (Li et al.
2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlplab import metrics


@dataclass(frozen=True)
class Rungs:
    """The epochs at which a trial is compared, and how many stay: one in `reduction`."""

    epochs: tuple[int, ...]
    reduction: int
    metric: str
    bracket: int = 0

    @classmethod
    def of(cls, last: int, least: int, reduction: int, metric: str, every: int = 1) -> Rungs:
        """From `least` epochs on, each rung `reduction` times the one before, below `last`. An
        evaluation every so many epochs moves them up to one.
        """
        found, epoch = [], -(-least // every) * every
        while epoch < last:
            found.append(epoch)
            epoch *= reduction
        return cls(tuple(found), reduction, metric)

    def from_rung(self, bracket: int) -> Rungs:
        """Hyperband's bracket: without the first rungs. Trials of another bracket are no measure
        for its own.
        """
        return Rungs(self.epochs[bracket:], self.reduction, self.metric, bracket)

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is."""
        return -1 if metrics.direction(self.metric) == "max" else 1


class RungScores:
    """What the trials were worth that came to each rung, lower is better, by their numbers and in
    the order of their coming.
    """

    def __init__(self, known: Mapping[str, Mapping[str, float | None]] | None = None) -> None:
        self._values = {
            rung: {int(number): _number(value) for number, value in own.items()}
            for rung, own in (known or {}).items()
        }

    def judge(
        self, rungs: Rungs, epoch: int, values: Mapping[int, float]
    ) -> tuple[set[int], float]:
        """Which of those that come to the rung now go on: the best share of all that ever came; and
        the value that was needed.

        Of equal ones the newest: a metric of few rows has many, and whoever came first would close
        the rung to all that come later.
        """
        pool = self._values.setdefault(f"{rungs.bracket}/{epoch}", {})
        pool |= values
        keep = max(1, math.ceil(len(pool) / rungs.reduction))
        came = {number: place for place, number in enumerate(pool)}
        best = sorted(pool, key=lambda number: (pool[number], -came[number]))[:keep]
        return set(best) & set(values), pool[best[-1]]

    def plain(self) -> dict[str, dict[str, float | None]]:
        """As JSON has it: None for what was no number."""
        return {
            rung: {
                str(number): value if math.isfinite(value) else None
                for number, value in own.items()
            }
            for rung, own in self._values.items()
        }


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)

"""What was measured while a population trained, kept as matrices and handed out member by member.

Shapes: K members, M measured names, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One evaluation of the members `members` (their places in the population): values [M, K], NaN where a value is not a number."""

    epoch: int
    step: int
    time: float  # seconds since 1970
    members: np.ndarray  # int64 [K]
    alive: np.ndarray  # bool [K]: False where the member had ended before
    values: np.ndarray  # float64 [M, K]


@dataclass(frozen=True)
class History:
    """One member's evaluations, in order. `values` is [E, M]; `history["val/loss"]` is a column [E]."""

    names: tuple[str, ...]
    epoch: np.ndarray
    step: np.ndarray
    time: np.ndarray
    values: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        if name in ("epoch", "step"):
            return self.epoch if name == "epoch" else self.step
        return self.values[:, self.names.index(name)]

    def __len__(self) -> int:
        return len(self.epoch)

    def to_frame(self):  # type: ignore[no-untyped-def]
        """The history as a pandas DataFrame, a row an evaluation."""
        import pandas as pd

        return pd.DataFrame({"epoch": self.epoch, "step": self.step, **{name: self[name] for name in self.names}})


class Journal:
    """The rows of a population while it trains."""

    def __init__(self, names: tuple[str, ...], num_members: int) -> None:
        self.names, self.num_members = names, num_members
        self.rows: list[Row] = []

    def append(self, row: Row) -> None:
        self.rows.append(row)

    def histories(self) -> list[History]:
        """One history a member: the rows during which it was alive."""
        if not self.rows:
            empty = np.zeros(0)
            none = History(self.names, empty.astype(int), empty.astype(int), empty, np.zeros((0, len(self.names))))
            return [none] * self.num_members
        present = np.zeros((len(self.rows), self.num_members), dtype=bool)
        values = np.full((len(self.rows), self.num_members, len(self.names)), np.nan)
        for e, row in enumerate(self.rows):
            present[e, row.members] = row.alive
            values[e, row.members] = row.values.T
        epoch, step, time = (np.array([getattr(row, key) for row in self.rows]) for key in ("epoch", "step", "time"))
        return [
            History(self.names, epoch[seen], step[seen], time[seen], values[seen, k])
            for k in range(self.num_members)
            for seen in (present[:, k],)
        ]

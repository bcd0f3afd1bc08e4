"""What was measured while a population trained, kept as matrices and handed out member by member.

Shapes: K members, M measured names, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mlplab.schema import Number


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
class Pending:
    """A row that still lies on the device: metrics [M', K], squared sizes of gradient, update and weights [3, K, L], and the learning rate."""

    epoch: int
    step: int
    time: float
    members: Tensor
    alive_K: Tensor
    values_MK: Tensor
    squares_3KL: Tensor
    lr: Number

    def row(self) -> Row:
        """Read it: metrics, learning rate, gradient norm of the whole and of each layer, |update| / |weights| of each layer."""
        squares_3KL = self.squares_3KL.double().cpu().numpy()
        gradient_KL, moved_KL, size_KL = np.sqrt(squares_3KL)
        lr_1K = np.broadcast_to(np.asarray(self.lr.cpu().numpy().T if isinstance(self.lr, Tensor) else self.lr), (1, len(gradient_KL)))
        whole_1K = np.sqrt(squares_3KL[0].sum(1))[None]
        values_MK = self.values_MK.cpu().numpy()
        with np.errstate(all="ignore"):  # a member that diverges has no ratio
            ratio_LK = (moved_KL / np.maximum(size_KL, 1e-15)).T
        values = np.concatenate([values_MK, lr_1K, whole_1K, gradient_KL.T, ratio_LK])
        return Row(self.epoch, self.step, self.time, self.members.numpy(), self.alive_K.cpu().numpy(), values)


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

"""What was measured while a population trained, kept as matrices and handed out member by member.

Shapes: K members, M measured names, E evaluations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mlplab.extras import require
from mlplab.schema import Number


@dataclass(frozen=True)
class Row:
    """One evaluation of the members `members` (their places in the population): values [M, K], NaN
    where a value is not a number.
    """

    epoch: int
    step: int
    time: float  # seconds since 1970
    members: np.ndarray  # int64 [K]
    alive: np.ndarray  # bool [K]: False where the member had ended before
    values: np.ndarray  # float64 [M, K]


@dataclass(frozen=True)
class DeviceRow:
    """A row that still lies on the device: metrics [M', K], squared sizes of gradient, update and
    weights [3, K, L], and the learning rate.
    """

    epoch: int
    step: int
    time: float
    members: Tensor
    alive_K: Tensor
    values_MK: Tensor
    squares_3KL: Tensor
    lr: Number

    def row(self) -> Row:
        """Read it: metrics, learning rate, gradient norm of the whole and of each layer, |update| /
        |weights| of each layer.
        """
        squares_3KL = self.squares_3KL.double().cpu().numpy()
        gradient_KL, moved_KL, size_KL = np.sqrt(squares_3KL)
        lr_1K = np.broadcast_to(
            np.asarray(self.lr.cpu().numpy().T if isinstance(self.lr, Tensor) else self.lr),
            (1, len(gradient_KL)),
        )
        whole_1K = np.sqrt(squares_3KL[0].sum(1))[None]
        values_MK = self.values_MK.cpu().numpy()
        with np.errstate(all="ignore"):  # a member that diverges has no ratio
            ratio_LK = (moved_KL / np.maximum(size_KL, 1e-15)).T
        values = np.concatenate([values_MK, lr_1K, whole_1K, gradient_KL.T, ratio_LK])
        return Row(
            self.epoch,
            self.step,
            self.time,
            self.members.numpy(),
            self.alive_K.cpu().numpy(),
            values,
        )


@dataclass(frozen=True)
class History:
    """One member's evaluations, in order. `values` is [E, M]; `history["val/loss"]` is a column
    [E].
    """

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
        """The history as a pandas DataFrame, a row an evaluation. Needs the extra `sweep`."""
        require("A history as a DataFrame", "sweep", "pandas")
        import pandas as pd

        return pd.DataFrame(
            {"epoch": self.epoch, "step": self.step, **{name: self[name] for name in self.names}}
        )


class HistoryBuffer:
    """The rows of a population while it trains."""

    def __init__(self, names: tuple[str, ...], num_members: int) -> None:
        self.names, self.num_members = names, num_members
        self.rows: list[Row] = []
        self.starts: list[int] = []  # at which epoch each member began; empty where all did at 0
        self.per_epoch = 0  # steps, known where there are starts

    def append(self, row: Row) -> None:
        self.rows.append(row)

    def histories(self, members: Sequence[int] | None = None) -> list[History]:
        """One history a member, of all or of some: the rows during which it was alive, in its own
        epochs and steps.
        """
        chosen = (
            np.arange(self.num_members) if members is None else np.asarray(members, dtype=np.int64)
        )
        if not self.rows:
            empty = np.zeros(0)
            none = History(
                self.names,
                empty.astype(int),
                empty.astype(int),
                empty,
                np.zeros((0, len(self.names))),
            )
            return [none] * len(chosen)
        place = np.full(self.num_members, -1)
        place[chosen] = np.arange(len(chosen))
        present = np.zeros((len(self.rows), len(chosen)), dtype=bool)
        values = np.full((len(self.rows), len(chosen), len(self.names)), np.nan)
        for e, row in enumerate(self.rows):
            at = place[row.members]
            present[e, at[at >= 0]] = row.alive[at >= 0]
            values[e, at[at >= 0]] = row.values.T[at >= 0]
        epoch, step, time = (
            np.array([getattr(row, key) for row in self.rows]) for key in ("epoch", "step", "time")
        )
        starts = [self.starts[member] if self.starts else 0 for member in chosen]
        return [
            History(
                self.names,
                epoch[seen] - start,
                step[seen] - start * self.per_epoch,
                time[seen],
                values[seen, k],
            )
            for k, start in enumerate(starts)
            for seen in (present[:, k],)
        ]

    def keep(self, members: Sequence[int]) -> None:
        """Forget all but these, which are numbered anew in this order."""
        place = np.full(self.num_members, -1)
        place[np.asarray(members, dtype=np.int64)] = np.arange(len(members))
        kept = []
        for row in self.rows:
            own = place[row.members] >= 0
            if own.any():
                kept.append(
                    dataclasses.replace(
                        row,
                        members=place[row.members][own],
                        alive=row.alive[own],
                        values=row.values[:, own],
                    )
                )
        self.rows, self.num_members = kept, len(members)
        self.starts = [self.starts[member] for member in members] if self.starts else []

"""The measurements of a population in training: stored as matrices, returned member by member.

Shapes: K members, M measured names, E evaluations.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlplab.extras import require
from mlplab.schema import Number
from mlplab.training.population import Population
from mlplab.training.rows import Row, RowBlock, Rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DeviceRow:
    """A row whose values are still on the device.

    It holds metrics [M', K], squared norms of gradient, update and weights by layer [3, K, L], and
    the learning rate.
    """

    epoch: int
    step: int
    time: float
    members: Tensor
    alive_K: Tensor
    values_MK: Tensor
    squares_3KL: Tensor
    lr: Number

    def select(self, selected_K: Tensor | None) -> DeviceRow:
        """The row of these members (bool [K]) alone; of all for None."""
        if selected_K is None:
            return self
        rows = selected_K.nonzero().squeeze(1)
        return dataclasses.replace(
            self,
            members=self.members[rows.cpu()],
            alive_K=self.alive_K[rows],
            values_MK=self.values_MK[:, rows],
            squares_3KL=self.squares_3KL[:, rows],
            lr=self.lr[rows] if isinstance(self.lr, Tensor) else self.lr,
        )

    @functools.cached_property
    def row(self) -> Row:
        """The row, read to the host.

        Its columns are the metrics, the learning rate, the gradient norm of the network and of each
        layer, and |update| / |weights| of each layer.
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


MeasuredRow: TypeAlias = DeviceRow | Row
"""A row of an evaluation, on the device or on the host."""

Objectives: TypeAlias = Sequence[Tensor] | Tensor
"""The objectives of all members at successive steps: one [K] for each, or [S, K]."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the members of a session that are at the same epoch.

    `epoch` and `step` count from the start of these members, `names` are the measured values.
    Values are read when they are asked for, which waits for the device.
    """

    epoch: int
    step: int
    names: tuple[str, ...]
    population: Population  # with the weights of this evaluation, which the next step overwrites
    objectives: Objectives  # of each step since the last evaluation
    device_row: MeasuredRow
    numbers: Sequence[int]  # numbers in the session of the members, by their index in the group
    start: int | None  # epoch at which these members started; None: all members started together
    starts: Sequence[int]
    skipped: int = 0  # evaluations that callbacks were not called with since the last one

    @functools.cached_property
    def _columns(self) -> NDArray[np.bool_]:
        row = self.device_row.row
        selected: NDArray[np.bool_] = row.alive
        if self.start is not None:
            selected = selected & (np.asarray(self.starts)[row.members] == self.start)
        return selected

    @functools.cached_property
    def members(self) -> NDArray[np.int64]:
        """The numbers of the members in training, int64 [K]."""
        return np.asarray(self.numbers).take(self.device_row.row.members[self._columns])

    def concerns(self, numbers: Sequence[int], index: int) -> bool:
        """Whether it is an evaluation of the member with this index in the group of `numbers`."""
        return self.numbers is numbers and (self.start is None or self.starts[index] == self.start)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The values of these members, float64 [K]. Raises KeyError for an unknown name."""
        if name not in self.names:
            raise KeyError(f"{name!r} is not measured; measured are {', '.join(self.names)}")
        return np.asarray(self.device_row.row.values[self.names.index(name), self._columns])


@dataclass(frozen=True, repr=False)
class History:
    """One member's evaluations, in order.

    It is a mapping from names to columns, each [E]: `history["val/loss"]`, `"val/f1" in history`,
    `dict(history.items())`. Its length is E, the number of evaluations. An unknown name raises
    KeyError with the nearest name. A notebook shows the curves.
    """

    names: tuple[str, ...]
    epoch: np.ndarray
    step: np.ndarray
    time: np.ndarray
    values: np.ndarray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> History:
        """Return a history without evaluations."""
        none = np.zeros(0, int)
        return cls(names, none, none, np.zeros(0), np.zeros((0, len(names))))

    def __getitem__(self, name: str) -> np.ndarray:
        if name in ("epoch", "step"):
            return self.epoch if name == "epoch" else self.step
        if name not in self.names:
            near = difflib.get_close_matches(str(name), self, 1)
            raise KeyError(
                f"{name!r} is not measured;{f' did you mean {near[0]!r}?' if near else ''} measured"
                f" are {', '.join(self)}"
            )
        return self.values[:, self.names.index(name)]

    def keys(self) -> tuple[str, ...]:
        """The names of the columns: epoch, step and the measurements."""
        return ("epoch", "step", *self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def items(self) -> list[tuple[str, np.ndarray]]:
        """The columns with their names."""
        return [(name, self[name]) for name in self]

    def __repr__(self) -> str:
        evaluations = "1 evaluation" if len(self) == 1 else f"{len(self)} evaluations"
        return f"History({evaluations} of {', '.join(self)})"

    def _repr_html_(self) -> str:
        """Return the curves as HTML, which notebooks show."""
        from mlplab.display.fragments import history_html

        return history_html(dict(self.items()))

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The measurements by name, each [E]."""
        return dict(zip(self.names, self.values.T, strict=True))

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas DataFrame with one row per evaluation. Needs the extra `sweep`."""
        require("A history as a DataFrame", "sweep", "pandas")
        import pandas as pd

        return pd.DataFrame({"epoch": self.epoch, "step": self.step, **self.columns})


def _single_history(names: tuple[str, ...], blocks: Sequence[RowBlock]) -> History:
    """The history of a member that has been alone."""
    alive = np.concatenate([block.alive[:, 0] for block in blocks])
    epoch, step, time = (
        np.concatenate([getattr(block, key) for block in blocks])[alive]
        for key in ("epoch", "step", "time")
    )
    values = np.concatenate([block.values[:, :, 0] for block in blocks])
    return History(names, epoch, step, time, values[alive])


class HistoryBuffer:
    """The rows of a population in training."""

    def __init__(self, names: tuple[str, ...], num_members: int) -> None:
        self.names, self.num_members = names, num_members
        self.rows = Rows()
        self.starts: list[int] = []  # epoch at which each member started; empty: all at 0
        self.per_epoch = 0  # steps per epoch, set if there are starts

    def histories(self, members: Sequence[int] | None = None) -> list[History]:
        """Return one history per member, of all members or of those listed.

        A history has the rows during which the member was alive. Its epochs and steps count from
        the member's start.
        """
        indices = (
            np.arange(self.num_members) if members is None else np.asarray(members, dtype=np.int64)
        )
        if not self.rows:
            return [History.empty(self.names)] * len(indices)
        if self.num_members == 1 and not self.starts:
            return [_single_history(self.names, list(self.rows.blocks()))] * len(indices)
        column = np.full(self.num_members, -1)  # of each member among the histories, -1: none
        column[indices] = np.arange(len(indices))
        present = np.zeros((len(self.rows), len(indices)), dtype=bool)
        values = np.full((len(self.rows), len(indices), len(self.names)), np.nan)
        blocks, e = list(self.rows.blocks()), 0
        for block in blocks:  # each of the same members
            evaluations, at = slice(e, e + len(block)), column[block.members]
            present[evaluations, at[at >= 0]] = block.alive[:, at >= 0]
            values[evaluations, at[at >= 0]] = block.values.transpose(0, 2, 1)[:, at >= 0]
            e += len(block)
        epoch, step, time = (
            np.concatenate([getattr(block, key) for block in blocks])
            for key in ("epoch", "step", "time")
        )
        starts = [self.starts[member] if self.starts else 0 for member in indices]
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
        """Discard all other members, and renumber these in the given order."""
        new_index = np.full(self.num_members, -1)
        new_index[np.asarray(members, dtype=np.int64)] = np.arange(len(members))
        rows = Rows()
        for block in self.rows.blocks():
            stays = new_index[block.members] >= 0
            if stays.any():
                rows.append(block.select(stays, new_index[block.members][stays]))
        self.rows, self.num_members = rows, len(members)
        self.starts = [self.starts[member] for member in members] if self.starts else []

"""The evaluations of a population, in order: single ones, or many in the arrays of a block.

Shapes: K members, M measured names, E evaluations.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One evaluation of the members with the indices `members`: values [M, K], which may be NaN."""

    epoch: int
    step: int
    time: float  # seconds since 1970
    members: np.ndarray  # int64 [K]
    alive: np.ndarray  # bool [K]: False if the member had ended before
    values: np.ndarray  # float64 [M, K]

    @property
    def row(self) -> Row:
        """The row itself, as that of a DeviceRow."""
        return self


@dataclass(frozen=True)
class RowBlock:
    """Consecutive evaluations of the same members."""

    epoch: NDArray[np.int64]  # [E], as the next two
    step: NDArray[np.int64]
    time: NDArray[np.float64]
    members: NDArray[np.int64]  # [K]
    alive: NDArray[np.bool_]  # [E, K]
    values: NDArray[np.float64]  # [E, M, K]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> RowBlock:
        """Return the rows, which have the same members, as a block."""
        return cls(
            np.array([row.epoch for row in rows]),
            np.array([row.step for row in rows]),
            np.array([row.time for row in rows]),
            rows[0].members,
            np.stack([row.alive for row in rows]),
            np.stack([row.values for row in rows]),
        )

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, e: int) -> Row:
        return Row(
            int(self.epoch[e]),
            int(self.step[e]),
            float(self.time[e]),
            self.members,
            self.alive[e],
            self.values[e],
        )

    def __iter__(self) -> Iterator[Row]:
        return (self[e] for e in range(len(self)))

    def sliced(self, evaluations: slice) -> RowBlock:
        """Some of the evaluations as a block."""
        return RowBlock(
            self.epoch[evaluations],
            self.step[evaluations],
            self.time[evaluations],
            self.members,
            self.alive[evaluations],
            self.values[evaluations],
        )

    def select(self, selected: NDArray[np.bool_], members: NDArray[np.int64]) -> RowBlock:
        """The block of some members (bool [K]), which get new indices."""
        return dataclasses.replace(
            self,
            members=members,
            alive=self.alive[:, selected],
            values=self.values[:, :, selected],
        )


class Rows(Sequence[Row]):
    """A sequence of rows, to which single ones and blocks are added. A block stays in its arrays:
    a million evaluations of a lone member are few objects.
    """

    def __init__(self, items: Iterable[Row | RowBlock] = ()) -> None:
        self._items: list[Row | RowBlock] = []
        self._ends: list[int] = []  # the number of rows up to and including each item
        self += items

    def append(self, item: Row | RowBlock) -> None:
        """Add a row, or the rows of a block."""
        length = len(item) if isinstance(item, RowBlock) else 1
        if length:
            self._items.append(item)
            self._ends.append(len(self) + length)

    def __iadd__(self, items: Iterable[Row | RowBlock]) -> Rows:
        for item in items._items if isinstance(items, Rows) else items:
            self.append(item)
        return self

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[e] for e in range(*index.indices(len(self)))]
        e = range(len(self))[index]
        at = bisect_right(self._ends, e)
        item = self._items[at]
        return item[e - self._ends[at]] if isinstance(item, RowBlock) else item

    def __iter__(self) -> Iterator[Row]:
        for item in self._items:
            yield from item if isinstance(item, RowBlock) else (item,)

    def blocks(self) -> Iterator[RowBlock]:
        """The rows as blocks; consecutive single ones of the same members share one."""

        def key(item: Row | RowBlock) -> object:
            return item.members.tobytes() if isinstance(item, Row) else id(item)

        for _, consecutive in groupby(self._items, key=key):
            first, *others = consecutive
            if isinstance(first, RowBlock):
                yield first
            else:
                yield RowBlock.of([first, *(row for row in others if isinstance(row, Row))])

"""Data that stays on the device, and the portions of it that each update uses.

Shapes: K members, N examples, B examples of a batch, F features, T targets. Where all members see
the same data the first dimension is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlplab import randomness

BLOCK = 1 << 22  # numbers gathered or evaluated at once: bounds the memory of many members
# numbers of a layer evaluated at once on a CPU: they stay in its caches, and no page is taken from
# the system anew
CPU_BLOCK = 1 << 18


@dataclass(frozen=True)
class DeviceDataset:
    """One part of the data (train, val or test) on the device: x [K or 1, N, F]; y [K or 1, N]
    int64 or [K or 1, N, T]; weights [K or 1, N] or None.

    mask, bool [K, N], is False for rows that only fill up a member's share; their weight is 0.
    """

    x: Tensor
    y: Tensor
    weights: Tensor | None = None
    mask: Tensor | None = None

    @property
    def num_examples(self) -> int:
        return self.x.shape[1]

    @property
    def shared(self) -> bool:
        return self.x.shape[0] == 1

    def select(self, rows: Tensor) -> DeviceDataset:
        """The data of some of the members."""
        if self.shared:
            return self
        weights = (
            self.weights
            if self.weights is None or self.weights.shape[0] == 1
            else self.weights[rows]
        )
        return DeviceDataset(
            self.x[rows], self.y[rows], weights, self.mask[rows] if self.mask is not None else None
        )

    def blocks(
        self, num_members: int, width: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """The examples in their order for all K members, in pieces of at most (CPU_)BLOCK numbers
        in a layer of `width` units.
        """
        size = max(
            1, (CPU_BLOCK if self.x.device.type == "cpu" else BLOCK) // (num_members * width)
        )
        for start in range(0, self.num_examples, size):
            x, y = self.x[:, start : start + size], self.y[:, start : start + size]
            w = self.weights[:, start : start + size] if self.weights is not None else None
            yield (
                x.expand(num_members, -1, -1),
                y.expand(num_members, *y.shape[1:]),
                w.expand(num_members, -1) if w is not None else None,
            )


def resident(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], dtype: torch.dtype, device: torch.device
) -> DeviceDataset:
    """The same part of K members' data; members whose arrays are the same objects share them."""
    first_x, first_y = parts[0]
    shared = all(x is first_x and y is first_y for x, y in parts)
    chosen = parts[:1] if shared else parts
    x, y = (torch.from_numpy(_stacked(arrays)) for arrays in zip(*chosen, strict=True))
    x = x.to(device, dtype)
    return DeviceDataset(x, y.to(device) if y.dtype == torch.int64 else y.to(device, dtype))


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """[K, ...]; one array is not copied, for there may be no room for it twice, unless torch, which
    may write, must not share it.
    """
    return np.stack(arrays) if len(arrays) > 1 or not arrays[0].flags.writeable else arrays[0][None]


class Batches:
    """The batches of every epoch: a pure function of (seed, epoch), member by member.

    An epoch whose last batch would be a single example leaves it out when `at_least_two` is set:
    batch normalization has no variance of one.
    """

    def __init__(
        self,
        data: DeviceDataset,
        keys_K1: Tensor,
        portion: int,
        shuffle: bool,
        drop_last: bool,
        at_least_two: bool = False,
    ) -> None:
        self.data, self.keys_K1, self.portion, self.shuffle = data, keys_K1, portion, shuffle
        count, rest = divmod(data.num_examples, portion)
        whole = rest == 0 or drop_last or (at_least_two and rest == 1 and count > 0)
        self.per_epoch = count if whole else count + 1
        self.used = count * portion if whole else data.num_examples
        self._index_N = torch.arange(data.num_examples, device=data.x.device)

    @property
    def num_members(self) -> int:
        return self.keys_K1.shape[0]

    def epoch(
        self, epoch: int | Tensor, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """(x [K, B, F], y [K, B] or [K, B, T], weights [K, B] or None) of this epoch (1-based;
        int64 [K, 1] where members differ), from batch `first` on.
        """
        order_KN = (
            randomness.permutations(self.keys_K1, epoch, self._index_N) if self.shuffle else None
        )
        width = self.portion * max(
            1, BLOCK // max(1, self.portion * self.num_members * self.data.x.shape[2])
        )
        for start in range(first * self.portion, self.used, width):
            stop = min(start + width, self.used)
            x, y, w = self._gather(order_KN, start, stop)
            yield from zip(
                torch.split(x, self.portion, 1),
                torch.split(y, self.portion, 1),
                (
                    torch.split(w, self.portion, 1)
                    if w is not None
                    else [None] * (-(-(stop - start) // self.portion))
                ),
                strict=True,
            )

    def _gather(
        self, order_KN: Tensor | None, start: int, stop: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        data, members = self.data, self.num_members
        if order_KN is None:
            parts = [
                part[:, start:stop] if part is not None else None
                for part in (data.x, data.y, data.weights)
            ]
            x, y, w = (
                part.expand(members, *part.shape[1:]) if part is not None else None
                for part in parts
            )
            assert x is not None
            assert y is not None
            return x, y, w
        index_KB = order_KN[:, start:stop]
        return (
            _take(data.x, index_KB),
            _take(data.y, index_KB),
            _take(data.weights, index_KB) if data.weights is not None else None,
        )

    def select(self, data: DeviceDataset, rows: Tensor) -> Batches:
        """The batches of some of the members, unchanged."""
        other = Batches.__new__(Batches)
        other.__dict__ = {**self.__dict__, "data": data, "keys_K1": self.keys_K1[rows]}
        return other


def _take(values: Tensor, index_KB: Tensor) -> Tensor:
    """values[k, index[k, b]] for every member: [K, B, ...]; values [1 or K, N, ...]."""
    if values.shape[0] > 1:
        offsets = torch.arange(values.shape[0], device=values.device).unsqueeze(1) * values.shape[1]
        index_KB = index_KB + offsets
    flat = values.flatten(0, 1)
    return flat.index_select(0, index_KB.reshape(-1)).view(*index_KB.shape, *values.shape[2:])

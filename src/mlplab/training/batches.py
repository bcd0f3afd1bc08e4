"""Data that stays on the device, and the batches of it that the updates use.

Shapes: K members, N examples, B examples of a batch, F features, T targets. The first dimension is
1 if all members have the same data.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from mlplab import randomness
from mlplab.data.preparation.examples import Examples

Batch = tuple[Tensor, Tensor, "Tensor | None"]
"""x [K, B, F], y [K, B] or [K, B, T], and the weights of the examples [K, B] or None."""

CHUNK_SIZE = 1 << 22  # numbers gathered or evaluated at once: bounds the memory of many members
# numbers of a layer evaluated at once on a CPU: they fit into its caches, and no new pages are
# requested from the system
CPU_CHUNK_SIZE = 1 << 18


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """One split (train, val or test) on the device.

    x is [K or 1, N, F]; y is int64 [K or 1, N] or [K or 1, N, T]; weights are [K or 1, N] or None;
    mask is bool [K, N] or None, and False for padding rows, whose weight is 0.
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
        """The data of the members at `rows` (int64 indices)."""
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

    def chunks(self, num_members: int, width: int) -> Iterator[Batch]:
        """Yield (x, y, weights or None) of all K members in chunks of consecutive examples.

        The size of a chunk is such that a layer of `width` units has at most (CPU_)CHUNK_SIZE
        numbers.
        """
        size = max(
            1,
            (CPU_CHUNK_SIZE if self.x.device.type == "cpu" else CHUNK_SIZE)
            // (num_members * width),
        )
        for start in range(0, self.num_examples, size):
            x, y = self.x[:, start : start + size], self.y[:, start : start + size]
            w = self.weights[:, start : start + size] if self.weights is not None else None
            yield (
                x.expand(num_members, -1, -1),
                y.expand(num_members, *y.shape[1:]),
                w.expand(num_members, -1) if w is not None else None,
            )


_shared: WeakKeyDictionary[Examples, WeakValueDictionary[Hashable, DeviceDataset]]
_shared = WeakKeyDictionary()
"""The datasets that trainings of these splits have now, so that each exists once."""


def device_dataset(
    members: Sequence[Examples], dtype: torch.dtype, device: torch.device
) -> DeviceDataset:
    """Copy the same split of K members to the device.

    The data is stored once if the splits of all members have the same arrays.
    """
    first = members[0]
    if any(split.x is not first.x or split.y is not first.y for split in members):
        return _copied(members, dtype, device)
    of_split = _shared.setdefault(first, WeakValueDictionary())
    if (dataset := of_split.get((dtype, device))) is None:
        dataset = of_split[dtype, device] = _copied([first], dtype, device)
    return dataset


def _copied(members: Sequence[Examples], dtype: torch.dtype, device: torch.device) -> DeviceDataset:
    x, y = (torch.from_numpy(_stacked([getattr(m, key) for m in members])) for key in ("x", "y"))
    x = x.to(device, dtype)
    return DeviceDataset(x, y.to(device) if y.dtype == torch.int64 else y.to(device, dtype))


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack to [K, ...]. A single writable array is not copied, to save memory.

    A read-only array is copied, since torch requires writable memory.
    """
    return np.stack(arrays) if len(arrays) > 1 or not arrays[0].flags.writeable else arrays[0][None]


class Batches:
    """The batches of every epoch: a pure function of (seed, epoch) for each member.

    With `at_least_two`, a last batch of a single example is left out, since batch normalization
    needs a variance.
    """

    def __init__(
        self,
        data: DeviceDataset,
        keys_K1: Tensor,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        at_least_two: bool = False,
    ) -> None:
        self.data, self.keys_K1 = data, keys_K1
        self.batch_size, self.shuffle = batch_size, shuffle
        count, rest = divmod(data.num_examples, batch_size)
        whole = rest == 0 or drop_last or (at_least_two and rest == 1 and count > 0)
        self.per_epoch = count if whole else count + 1
        self.used = count * batch_size if whole else data.num_examples

    @property
    def num_members(self) -> int:
        return self.keys_K1.shape[0]

    def epoch(self, epoch: int | Tensor, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, starting at batch `first`.

        Epochs count from 1; `epoch` is int64 [K, 1] if the members are at different epochs.
        """
        order = (
            randomness.ExampleOrder(self.keys_K1, epoch, self.data.num_examples)
            if self.shuffle
            else None
        )
        width = self.batch_size * max(
            1, CHUNK_SIZE // max(1, self.batch_size * self.num_members * self.data.x.shape[2])
        )
        for start in range(first * self.batch_size, self.used, width):
            stop = min(start + width, self.used)
            x, y, w = self._gather(order, start, stop)
            yield from zip(
                torch.split(x, self.batch_size, 1),
                torch.split(y, self.batch_size, 1),
                (
                    torch.split(w, self.batch_size, 1)
                    if w is not None
                    else [None] * (-(-(stop - start) // self.batch_size))
                ),
                strict=True,
            )

    def _gather(self, order: randomness.ExampleOrder | None, start: int, stop: int) -> Batch:
        data, members = self.data, self.num_members
        if order is None:
            x, y, w = (
                tensor[:, start:stop].expand(members, -1, *tensor.shape[2:])
                if tensor is not None
                else None
                for tensor in (data.x, data.y, data.weights)
            )
            assert x is not None
            assert y is not None
            return x, y, w
        index_KB = order.at(torch.arange(start, stop, device=data.x.device))
        return (
            _take(data.x, index_KB),
            _take(data.y, index_KB),
            _take(data.weights, index_KB) if data.weights is not None else None,
        )

    def select(self, data: DeviceDataset, rows: Tensor) -> Batches:
        """The batches of the members at `rows`; their order does not change."""
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

"""Random numbers as a function of (seed, stream, counter).

They never depend on other members, on logging or on evaluation. There are two kinds of generator.
`numpy_generator` and `torch_generator` return ordinary generators with a derived seed, for values
drawn once (data, split, initial weights). `bits` and `ExampleOrder` are counter-based, vectorized
over the members of a population, for values drawn every epoch or step (order of examples, dropout).
They have no state to save and give the same numbers on CPU and CUDA.

Shapes: K members, N numbers per member, B positions in an epoch, T entries of a table.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derived_seed(seed: int, stream: str, *counters: int | str) -> int:
    """Return a 63-bit seed for one stream of a master seed.

    It is the BLAKE2b hash of the string "seed/stream/counters".
    """
    name = "/".join(map(str, (seed, stream, *counters)))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, stream: str, *counters: int | str) -> np.random.Generator:
    """Return a new NumPy generator for this stream."""
    return np.random.default_rng(derived_seed(seed, stream, *counters))


def torch_generator(seed: int, stream: str, *counters: int | str) -> torch.Generator:
    """Return a new torch generator on the CPU for this stream."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, *counters))


def keys(seeds: list[int], stream: str, device: torch.device | str = "cpu") -> Tensor:
    """Return the members' keys for one stream, int64 [K, 1]."""
    return torch.tensor(
        [[derived_seed(seed, stream)] for seed in seeds], dtype=torch.int64, device=device
    )


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
# 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MIX_1, _MIX_2 = -4658895280553007687, -7723592293110705685


def _mix(x: Any) -> Any:
    """SplitMix64's finalizer, a bijection that scatters neighboring numbers; overwrites x.

    int64 arithmetic wraps around; the masks turn arithmetic right shifts into logical ones. Source:
    Steele, Lea and Flood 2014 (Stafford's mix 13).
    """
    x ^= (x >> 30) & ((1 << 34) - 1)
    x *= _MIX_1
    x ^= (x >> 27) & ((1 << 37) - 1)
    x *= _MIX_2
    x ^= (x >> 31) & ((1 << 33) - 1)
    return x


def bits(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor) -> Tensor:
    """Return 64 random bits for each member and index, int64 [K, N].

    They depend only on (key, counter, index). The counter may differ by member: [K, 1].
    """
    counter_K1 = counter if isinstance(counter, Tensor) else torch.full_like(keys_K1, counter)
    stream_K1 = _mix(keys_K1 + _mix(counter_K1 * _GOLDEN))
    bits_KN: Tensor = _mix(torch.addcmul(stream_K1, index_N + 1, torch.full_like(index_N, _GOLDEN)))
    return bits_KN


def uniforms(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Return uniform numbers in [0, 1), [K, N], from the top 24 (float32) or 53 (float64) bits."""
    width = 53 if dtype == torch.float64 else 24
    random_KN = (bits(keys_K1, counter, index_N) >> (64 - width)).bitwise_and_((1 << width) - 1)
    return random_KN.to(dtype).mul_(2.0**-width)


MAX_RANKED = 32
"""Up to this many examples, an order consists of the ranks of random numbers."""
MIN_FEW_ROUNDS = 128
"""From this many examples on, 8 rounds of the network are enough; below, there are 12."""
MAX_TABLE = 1 << 25
"""Numbers in the tables of the members that are looked up together: bounds the memory."""
MAX_CPU_TABLE = 1 << 15
"""The same on a CPU, to fit into its cache."""


class ExampleOrder:
    """The order of N examples in one epoch, for K members: keyed bijections of range(N).

    Looking up an example costs O(1), after O(sqrt(N)) for the tables of the epoch. The formula uses
    64-bit integers that wrap around. Number i of epoch e is z(key + (e * n + i) * g), with
    SplitMix64's finalizer z, g = 0x9E3779B97F4A7C15, and the count n of numbers per epoch.

    Up to 32 examples, n = N, and position p has the rank of number p among the signed numbers,
    whose last 5 bits are replaced by their i. Every permutation is equally likely.

    Above, it is a Feistel network of R = 12 rounds (8 from 128 examples on) on a grid with at least
    N cells (`grid_shape`), and n = R / 2 * (rows + columns). Position p starts in row p // columns
    and column p % columns. Let u(i) be the upper 32 bits of number i. For each
    t in range(0, n, rows + columns), the row increases by u(t + column) * rows >> 32 modulo rows,
    then the column by u(t + columns + row) * columns >> 32 modulo columns. If the resulting
    cell, row * columns + column, is not below N, the network is applied to it again.

    Source: Black and Rogaway 2002, Ciphers with Arbitrary Finite Domains (generalized Feistel,
    cycle walking). With fewer rounds, the differences between neighbors are not uniform.
    """

    def __init__(self, keys_K1: Tensor, epoch: int | Tensor, num_examples: int) -> None:
        """Compute the tables. The epoch is int64 [K, 1] if the members are at different ones."""
        self._method = method = _method(num_examples, keys_K1.device)
        groups = [
            slice(start, start + method.group_size)
            for start in range(0, len(keys_K1), method.group_size)
        ]
        self._tables = [
            method.tables(
                _numbers(
                    keys_K1[group],
                    epoch if isinstance(epoch, int) else epoch[group],
                    method.index_T,
                )
            )
            for group in groups
        ]

    def at(self, position_B: Tensor) -> Tensor:
        """Return the indices of the examples at these positions of the epoch, int64 [K, B]."""
        position = _array(position_B)
        return torch.cat(
            [torch.as_tensor(self._method.indices(table, position)) for table in self._tables]
        )


def _array(tensor: Tensor) -> Any:
    """Return the NumPy array that shares the memory of a tensor on the CPU; others stay tensors.

    The operators give the same, but NumPy's take a third of the time for few numbers.
    """
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def _select(values_KT: Any, index_B: Any) -> Any:
    """Return these columns, [K, B]. NumPy's take is several times faster than its brackets."""
    if isinstance(values_KT, Tensor):
        return values_KT.index_select(1, index_B)
    return values_KT.take(index_B, 1)


def _numbers(keys_K1: Tensor, epoch: int | Tensor, index_T: Any) -> Any:
    """Return block number `epoch` of T numbers of each key's SplitMix64 sequence, int64 [K, T]."""
    block = _array(epoch) if isinstance(epoch, Tensor) else epoch
    return _mix((index_T + block * len(index_T)) * _GOLDEN + _array(keys_K1))


def grid_shape(num_examples: int) -> tuple[int, int]:
    """Return the (rows, columns) of the smallest grid for this number of examples, above 32.

    It has rows <= columns <= 2 * rows and an even number of cells, since with odd rows and columns
    every permutation would be even. Of several, it has the most rows.
    """
    best = (0, 0)
    for rows in range(math.isqrt(num_examples) + 1, 1, -1):
        columns = max(rows, -(-num_examples // rows))
        columns += rows * columns % 2
        if columns > 2 * rows:
            break
        if not best[0] or rows * columns < best[0] * best[1]:
            best = rows, columns
    return best


def _max_table(device: torch.device) -> int:
    return MAX_CPU_TABLE if device.type == "cpu" else MAX_TABLE


class _Ranking:
    """Orders of at most MAX_RANKED examples by the ranks of random numbers."""

    def __init__(self, num_examples: int, device: torch.device) -> None:
        self.index_T = _array(torch.arange(num_examples, device=device))
        # a comparison takes a byte
        self.group_size = max(1, 8 * _max_table(device) // num_examples**2)

    def tables(self, number_KT: Any) -> Any:
        number_TK = torch.as_tensor(number_KT & -MAX_RANKED | self.index_T).t().contiguous()
        less_TTK = (number_TK[:, None] < number_TK).view(torch.uint8)
        return _array(less_TTK.sum(0, dtype=torch.uint8).t().long())

    def indices(self, rank_KT: Any, position_B: Any) -> Any:
        return _select(rank_KT, position_B)


class _FeistelNetwork:
    """Orders of more examples by rounds of shifts on a grid.

    The row and the column are reduced modulo their sizes only at the end. Until then each round's
    table is repeated as often as needed: `row_entries` and `column_entries` are the numbers of the
    repeated tables of all rounds, and `jump_T` moves on to the table of the next round.
    """

    def __init__(self, num_examples: int, device: torch.device) -> None:
        self.num_examples = num_examples
        self.rows, self.columns = rows, columns = grid_shape(num_examples)
        self.num_pairs = 4 if num_examples >= MIN_FEW_ROUNDS else 6
        sizes, jumps, row_entries, column_entries = [], [], [], []
        for pair in range(self.num_pairs):
            first = pair * (rows + columns)
            row_entries += (pair + 1) * list(range(first, first + columns))
            column_entries += (pair + 2) * list(range(first + columns, first + columns + rows))
            sizes += columns * [rows] + rows * [columns]
            jumps += columns * [(pair + 1) * rows if pair else 0] + rows * [(pair + 1) * columns]
        self.group_size = max(1, _max_table(device) // len(row_entries + column_entries))
        self.index_T, self.size_T, self.jump_T, self.row_entries, self.column_entries = (
            _array(torch.tensor(numbers, device=device))
            for numbers in (range(len(sizes)), sizes, jumps, row_entries, column_entries)
        )
        self.member_K1 = _array(torch.arange(self.group_size, device=device))[:, None]
        self.outside = _array(torch.arange(num_examples, rows * columns, device=device))

    def tables(self, number_KT: Any) -> Any:
        shift_KT = (((number_KT >> 32) & ((1 << 32) - 1)) * self.size_T >> 32) + self.jump_T
        return tuple(
            _select(shift_KT, entries).reshape(-1)
            for entries in (self.row_entries, self.column_entries)
        )

    def indices(self, tables: Any, position_B: Any) -> Any:
        index_KB = self._cells(tables, position_B)
        if not len(self.outside):
            return index_KB
        outside_KB = self._cells(tables, self.outside)
        for i, cell in enumerate(range(self.num_examples, self.rows * self.columns)):
            image_K1 = outside_KB[:, i : i + 1]
            index_KB += (index_KB == cell) * (image_K1 - cell)
            outside_KB = outside_KB + (outside_KB == cell) * (image_K1 - cell)
        return index_KB

    def _cells(self, tables: Any, position_B: Any) -> Any:
        row_shifts, column_shifts = tables
        member_K1 = self.member_K1[: len(row_shifts) // len(self.row_entries)]
        row = (position_B // self.columns + member_K1 * len(self.column_entries)).reshape(-1)
        column = (position_B % self.columns + member_K1 * len(self.row_entries)).reshape(-1)
        for _ in range(self.num_pairs):
            row += row_shifts.take(column)
            column += column_shifts.take(row)
        index = row % self.rows * self.columns + column % self.columns
        return index.reshape(len(member_K1), -1)


@lru_cache(maxsize=16)
def _method(num_examples: int, device: torch.device) -> _Ranking | _FeistelNetwork:
    return (_Ranking if num_examples <= MAX_RANKED else _FeistelNetwork)(num_examples, device)

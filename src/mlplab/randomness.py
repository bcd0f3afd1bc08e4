"""Random numbers as a function of (seed, stream, counter).

They never depend on other members, on logging or on evaluation. There are two kinds of generator.
`numpy_generator` and `torch_generator` return ordinary generators with a derived seed, for values
drawn once (data, split, initial weights). `bits` is a counter-based generator, vectorized over the
members of a population, for values drawn every epoch or step (order of examples, dropout). It has
no state to save and gives the same numbers on CPU and CUDA.

Shapes: K members, N numbers per member.
"""

from __future__ import annotations

import hashlib

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


MAX_TORCH_SORT = 1 << 12
"""Up to this many numbers torch sorts faster than NumPy, which uses vector instructions."""
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
# 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MIX_1, _MIX_2 = -4658895280553007687, -7723592293110705685


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer, a bijection that scatters neighboring numbers; overwrites x.

    int64 arithmetic wraps around; the masks turn arithmetic right shifts into logical ones. Source:
    Steele, Lea and Flood 2014 (Stafford's mix 13).
    """
    x.bitwise_xor_((x >> 30).bitwise_and_((1 << 34) - 1)).mul_(_MIX_1)
    x.bitwise_xor_((x >> 27).bitwise_and_((1 << 37) - 1)).mul_(_MIX_2)
    return x.bitwise_xor_((x >> 31).bitwise_and_((1 << 33) - 1))


def bits(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor) -> Tensor:
    """Return 64 random bits for each member and index, int64 [K, N].

    They depend only on (key, counter, index). The counter may differ by member: [K, 1].
    """
    counter_K1 = counter if isinstance(counter, Tensor) else torch.full_like(keys_K1, counter)
    stream_K1 = _mix(keys_K1 + _mix(counter_K1 * _GOLDEN))
    return _mix(torch.addcmul(stream_K1, index_N + 1, torch.full_like(index_N, _GOLDEN)))


def permutations(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor) -> Tensor:
    """Return a uniformly random permutation of N examples for each member, int64 [K, N].

    index_N is arange(N).
    """
    bits_KN = bits(keys_K1, counter, index_N)
    # no two numbers are equal, so every sorting algorithm gives the same order
    if bits_KN.device.type == "cpu" and bits_KN.numel() > MAX_TORCH_SORT:
        return torch.from_numpy(np.argsort(bits_KN.numpy(), axis=1))
    return bits_KN.argsort(dim=1)


def uniforms(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Return uniform numbers in [0, 1), [K, N], from the top 24 (float32) or 53 (float64) bits."""
    width = 53 if dtype == torch.float64 else 24
    random_KN = (bits(keys_K1, counter, index_N) >> (64 - width)).bitwise_and_((1 << width) - 1)
    return random_KN.to(dtype).mul_(2.0**-width)

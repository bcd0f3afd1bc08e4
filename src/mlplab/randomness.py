"""Every random number is a function of (seed, stream, counter): never of what trains beside it,
logs or is evaluated.

Two kinds of generator serve this. `numpy_generator` and `torch_generator` are ordinary generators
with a derived seed, for what is drawn once (data, split, initial weights). `bits` is a
counter-based generator, vectorized over the members of a population, for what is drawn at every
epoch or step (order of examples, dropout): it has no state to save, and gives the same numbers on
CPU and CUDA.

Shapes: K members, N numbers a member.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

STREAMS = ("data", "split", "init", "order", "dropout")


def derived_seed(seed: int, stream: str, *counters: int | str) -> int:
    """A 63-bit seed for one stream of one master seed. Source: BLAKE2b over the text
    "seed/stream/counters".
    """
    text = "/".join(map(str, (seed, stream, *counters)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, stream: str, *counters: int | str) -> np.random.Generator:
    """A fresh NumPy generator of this stream."""
    return np.random.default_rng(derived_seed(seed, stream, *counters))


def torch_generator(seed: int, stream: str, *counters: int | str) -> torch.Generator:
    """A fresh CPU torch generator of this stream."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, *counters))


def keys(seeds: list[int], stream: str, device: torch.device | str = "cpu") -> Tensor:
    """The members' keys of one stream: int64 [K, 1]."""
    return torch.tensor(
        [[derived_seed(seed, stream)] for seed in seeds], dtype=torch.int64, device=device
    )


SMALL = 1 << 12
"""Numbers up to which torch sorts faster than NumPy, which has vector instructions for it."""
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
# 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MIX_1, _MIX_2 = -4658895280553007687, -7723592293110705685


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer, a bijection that scatters neighboring numbers. Source: Steele, Lea,
    Flood 2014 (Stafford's mix 13).

    int64 arithmetic wraps; the masks turn arithmetic into logical right shifts. The argument is
    overwritten.
    """
    x.bitwise_xor_((x >> 30).bitwise_and_((1 << 34) - 1)).mul_(_MIX_1)
    x.bitwise_xor_((x >> 27).bitwise_and_((1 << 37) - 1)).mul_(_MIX_2)
    return x.bitwise_xor_((x >> 31).bitwise_and_((1 << 33) - 1))


def bits(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor) -> Tensor:
    """64 random bits for each member and index: int64 [K, N], a function of (key, counter, index)
    alone. A counter may differ by member: [K, 1].
    """
    counter_K1 = counter if isinstance(counter, Tensor) else torch.full_like(keys_K1, counter)
    stream_K1 = _mix(keys_K1 + _mix(counter_K1 * _GOLDEN))
    return _mix(torch.addcmul(stream_K1, index_N + 1, torch.full_like(index_N, _GOLDEN)))


def permutations(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor) -> Tensor:
    """A uniformly random order of N examples for each member: int64 [K, N]. index_N is
    arange(N).
    """
    bits_KN = bits(keys_K1, counter, index_N)
    # no two are equal, so that all ways to sort give one order
    if bits_KN.device.type == "cpu" and bits_KN.numel() > SMALL:
        return torch.from_numpy(np.argsort(bits_KN.numpy(), axis=1))
    return bits_KN.argsort(dim=1)


def uniforms(keys_K1: Tensor, counter: int | Tensor, index_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniform numbers in [0, 1): [K, N], made of the top 24 (float32) or 53 (float64) bits."""
    width = 53 if dtype == torch.float64 else 24
    random_KN = (bits(keys_K1, counter, index_N) >> (64 - width)).bitwise_and_((1 << width) - 1)
    return random_KN.to(dtype).mul_(2.0**-width)

"""The record format of TensorBoard's event files: each payload framed by its length and two
checksums.

Shapes: N records, L bytes of one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_CHUNK = 256  # bytes that one table of contributions covers


def frame(payloads: Sequence[bytes]) -> bytes:
    """The payloads as records, one behind the other: length (8 bytes), its checksum (4), payload,
    its checksum (4).

    Source: the TFRecord format, tensorflow.org/tutorials/load_data/tfrecord.
    """
    rows: dict[int, list[int]] = {}
    for row, payload in enumerate(payloads):
        rows.setdefault(len(payload), []).append(row)
    pieces = [b""] * (3 * len(payloads))
    pieces[1::3] = payloads
    for length, places in rows.items():
        same_NL = np.frombuffer(b"".join([payloads[row] for row in places]), np.uint8).reshape(
            len(places), -1
        )
        sums = _masked(crc32c(same_NL)).tobytes()
        head = _head(length)
        for i, row in enumerate(places):
            pieces[3 * row] = head
            pieces[3 * row + 2] = sums[4 * i : 4 * i + 4]
    return b"".join(pieces)


@lru_cache(maxsize=4096)  # the events of a run have few lengths
def _head(length: int) -> bytes:
    """What stands before a payload of this length: the length and its checksum."""
    number = length.to_bytes(8, "little")
    return number + _masked(crc32c(np.frombuffer(number, np.uint8).reshape(1, 8))).tobytes()


def crc32c(rows_NL: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The CRC-32C of each row; rows of at least 4 bytes.

    A checksum is linear over XOR: that of a row is the XOR of what each byte contributes at its
    distance from the end. So rows are checked side by side by one look-up and one reduction a
    chunk, where a plain loop would take a step a byte.
    """
    data_NL = rows_NL.copy()
    data_NL[:, :4] ^= 0xFF  # the initial state, all ones, enters with the first four bytes
    state_N = np.zeros(len(data_NL), "<u4")
    start, stop = 0, data_NL.shape[1] % _CHUNK or _CHUNK
    while start < data_NL.shape[1]:
        chunk_NL = data_NL[:, start:stop]
        if start:
            chunk_NL[:, :4] ^= state_N.view(np.uint8).reshape(-1, 4)
        distances_L = np.arange(stop - start - 1, -1, -1)
        state_N = np.bitwise_xor.reduce(_contributions()[distances_L, chunk_NL], axis=1)
        start, stop = stop, stop + _CHUNK
    return state_N ^ np.uint32(0xFFFFFFFF)


def _masked(sums_N: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The format stores checksums rotated and shifted, so that a checksum of data that holds
    checksums stays meaningful.
    """
    rotated = (sums_N >> np.uint32(15)) | (sums_N << np.uint32(17))
    return (rotated + np.uint32(0xA282EAD8)).astype("<u4")


@cache
def _contributions() -> NDArray[np.uint32]:
    """[distance from the end, byte] -> what the byte adds to the checksum."""
    table = np.empty((_CHUNK, 256), "<u4")
    state = np.arange(256, dtype="<u4")
    for _ in range(8):
        state = (state >> 1) ^ (np.uint32(_POLYNOMIAL) * (state & 1))
    table[0] = state
    for distance in range(1, _CHUNK):
        table[distance] = table[0][table[distance - 1] & 0xFF] ^ (table[distance - 1] >> 8)
    return table

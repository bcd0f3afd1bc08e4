"""The record format of TensorBoard's event files: each payload framed by its length and two checksums.

Shapes: N records, L bytes of one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_CHUNK = 256  # bytes that one table of contributions covers


def frame(payloads: Sequence[bytes]) -> bytes:
    """The payloads as records, one behind the other: length (8 bytes), its checksum (4), payload, its checksum (4).

    Source: the TFRecord format, tensorflow.org/tutorials/load_data/tfrecord.
    """
    lengths_N = np.array([len(payload) for payload in payloads], "<u8")
    length_sums_N = _masked(crc32c(lengths_N.view(np.uint8).reshape(-1, 8)))
    payload_sums_N = np.empty(len(payloads), np.uint32)
    for length in np.unique(lengths_N):
        rows = np.flatnonzero(lengths_N == length).tolist()
        same_NL = np.frombuffer(b"".join(payloads[row] for row in rows), np.uint8).reshape(len(rows), -1)
        payload_sums_N[rows] = _masked(crc32c(same_NL))
    parts = zip(lengths_N, length_sums_N, payloads, payload_sums_N, strict=True)
    return b"".join([piece for n, a, payload, b in parts for piece in (n.tobytes(), a.tobytes(), payload, b.tobytes())])


def crc32c(rows_NL: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The CRC-32C of each row; rows of at least 4 bytes.

    A checksum is linear over XOR: that of a row is the XOR of what each byte contributes at its distance from the end. So rows
    are checked side by side by one look-up and one reduction a chunk, where a plain loop would take a step a byte.
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
    """The format stores checksums rotated and shifted, so that a checksum of data that holds checksums stays meaningful."""
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

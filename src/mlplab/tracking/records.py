"""The record format of TensorBoard's event files: each payload with its length and two checksums.

Shapes: N records, L bytes of one record.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_CHUNK_BYTES = 256  # bytes that one table of contributions covers


def frame(payloads: Sequence[bytes]) -> bytes:
    """Return the payloads as consecutive records: length (8 bytes), checksum of the length (4),
    payload, checksum of the payload (4).

    Source: the TFRecord format, tensorflow.org/tutorials/load_data/tfrecord.
    """
    indices_by_length: dict[int, list[int]] = {}
    for row, payload in enumerate(payloads):
        indices_by_length.setdefault(len(payload), []).append(row)
    segments = [b""] * (3 * len(payloads))
    segments[1::3] = payloads
    for length, indices in indices_by_length.items():
        payloads_NL = np.frombuffer(b"".join([payloads[row] for row in indices]), np.uint8).reshape(
            len(indices), -1
        )
        checksums = _masked(crc32c(payloads_NL)).tobytes()
        header = _header(length)
        for i, row in enumerate(indices):
            segments[3 * row] = header
            segments[3 * row + 2] = checksums[4 * i : 4 * i + 4]
    return b"".join(segments)


def payloads(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of consecutive records, up to the first that is incomplete or whose
    length is damaged. The checksums of the payloads are not verified.
    """
    offset = 0
    while offset + 12 <= len(data):
        length = int.from_bytes(data[offset : offset + 8], "little")
        end = offset + 12 + length + 4
        if end > len(data) or data[offset : offset + 12] != _header(length):
            return
        yield data[offset + 12 : end - 4]
        offset = end


@lru_cache(maxsize=4096)  # the events of a run have few distinct lengths
def _header(length: int) -> bytes:
    """The header of a payload of this length: the length and its checksum."""
    number = length.to_bytes(8, "little")
    return number + _masked(crc32c(np.frombuffer(number, np.uint8).reshape(1, 8))).tobytes()


def crc32c(rows_NL: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the CRC-32C of each row [N]; rows must have at least 4 bytes.

    The checksum is linear over XOR: that of a row is the XOR of the contributions of its bytes,
    each of which depends on the distance from the end. One table look-up and one reduction per
    chunk therefore handle all rows at once, where a plain loop would take one step per byte.
    """
    data_NL = rows_NL.copy()
    data_NL[:, :4] ^= 0xFF  # the initial state, all ones, enters with the first four bytes
    state_N = np.zeros(len(data_NL), "<u4")
    start, stop = 0, data_NL.shape[1] % _CHUNK_BYTES or _CHUNK_BYTES
    while start < data_NL.shape[1]:
        chunk_NL = data_NL[:, start:stop]
        if start:
            chunk_NL[:, :4] ^= state_N.view(np.uint8).reshape(-1, 4)
        distances_L = np.arange(stop - start - 1, -1, -1)
        state_N = np.bitwise_xor.reduce(_contributions()[distances_L, chunk_NL], axis=1)
        start, stop = stop, stop + _CHUNK_BYTES
    return state_N ^ np.uint32(0xFFFFFFFF)


def _masked(sums_N: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Mask the checksums [N] as the format requires: rotated by 15 bits, plus a constant.

    Computing the checksum of data that contains checksums would be unreliable otherwise.
    """
    rotated = (sums_N >> np.uint32(15)) | (sums_N << np.uint32(17))
    return (rotated + np.uint32(0xA282EAD8)).astype("<u4")


@cache
def _contributions() -> NDArray[np.uint32]:
    """[distance from the end, byte] -> contribution of the byte to the checksum."""
    table = np.empty((_CHUNK_BYTES, 256), "<u4")
    state = np.arange(256, dtype="<u4")
    for _ in range(8):
        state = (state >> 1) ^ (np.uint32(_POLYNOMIAL) * (state & 1))
    table[0] = state
    for distance in range(1, _CHUNK_BYTES):
        table[distance] = table[0][table[distance - 1] & 0xFF] ^ (table[distance - 1] >> 8)
    return table

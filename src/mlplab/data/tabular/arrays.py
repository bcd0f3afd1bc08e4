"""Files of arrays as data frames: NumPy's, and IDX, the format of MNIST. Pickled objects are
refused.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def numpy_frame(place: Path) -> pd.DataFrame:
    """x (or the only array) as x1, x2, ..., y as y; pickled objects are refused."""
    found = np.load(place, allow_pickle=False)
    arrays = (
        {name: found[name] for name in found.files} if hasattr(found, "files") else {"x": found}
    )
    import pandas as pd

    frame: dict[str, Any] = {}
    rows = {len(array) for array in arrays.values() if array.ndim}
    if len(rows) != 1:
        raise DataError(
            f"{place}: its arrays have different numbers of rows: "
            + ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        )
    for name, array in arrays.items():
        if array.dtype.kind in "cO":
            raise DataError(
                f"{place}: the array {name} is of type {array.dtype}, which is not data that can be"
                " learnt from."
            )
        flat = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None]
        names = [name] if flat.shape[1] == 1 else [f"{name}{i + 1}" for i in range(flat.shape[1])]
        frame.update({column: flat[:, i] for i, column in enumerate(names)})
    return pd.DataFrame(frame)


_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_frame(place: Path, compressed: bool) -> pd.DataFrame:
    """The format of MNIST: two zero bytes, a type, the number of dimensions, their sizes, the
    numbers. Labels lie in a file beside it.
    """
    import pandas as pd

    values = _idx_array(place, compressed)
    frame = (
        {f"x{i + 1}": column for i, column in enumerate(values.reshape(len(values), -1).T)}
        if values.ndim > 1
        else {"y": values}
    )
    labels = place.with_name(place.name.replace("images-idx3", "labels-idx1"))
    if values.ndim > 1 and labels != place and labels.is_file():
        y = _idx_array(labels, compressed)
        if len(y) != len(values):
            raise DataError(f"{labels} has {len(y)} labels, and {place} {len(values)} rows.")
        frame["y"] = y
    return pd.DataFrame(frame)


def _idx_array(place: Path, compressed: bool) -> np.ndarray:
    data = gzip.decompress(place.read_bytes()) if compressed else place.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise DataError(f"{place} is no IDX file: it begins with {data[:4].hex(' ')}.")
    dims = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    dtype = np.dtype(_IDX_TYPES[data[2]])
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) - 4 - 4 * dims != wanted:
        raise DataError(
            f"{place} is cut off or damaged: {shape} needs {wanted} bytes, and"
            f" {len(data) - 4 - 4 * dims} are there."
        )
    return (
        np.frombuffer(data, dtype, offset=4 + 4 * dims)
        .reshape(shape)
        .astype(np.float64 if dtype.kind == "f" else np.int64)
    )

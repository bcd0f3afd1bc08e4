"""Read files of arrays as data frames: NumPy's formats and IDX, the format of MNIST.

Pickled objects are refused.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from mlplab.data.table import DataFrame
from mlplab.errors import DataError


def numpy_frame(path: Path) -> DataFrame:
    """Read an .npz or .npy file; an array x [N, F] becomes the columns x1, x2, ..., y becomes y.

    The array of an .npy file is x. Raises DataError if the numbers of rows differ or a type is not
    numeric, and ValueError for pickled objects.
    """
    loaded = np.load(path, allow_pickle=False)
    arrays = (
        {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"x": loaded}
    )
    import pandas as pd

    frame: dict[str, np.ndarray] = {}
    if len({len(array) for array in arrays.values() if array.ndim}) != 1:
        raise DataError(
            f"{path}: its arrays have different numbers of rows: "
            + ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        )
    for name, array in arrays.items():
        if array.dtype.kind in "cO":
            raise DataError(
                f"{path}: the array {name} is of type {array.dtype}, which cannot be learned from."
            )
        flat = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None]
        names = [name] if flat.shape[1] == 1 else [f"{name}{i + 1}" for i in range(flat.shape[1])]
        frame.update({column: flat[:, i] for i, column in enumerate(names)})
    return pd.DataFrame(frame)


# type code -> NumPy type; source: the description of the IDX format on the MNIST page
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_frame(path: Path, compressed: bool) -> DataFrame:
    """Read an IDX file: images as the columns x1, x2, ..., or labels as the column y.

    If the file has images and the matching labels file is in the same folder, y is added. Raises
    DataError if a file is damaged or the numbers of rows differ.
    """
    import pandas as pd

    values = _idx_array(path, compressed)
    frame = (
        {f"x{i + 1}": column for i, column in enumerate(values.reshape(len(values), -1).T)}
        if values.ndim > 1
        else {"y": values}
    )
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if values.ndim > 1 and labels != path and labels.is_file():
        y = _idx_array(labels, compressed)
        if len(y) != len(values):
            raise DataError(f"{labels} has {len(y)} labels, but {path} has {len(values)} rows.")
        frame["y"] = y
    return pd.DataFrame(frame)


def _idx_array(path: Path, compressed: bool) -> np.ndarray:
    """Parse two zero bytes, the type, the number of dimensions, their sizes, and the numbers."""
    data = gzip.decompress(path.read_bytes()) if compressed else path.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise DataError(f"{path} is not an IDX file: it begins with {data[:4].hex(' ')}.")
    dims = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    dtype = np.dtype(_IDX_TYPES[data[2]])
    num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) - 4 - 4 * dims != num_bytes:
        raise DataError(
            f"{path} is cut off or damaged: shape {shape} needs {num_bytes} bytes, but the file has"
            f" {len(data) - 4 - 4 * dims}."
        )
    return (
        np.frombuffer(data, dtype, offset=4 + 4 * dims)
        .reshape(shape)
        .astype(np.float64 if dtype.kind == "f" else np.int64)
    )

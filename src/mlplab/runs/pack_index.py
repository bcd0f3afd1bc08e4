"""The index of a pack: its jobs, how they ended, and their metrics. It is read without torch.

Whatever is wrong with a pack, the error names it, and nothing of a damaged pack is used.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from mlplab.io.files import MAX_BYTES, parse_json
from mlplab.io.links import refuse_links
from mlplab.io.reading import reading
from mlplab.runs.pack_table import Table, count, number, rows_of, text, texts

FORMAT_NAME = "mlplab-pack-"
FORMAT = f"{FORMAT_NAME}1"
MAX_TIME = 32_503_680_000
"""The year 3000 in seconds since 1970: dates do not exist for all numbers."""


class Pack:
    """A pack whose index has been read and checked. `numbers` are those of its jobs, in order,
    `ended` when they ended, in seconds since 1970, and `history_names` what their histories have.

    Raises DamagedFileError, and LinkError if the path is a symbolic link.
    """

    def __init__(self, path: Path) -> None:
        refuse_links([path])
        self.path = path
        with reading(path, remedy(path.parent)):
            with PackFile(path) as file:
                index = file.index
                metrics = [file.array(f"metrics.{g}", "<f8") for g in range(len(index["metrics"]))]
            jobs = Table(index["jobs"], None)
            self.numbers = [count(value) for value in jobs.column("number")]
            self.ended = [number(time) for time in jobs.column("ended")]
            if not all(0 <= time < MAX_TIME for time in self.ended):
                raise ValueError("a time in it is not in our millennium")
            self.summaries = Table(index["summaries"], len(self.numbers))
            if len(set(self.numbers)) < len(self.numbers):
                raise ValueError("it has a job twice")
            self.statuses = [text(status) for status in self.summaries.column("status")]
            self.summaries.require_plain()
            names = [name for histories in index["histories"] for name in texts(histories["names"])]
            self.history_names = tuple(dict.fromkeys(names))
            self._metric_names: dict[int, tuple[list[str], np.ndarray]] = {}
            for group, values in zip(index["metrics"], metrics, strict=True):
                names, rows = texts(group["names"]), rows_of(group["rows"], len(self.numbers))
                for row, of_row in zip(rows, values.reshape(len(rows), len(names)), strict=True):
                    self._metric_names[row] = names, of_row

    def summary(self, row: int) -> dict[str, Any]:
        """The content of summary.json of a job; a metric that is not finite is None."""
        metrics = {
            name: value if math.isfinite(value) else None
            for name, value in self.metrics(row).items()
        }
        return {**self.summaries.row(row), "metrics": metrics}

    def metrics(self, row: int) -> dict[str, float]:
        """The metrics of the best weights of a job."""
        names, values = self._metric_names.get(row, ([], np.zeros(0)))
        return dict(zip(names, values.tolist(), strict=True))


def is_of_another_version(pack: Path) -> bool:
    """Whether another version of mlplab wrote a pack, which is then no damage."""
    from safetensors import safe_open

    try:
        opened: Any = safe_open(pack, framework="np")
        with opened as file:
            name = str((file.metadata() or {}).get("format"))
    except Exception:  # whatever a damaged file raises
        return False
    return name.startswith(FORMAT_NAME) and name != FORMAT


def remedy(packs: Path) -> str:
    """What to do about a damaged pack in this folder of a sweep."""
    return f"Restore the file from a copy, or train its jobs again: mlplab resume {packs.parent}"


class PackFile:
    """The arrays of an open pack, each checked when it is read."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._opened: Any = safe_open(path, framework="np")

    def __enter__(self) -> Self:
        self._file = self._opened.__enter__()
        metadata = self._file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"its format is {metadata.get('format')!r}, and this version of mlplab reads"
                f" {FORMAT!r}"
            )
        self._checksums: Mapping[str, object] = {"index": int(metadata["index"])}
        self.index = self.json("index")
        self._checksums = self.index["checksums"]
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(*error)

    def array(self, name: str, dtype: str | None = None) -> np.ndarray:
        """Return an array. Raises ValueError if its bytes have changed, or it has another dtype."""
        array: np.ndarray = self._file.get_tensor(name)
        if checksum(array) != self._checksums[name]:
            raise ValueError(f"the checksum of its {name} differs")
        if dtype is not None and array.dtype != np.dtype(dtype):
            raise ValueError(f"its {name} has the type {array.dtype}")
        return array

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON in an array, a mapping. Raises ValueError or TypeError."""
        if math.prod(self._file.get_slice(name).get_shape()) > MAX_BYTES:
            raise ValueError(f"its {name} has more than {MAX_BYTES} bytes")
        value = parse_json(self.array(name, "u1").tobytes())
        if not isinstance(value, dict):
            raise TypeError(f"its {name} has no keys and values")
        return value


def checksum(array: np.ndarray) -> int:
    """The CRC-32 of the bytes of an array."""
    values: Any = np.ascontiguousarray(array)
    return zlib.crc32(values)

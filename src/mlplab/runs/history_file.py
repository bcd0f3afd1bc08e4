"""The history of a run as metrics.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlplab.errors import DamagedFileError
from mlplab.io.reading import restore_or_rerun
from mlplab.tracking import bulk_metrics, read_metrics
from mlplab.training.history import History


def write_history(folder: Path, history: History) -> None:
    """Write the history of a run that has ended into its folder."""
    columns = (history.epoch, history.step, *history.values.T)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    bulk_metrics(folder / "metrics.csv", history.names, rows)


def recorded_columns(path: Path) -> dict[str, list[float]]:
    """Return the columns of the metrics.csv of a run that has trained. Raises DamagedFileError if
    it has none.
    """
    columns = read_metrics(path)
    if not columns:
        raise DamagedFileError(path, "it is empty", restore_or_rerun(path))
    return columns


def read_history(folder: Path) -> History:
    """Return the history in the folder of a run, without the times; empty if it has none."""
    if not (folder / "metrics.csv").exists():
        return History.empty()
    columns = recorded_columns(folder / "metrics.csv")
    names = tuple(name for name in columns if name not in ("epoch", "step"))
    epoch, step = (np.array(columns[key], dtype=float).astype(int) for key in ("epoch", "step"))
    values = np.array([columns[name] for name in names], dtype=float).T.reshape(
        len(epoch), len(names)
    )
    return History(names, epoch, step, np.full(len(epoch), np.nan), values)

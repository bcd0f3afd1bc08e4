"""The rows of a split of a run's data, before they are encoded and scaled."""

from __future__ import annotations

from pathlib import Path

from mlplab.data.preparation.raw_rows import RawRows, raw_split
from mlplab.errors import DataError
from mlplab.runs.provenance import is_data_of_training
from mlplab.settings import Settings
from mlplab.training import prepare_members
from mlplab.validation import KFold


def raw_rows_of_run(folder: Path, settings: Settings, split: str) -> RawRows:
    """Return the rows of a split of the data that the run in a folder was trained on.

    Raises DataError if there is no such split, the data changed since the training, or it is train
    or val of a fold, whose rows are not stored.
    """
    is_fold = isinstance(settings.validation, KFold) and settings.ensemble is None
    if is_fold and split != "test":
        raise DataError(f"{folder} is a fold, of which only the test split can be explained.")
    if settings.debug is not None:
        raise DataError(f"{folder} was trained on a few rows only, with debug={settings.debug}.")
    source = f"the {split} split of {folder}"
    test_rows = prepare_members([settings])[0].prepared.test_rows if is_fold else None
    rows = raw_split(settings.dataset, settings.seed, split, source, test_rows)
    if len(rows) == 0:
        raise DataError(
            f"{folder} has no {split} split: use --part train, or a file with the target."
        )
    if not is_data_of_training(folder, rows.data_hash or ""):
        raise DataError(
            f"The data of {folder} changed since it was trained: its {split} split may contain"
            " rows that it was trained on. Name a file with rows to explain."
        )
    return rows


def described_rows(folder: Path, settings: Settings, split: str) -> tuple[RawRows, str]:
    """Return the rows of a split as `raw_rows_of_run` does, and their description."""
    rows = raw_rows_of_run(folder, settings, split)
    return rows, f"{len(rows):,} rows of the {split} split"

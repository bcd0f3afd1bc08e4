"""The rows of a split of a run's data, before they are encoded and scaled."""

from __future__ import annotations

from pathlib import Path

from mlplab.data.preparation.raw_rows import RawRows, raw_split
from mlplab.errors import DataError
from mlplab.io.reading import read_json
from mlplab.settings import Settings
from mlplab.training import prepare_members
from mlplab.validation import KFold


def raw_rows_of_run(folder: Path, settings: Settings, split: str) -> RawRows:
    """Return the rows of a split of the data that the run in a folder was trained on.

    Raises DataError if there is no such split, the data changed since the training, or it is train
    or val of a fold, whose rows are not stored.
    """
    prepared = prepare_members([settings])[0].prepared
    if getattr(prepared, split) is None:
        raise DataError(
            f"{folder} has no {split} split: use --part train, or a file with the target."
        )
    if isinstance(settings.validation, KFold) and split != "test":
        raise DataError(f"{folder} is a fold, of which only the test split can be explained.")
    if settings.debug is not None:
        raise DataError(f"{folder} was trained on a few rows only, with debug={settings.debug}.")
    source = f"the {split} split of {folder}"
    rows = raw_split(settings.dataset, settings.seed, split, source, prepared.test_rows)
    stored = read_json(folder / "provenance.json").get("data_hash")
    if stored != rows.data_hash:
        raise DataError(
            f"The data of {folder} changed since it was trained: its {split} split may contain"
            " rows that it was trained on. Name a file with rows to explain."
        )
    return rows

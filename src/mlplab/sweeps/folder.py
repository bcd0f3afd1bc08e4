"""The folder of a sweep while it is created and its plan is written."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mlplab.errors import FolderError, FolderInUseError
from mlplab.runs import RunFolder, create
from mlplab.runs.plan_text import NAME


def can_join(folder: Path) -> bool:
    """Whether the folder belongs to a sweep or is about to: it contains a plan, or only the lock
    and temporary files of a process creating it.
    """
    if not folder.is_dir():
        return False
    names = os.listdir(folder)
    if all(
        name in (".lock", "multirun.yaml", ".search") or name.startswith(".tmp-") for name in names
    ):
        return True
    # checked last: a process that creates the sweep writes the plan before any other file, and may
    # have written both after the names were listed
    return (folder / "search.yaml").is_file() or (folder / NAME).is_file()


def create_or_join(folder: Path) -> None:
    """Create the folder, unless another process or Hydra's own sweeper has just created it for the
    same sweep. Raises FolderError if it contains something else.
    """
    try:
        create(folder).close()
    except FolderError:
        if not can_join(folder):
            raise


def lock_plan(folder: Path) -> RunFolder:
    """Lock the folder while its plan is changed, waiting up to 10 s for another process."""
    for _ in range(100):
        try:
            return RunFolder.locked(folder)
        except FolderInUseError:
            time.sleep(0.1)
    return RunFolder.locked(folder)

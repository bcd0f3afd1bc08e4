"""log.txt: the events of a run, in order, with the time."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

from mlplab.io.links import open_to_append


@contextlib.contextmanager
def log_to(folder: Path) -> Iterator[logging.Logger]:
    """Context manager that yields a logger for the folder's log.txt; nothing is passed on to the
    program's other loggers.

    Raises LinkError if the file is a symbolic link.
    """
    logger = logging.Logger(f"mlplab.{folder.name}", logging.INFO)
    with io.TextIOWrapper(open_to_append(folder / "log.txt"), encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        yield logger

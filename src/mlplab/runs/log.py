"""log.txt: the events of a run, in order, with the time."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from mlplab.io.links import open_to_append
from mlplab.terminal import modes
from mlplab.terminal.output import DIM, note, paint, plain, say


class _LogFile(logging.Handler):
    """Appends each record at once. A record that cannot be written, as on a full disk, is left out
    and the file is named, once: a training needs no log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._file, self._failed = path, open_to_append(path), False

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode()
        try:
            self._file.raw.write(line)  # type: ignore[attr-defined]
        except OSError as error:
            if not self._failed:
                note(f"{self._path} cannot be written: {error.strerror}.")
            self._failed = True

    def close(self) -> None:
        self._file.close()
        super().close()


class _ErrorStream(logging.Handler):
    """Prints each record, with --verbose."""

    def emit(self, record: logging.LogRecord) -> None:
        say(paint("log: ", DIM, sys.stderr) + plain(record.getMessage()), sys.stderr)


@contextlib.contextmanager
def log_to(folder: Path) -> Iterator[logging.Logger]:
    """Context manager that yields a logger for the folder's log.txt; nothing is passed on to the
    program's other loggers.

    Raises LinkError if the file is a symbolic link.
    """
    logger = logging.Logger(f"mlplab.{folder.name}", logging.INFO)
    handler = _LogFile(folder / "log.txt")
    with contextlib.closing(handler):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        if modes.is_verbose():
            logger.addHandler(_ErrorStream())
        yield logger

"""Workers as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """One of them. Its output goes into a file, its signals come from us alone."""

    def __init__(self, command: Sequence[str], log: Path, threads: int, name: str) -> None:
        self.name = name
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, start_new_session=True
            )

    def ended(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()


class Local:
    """This machine."""

    pause = 0.2

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "workers"
        self.folder.mkdir(exist_ok=True)

    def start(self, command: Sequence[str], number: int, threads: int) -> Process:
        return Process(command, self.folder / f"{number}.log", threads, f"worker {number}")

    def close(self) -> None:
        """Nothing is held."""

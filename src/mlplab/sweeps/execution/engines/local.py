"""Workers as processes on this machine, spread over its CUDA devices if there are any."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlplab.config import cluster_options
from mlplab.io.links import make_folder, open_to_append
from mlplab.python_command import safe_environment

GRACE = 30.0
"""Seconds between asking a hanging worker to save and exit, and killing it."""


class Process:
    """A worker process in a new session, so that only the driver signals it. Its output goes to
    `log`.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], name: str
    ) -> None:
        self.name = name
        with open_to_append(log) as file:
            self._process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=safe_environment(env),
                start_new_session=True,
            )

    def ended(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        self._process.terminate()  # does nothing if it has ended, like `kill`

    def kill(self) -> None:
        self._process.kill()


class Limited(Process):
    """A worker process with a time limit: after `seconds` without starting or finishing a job it is
    asked to exit, and killed if it does not.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str],
        name: str,
        seconds: float,
        sweep: Path,
    ) -> None:
        super().__init__(command, log, env, name)
        self._seconds, self._sweep = seconds, sweep
        # the latest sign of work, and when it was first noticed
        self._last_stamp, self._idle_since = -1.0, time.monotonic()
        self._stopped_at: float | None = None

    def ended(self) -> str | None:
        outcome = super().ended()
        if outcome is not None:
            return (
                outcome
                if self._stopped_at is None
                else (
                    f"{outcome}, after {self._seconds / 60:g} minutes without beginning or ending a"
                    " job"
                )
            )
        self._check_activity()
        now = time.monotonic()
        if self._stopped_at is None and now - self._idle_since > self._seconds:
            self._stopped_at = now
            self.stop()
        elif self._stopped_at is not None and now - self._stopped_at > GRACE:
            self.kill()
        return None

    def _check_activity(self) -> None:
        """Look for changes in the worker's staging folder, whose name contains its process number
        and which changes when a job's folder is created or committed.
        """
        for staging in self._sweep.glob(f".aside-{self._process.pid}-*"):
            with contextlib.suppress(OSError):
                if (stamp := staging.stat().st_mtime) > self._last_stamp:
                    self._last_stamp, self._idle_since = stamp, time.monotonic()


class Local:
    """Starts workers as processes on this machine."""

    pause = 0.2

    def __init__(self, options: cluster_options.Local, folder: Path) -> None:
        self.sweep, self.folder = folder, folder / "workers"
        make_folder(self.folder)
        self.minutes = options.minutes
        self.devices = visible_devices()
        self._started: list[tuple[str, Process]] = []

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Process]:
        return [
            self._start(command, number, threads) for number, command in enumerate(commands, first)
        ]

    def close(self) -> None:
        """There is nothing to release."""

    def _start(self, command: Sequence[str], number: int, threads: int) -> Process:
        env, log, name = (
            {"OMP_NUM_THREADS": str(threads)},
            self.folder / f"{number}.log",
            f"worker {number}",
        )
        device = self._least_loaded_device()
        if device is not None:
            env["CUDA_VISIBLE_DEVICES"] = device
            name += f" on CUDA device {device}"
        process = (
            Process(command, log, env, name)
            if self.minutes is None
            else Limited(command, log, env, name, 60.0 * self.minutes, self.sweep)
        )
        if device is not None:
            self._started.append((device, process))
        return process

    def _least_loaded_device(self) -> str | None:
        """The device with the fewest running workers, the first one in a tie, so that the
        replacement of a crashed worker uses the same device.
        """
        busy = [device for device, process in self._started if process.ended() is None]
        return min(self.devices, key=busy.count, default=None)


def visible_devices() -> list[str]:
    """Names of the devices that torch sees, as CUDA_VISIBLE_DEVICES spells them; empty without
    CUDA.
    """
    # the driver has already imported torch to group the jobs; counting creates no CUDA context
    import torch

    count = torch.cuda.device_count()
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [str(number) for number in range(count)]
        if variable is None
        else [name.strip() for name in variable.split(",")]
    )
    return names[:count]

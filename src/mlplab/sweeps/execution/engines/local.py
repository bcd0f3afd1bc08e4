"""Workers as processes of this machine, each on a CUDA device of its own where there are some."""

from __future__ import annotations

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
"""Seconds between asking a worker that hangs to save and leave, and killing it."""


class Process:
    """One of them. Its output goes into a file, its signals come from us alone."""

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

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> str | None:
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()


class Limited(Process):
    """One that may go so many seconds without beginning or ending a job; then it is asked to leave,
    and killed where it does not.
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
        # the last sign of work, and when we saw it first
        self._seen, self._since = -1.0, time.monotonic()
        self._asked: float | None = None

    def ended(self) -> str | None:
        how = super().ended()
        if how is not None:
            return (
                how
                if self._asked is None
                else (
                    f"{how}, after {self._seconds / 60:g} minutes without beginning or ending a job"
                )
            )
        self._look()
        now = time.monotonic()
        if self._asked is None and now - self._since > self._seconds:
            self._asked = now
            self.stop()
        elif self._asked is not None and now - self._asked > GRACE:
            self.kill()
        return None

    def _look(self) -> None:
        """A worker fills the folders of its jobs in one that bears its number, which changes when a
        job's comes or goes.
        """
        for place in self._sweep.glob(f".aside-{self.pid}-*"):
            try:
                stamp = place.stat().st_mtime
            except OSError:
                continue
            if stamp > self._seen:
                self._seen, self._since = stamp, time.monotonic()


class Local:
    """This machine."""

    pause = 0.2

    def __init__(self, options: cluster_options.Local, folder: Path) -> None:
        self.sweep, self.folder = folder, folder / "workers"
        make_folder(self.folder)
        self.minutes = options.minutes
        self.devices = visible_devices()
        self._on: list[tuple[str, Process]] = []

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Process]:
        return [
            self._start(command, number, threads) for number, command in enumerate(commands, first)
        ]

    def close(self) -> None:
        """Nothing is held."""

    def _start(self, command: Sequence[str], number: int, threads: int) -> Process:
        env, log, name = (
            {"OMP_NUM_THREADS": str(threads)},
            self.folder / f"{number}.log",
            f"worker {number}",
        )
        device = self._freest()
        if device is not None:
            env["CUDA_VISIBLE_DEVICES"] = device
            name += f" on CUDA device {device}"
        process = (
            Process(command, log, env, name)
            if self.minutes is None
            else Limited(command, log, env, name, 60.0 * self.minutes, self.sweep)
        )
        if device is not None:
            self._on.append((device, process))
        return process

    def _freest(self) -> str | None:
        """The device on which the fewest of our workers live, the first among equals; so one that
        died is replaced on its own device.
        """
        self._on = [(device, process) for device, process in self._on if process.ended() is None]
        living = [device for device, _ in self._on]
        return min(self.devices, key=living.count, default=None)


def visible_devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES would call each device that torch finds here: its own words where
    it is set. Empty without CUDA.
    """
    # which the driver has long imported, to group the jobs; counting makes no context on a device
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [str(number) for number in range(count)]
        if given is None
        else [name.strip() for name in given.split(",")]
    )
    return names[:count]

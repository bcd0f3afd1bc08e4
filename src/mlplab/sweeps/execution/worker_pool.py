"""Runs a sweep with several workers: starts them, monitors them and replaces those that crash. The
stored jobs and the locks, not the engine, are the source of truth.

A worker takes work units of the frozen plan: first those of its shard, then those that others have
not started. It locks a work unit, and the kernel releases the lock however the worker ends. A
worker, a node or this driver may therefore be killed at any time: another worker continues its
population from the last checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mlplab.errors import ConfigError
from mlplab.io.links import open_to_append
from mlplab.python_command import python_command
from mlplab.runs.signals import Signals
from mlplab.sweeps.execution.compute_log import ComputeLog
from mlplab.sweeps.execution.crash_log import CrashLog
from mlplab.sweeps.execution.engines import Engine, Handle, make_engine
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan import Plan
from mlplab.terminal.output import note
from mlplab.terminal.suggested import resume_command

MAX_FRUITLESS_RESTARTS = 5
"""Allowed replacements, for each worker, in a row in which no worker gets as far as training and no
job is finished.
"""


class WorkerPool:
    """The driver of a sweep's workers. After `run`, `status` is done or interrupted."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        display: SweepProgress,
        job_store: JobStore | None = None,
    ) -> None:
        self.plan, self.folder, self.display = plan, folder, display
        self.job_store = job_store or open_store(plan, folder)
        self.signals, self.status = Signals(), "done"
        self.since = time.time()
        self.crash_log, self.compute_log = CrashLog(folder, self.since), ComputeLog(folder)
        self.num_workers = plan.options.workers
        self.log_file = folder / "workers.log"

    def run(self) -> None:
        """Run until every job has been tried, or a signal arrives.

        Raises ConfigError if workers keep ending without finishing a job.
        """
        remaining = self._remaining()
        self.display.start(len(self.plan.jobs) - len(remaining))
        if not remaining:
            return
        options = self.plan.options
        engine = make_engine(options.engine, options.cluster, self.folder)
        handles: list[Handle] = []
        try:
            with self.signals:
                handles += self._start(
                    engine, range(min(self.num_workers, len(self.plan.work_units)))
                )
                if options.detach:
                    note(
                        f"{len(handles)} workers are submitted; collect their results with"
                        f" `{self._resume_command}`"
                    )
                    self.status, handles = "interrupted", []
                    return
                self._supervise(engine, handles)
        except KeyboardInterrupt:
            self.status = "interrupted"
        finally:
            self._end(handles, engine)
            engine.close()
            self.crash_log.close()
            self.compute_log.append()

    @property
    def _resume_command(self) -> str:
        return resume_command(self.folder, self.plan.plugins)

    def _remaining(self) -> list[int]:
        """Jobs that are not finished and have not failed since this driver started."""
        return self.job_store.missing((job.number for job in self.plan.jobs), self.since)

    def _start(self, engine: Engine, numbers: range) -> list[Handle]:
        """Start the workers with these numbers, as one array if the engine supports arrays."""
        options = self.plan.options
        threads = (
            max(1, (os.cpu_count() or 1) // self.num_workers)
            if options.engine == "local"
            else max(1, int(options.cluster.get("cpus", 1)))
        )
        handles = list(
            engine.start([self._command(number) for number in numbers], numbers.start, threads)
        )
        for number, handle in zip(numbers, handles, strict=True):
            self._log(f"{handle.name}: started as worker {number} of {self.num_workers}")
        return handles

    def _command(self, number: int) -> list[str]:
        plugins = [
            argument
            for path in self.plan.plugins
            for argument in ("--plugin", str(Path(path).resolve()))
        ]
        return python_command(
            "-m",
            "mlplab",
            "work",
            str(self.folder.resolve()),
            "--number",
            str(number),
            "--of",
            str(self.num_workers),
            "--since",
            repr(self.since),
            *plugins,
        )

    def _supervise(self, engine: Engine, handles: list[Handle]) -> None:
        started, fewest_remaining, fruitless = len(handles), len(self._remaining()), 0
        seen_notes = set[str]()
        while remaining := self._remaining():
            self.signals.check()
            self.display.progress_to(len(self.plan.jobs) - len(remaining))
            if len(remaining) < fewest_remaining:
                fewest_remaining, fruitless = len(remaining), 0
            for index, handle in enumerate(handles):
                if (outcome := handle.ended()) is None:
                    continue
                self._log(f"{handle.name}: {outcome}")
                if not (remaining := self._remaining()):
                    break
                notes = self.crash_log.note_names()
                fruitless = 0 if notes - seen_notes else fruitless + 1
                seen_notes |= notes
                if fruitless > MAX_FRUITLESS_RESTARTS * self.num_workers:
                    raise ConfigError(
                        f"The workers of {self.folder} end without finishing a job; the last one"
                        f" ended with: {outcome}. Their output is in {self.folder / 'workers'}, and"
                        f" {self.log_file} lists how each ended. `{self._resume_command}` tries"
                        " again."
                    )
                [handles[index]] = self._start(engine, range(started, started + 1))
                started += 1
            self.compute_log.keep_up()
            time.sleep(engine.pause)
        self.display.progress_to(len(self.plan.jobs))

    def _end(self, handles: Sequence[Handle], engine: Engine) -> None:
        """Wait for the workers, which exit when no jobs remain; after a signal, stop them first."""
        deadline = time.monotonic() + (60.0 if self.status == "done" else 30.0)
        if self.status != "done":
            for handle in handles:
                handle.stop()
        waiting = list(handles)
        while waiting and time.monotonic() < deadline:
            for handle in list(waiting):
                if (outcome := handle.ended()) is not None:
                    self._log(f"{handle.name}: {outcome}")
                    waiting.remove(handle)
            time.sleep(min(0.1, engine.pause))
        for handle in waiting:
            handle.stop()
            self._log(f"{handle.name}: asked to end")

    def _log(self, line: str) -> None:
        """Append a line in one write, so that lines of several drivers are not mixed."""
        with open_to_append(self.log_file) as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n".encode())

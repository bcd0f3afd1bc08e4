"""Several workers on one sweep: started, watched, replaced where they die. The ledger, not the
engine, decides what is done.

A worker takes pieces of the frozen plan, its own shard first, and then what others have not come
to. It owns a piece by a lock that the kernel gives back however the worker ends, so a worker, a
node or this driver may be killed at any time: what was saved of its population goes on elsewhere.
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
from mlplab.sweeps.execution.crash_log import CrashLog
from mlplab.sweeps.execution.engines import Engine, Handle, make
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.plan.plan import Plan
from mlplab.terminal.output import note

RESTARTS = 5
"""How often a worker may be replaced without one coming as far as training, or a single job being
done, meanwhile.
"""


class WorkerPool:
    """The driver's side. `status` is done or interrupted afterwards."""

    def __init__(self, plan: Plan, folder: Path, display: SweepProgress) -> None:
        self.plan, self.folder, self.display = plan, folder, display
        self.ledger, self.signals, self.status = JobStore(folder), Signals(), "done"
        self.since = time.time()
        self.deaths = CrashLog(folder, self.since)
        self.count = plan.options.workers
        self.log = folder / "workers.log"

    def run(self) -> None:
        """Until every job has been tried, or a signal comes."""
        left = self._left()
        self.display.start(len(self.plan.jobs) - len(left))
        if not left:
            return
        options = self.plan.options
        engine = make(options.engine, options.cluster, self.folder)
        handles: list[Handle] = []
        try:
            with self.signals:
                handles += self._start(engine, range(min(self.count, len(self.plan.pieces))))
                if options.detach:
                    note(
                        f"{len(handles)} workers are submitted; collect what they do with `mlplab"
                        f" resume {self.folder}`"
                    )
                    self.status, handles = "interrupted", []
                    return
                self._watch(engine, handles)
        except KeyboardInterrupt:
            self.status = "interrupted"
        finally:
            self._end(handles, engine)
            engine.close()
            self.deaths.close()

    def _left(self) -> list[int]:
        """Jobs that nobody has finished, nor tried since we began."""
        return [
            number
            for number in self.ledger.missing(job.number for job in self.plan.jobs)
            if not self.ledger.failed_since(number, self.since)
        ]

    def _start(self, engine: Engine, numbers: range) -> list[Handle]:
        """The workers of these numbers, together: as one array where the engine has such a
        thing.
        """
        options = self.plan.options
        threads = (
            max(1, (os.cpu_count() or 1) // self.count)
            if options.engine == "local"
            else max(1, int(options.cluster.get("cpus", 1)))
        )
        handles = list(
            engine.start([self._command(number) for number in numbers], numbers.start, threads)
        )
        for number, handle in zip(numbers, handles, strict=True):
            self._tell(f"{handle.name}: started as worker {number} of {self.count}")
        return handles

    def _command(self, number: int) -> list[str]:
        plugins = [
            word for path in self.plan.plugins for word in ("--plugin", str(Path(path).resolve()))
        ]
        return python_command(
            "-m",
            "mlplab",
            "work",
            str(self.folder.resolve()),
            "--number",
            str(number),
            "--of",
            str(self.count),
            "--since",
            repr(self.since),
            *plugins,
        )

    def _watch(self, engine: Engine, handles: list[Handle]) -> None:
        started, best, fruitless = len(handles), len(self._left()), 0
        seen = set[str]()
        while left := self._left():
            self.signals.check()
            self.display.progress_to(len(self.plan.jobs) - len(left))
            if len(left) < best:
                best, fruitless = len(left), 0
            for place, handle in enumerate(handles):
                if (how := handle.ended()) is None:
                    continue
                self._tell(f"{handle.name}: {how}")
                if not (left := self._left()):
                    break
                unfinished_checkpoints = self.deaths.names()
                fruitless, seen = (
                    (0 if unfinished_checkpoints - seen else fruitless + 1),
                    seen | unfinished_checkpoints,
                )
                if fruitless > RESTARTS * self.count:
                    raise ConfigError(
                        f"The workers of {self.folder} end without finishing a job; the last said:"
                        f" {how}. What they printed is in {self.folder / 'workers'}, and how they"
                        f" ended in {self.log}. `mlplab resume {self.folder}` tries again."
                    )
                [handles[place]] = self._start(engine, range(started, started + 1))
                started += 1
            time.sleep(engine.pause)
        self.display.progress_to(len(self.plan.jobs))

    def _end(self, handles: Sequence[Handle], engine: Engine) -> None:
        """Workers that find nothing left leave by themselves; after a signal they are asked to."""
        limit = time.monotonic() + (60.0 if self.status == "done" else 30.0)
        if self.status != "done":
            for handle in handles:
                handle.stop()
        waiting = list(handles)
        while waiting and time.monotonic() < limit:
            for handle in list(waiting):
                if (how := handle.ended()) is not None:
                    self._tell(f"{handle.name}: {how}")
                    waiting.remove(handle)
            time.sleep(min(0.1, engine.pause))
        for handle in waiting:
            handle.stop()
            self._tell(f"{handle.name}: asked to end")

    def _tell(self, line: str) -> None:
        """One write, so that several drivers' lines stay whole."""
        with open_to_append(self.log) as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n".encode())

"""Workers as Ray tasks, in a new instance on this machine or in a cluster given by its address. All
nodes must see the sweep's folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mlplab.config import cluster_options
from mlplab.io.links import make_folder, open_to_append
from mlplab.python_command import SAFE_PATH, environment, safe_environment


def run_worker(command: Sequence[str], threads: int, cwd: str, log: str) -> int:
    """The function of a Ray task: run `mlplab work` as a subprocess that ends with the task, and
    return its exit code.
    """
    import ctypes
    import signal
    import subprocess

    def end_with_parent() -> None:
        # PR_SET_PDEATHSIG: if Ray kills the task, its subprocess is terminated too
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)

    with open_to_append(Path(log)) as file:
        return subprocess.call(
            list(command),
            cwd=cwd,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=safe_environment({"OMP_NUM_THREADS": str(threads)}),
            preexec_fn=end_with_parent if os.uname().sysname == "Linux" else None,
        )


class Task:
    """A worker that runs as a Ray task."""

    def __init__(self, ray: ModuleType, reference: object, name: str) -> None:
        self._ray, self._reference, self.name = ray, reference, name

    def ended(self) -> str | None:
        completed, _ = self._ray.wait([self._reference], timeout=0)
        if not completed:
            return None
        try:
            return f"exit code {self._ray.get(completed[0])}"
        # a worker or node that died, or a task that was canceled: report Ray's message
        except Exception as error:
            return " ".join(f"{type(error).__name__}: {error}".split())[:300]

    def stop(self) -> None:
        self._ray.cancel(self._reference, force=True)


class Ray:
    """Starts workers in a Ray instance or cluster."""

    pause = 0.5

    def __init__(self, options: cluster_options.Ray, folder: Path) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.ray, self.options, self.folder = ray, options, folder / "workers"
        make_folder(self.folder)
        self.started_here = not ray.is_initialized()
        if self.started_here:
            init_options = (
                {"address": options.address} if options.address else {"include_dashboard": False}
            )
            # Ray puts the folder in which it is started first in the module path of every task
            with environment(SAFE_PATH), contextlib.chdir(os.sep):
                ray.init(**init_options, log_to_driver=False, logging_level=40)

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Task]:
        task_options = {
            "num_cpus": self.options.cpus,
            "num_gpus": self.options.gpus,
            "max_retries": 0,
            "scheduling_strategy": "SPREAD",
            **self.options.extra,
        }
        remote = self.ray.remote(**task_options)(run_worker)
        logs = self.folder.resolve()
        return [
            Task(
                self.ray,
                remote.remote(list(command), threads, os.getcwd(), str(logs / f"{number}.log")),
                f"ray task {number}",
            )
            for number, command in enumerate(commands, first)
        ]

    def close(self) -> None:
        """Shut Ray down if it was started here; otherwise leave the cluster running."""
        if self.started_here:
            self.ray.shutdown()

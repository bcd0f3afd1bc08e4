"""Workers as tasks of Ray: an instance of our own on this machine, or a cluster by its address. The
sweep's folder is one that all nodes see.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlplab.config import cluster_options
from mlplab.io.links import make_folder, open_to_append
from mlplab.python_command import safe_environment, safe_path


def shard(command: Sequence[str], threads: int, place: str, log: str) -> int:
    """What a Ray worker runs: `mlplab work` as a process of its own, which ends with it."""
    import ctypes
    import signal
    import subprocess

    def tie() -> None:
        # PR_SET_PDEATHSIG: a task that Ray kills takes its process along
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)

    env = safe_environment({"OMP_NUM_THREADS": str(threads)})
    with open_to_append(Path(log)) as file:
        tied = tie if os.uname().sysname == "Linux" else None
        return subprocess.call(
            list(command),
            cwd=place,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            preexec_fn=tied,
        )


class Task:
    """One task."""

    def __init__(self, ray: Any, reference: Any, name: str) -> None:
        self._ray, self._reference, self.name = ray, reference, name

    def ended(self) -> str | None:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        if not ready:
            return None
        try:
            return f"exit code {self._ray.get(ready[0])}"
        # a worker or node that died, a task that was canceled: Ray's own words
        except Exception as error:
            return " ".join(f"{type(error).__name__}: {error}".split())[:300]

    def stop(self) -> None:
        self._ray.cancel(self._reference, force=True)


class Ray:
    """An instance or a cluster."""

    pause = 0.5

    def __init__(self, options: cluster_options.Ray, folder: Path) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.ray, self.options, self.folder = ray, options, folder / "workers"
        make_folder(self.folder)
        self.ours = not ray.is_initialized()
        if self.ours:
            where = (
                {"address": str(options.address)}
                if options.address
                else {"include_dashboard": False}
            )
            # Ray puts the folder in which it is started first on the path of modules of every task
            with safe_path(), contextlib.chdir(os.sep):
                ray.init(**where, log_to_driver=False, logging_level=40)

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Task]:
        own = {
            "num_cpus": self.options.cpus,
            "num_gpus": self.options.gpus,
            "max_retries": 0,
            "scheduling_strategy": "SPREAD",
            **self.options.extra,
        }
        remote = self.ray.remote(**own)(shard)
        tasks = []
        for number, command in enumerate(commands, first):
            log = str((self.folder / f"{number}.log").resolve())
            tasks.append(
                Task(
                    self.ray,
                    remote.remote(list(command), threads, os.getcwd(), log),
                    f"ray task {number}",
                )
            )
        return tasks

    def close(self) -> None:
        """Leave the cluster, or end our own instance."""
        if self.ours:
            self.ray.shutdown()

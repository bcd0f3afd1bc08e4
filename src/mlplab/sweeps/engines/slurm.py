"""Workers as jobs of a Slurm cluster, submitted by submitit. The sweep's folder lies on a file system that all nodes share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

_ALIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "RESIZING", "REQUEUE_HOLD", "SIGNALING", "STAGE_OUT")


class Shard(submitit.helpers.Checkpointable):
    """What a Slurm job runs: a worker as a process of its own, so that a signal reaches it between two steps and not in the middle of one."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self.command, self.threads = list(command), threads
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        env = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        self.process = subprocess.Popen(self.command, env=env)
        while (
            code := self.process.poll()
        ) is None:  # `wait` holds a lock that `checkpoint`, called by a signal in the middle of it, would wait for
            time.sleep(0.2)
        if code:  # Slurm then calls the job failed, as it is
            raise RuntimeError(f"the worker ended with exit code {code}")
        return code

    def checkpoint(self) -> Any:
        """On preemption or the end of the time: the worker saves its population and leaves, and the job is queued again with the same command."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.process.pid, signal.SIGUSR2)
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Shard(self.command, self.threads))


class Job:
    """One job of Slurm's."""

    def __init__(self, job: Any) -> None:
        self._job = job
        self.name = f"slurm job {job.job_id}"

    def ended(self) -> str | None:
        """Asked of the controller, which knows jobs without an accounting data base, for the minutes that it remembers them."""
        done = subprocess.run(["scontrol", "-o", "show", "job", str(self._job.job_id)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return None if "Unable to contact" in done.stderr else "gone from the queue"
        fields = dict(piece.split("=", 1) for piece in done.stdout.split() if "=" in piece)
        state = fields.get("JobState", "UNKNOWN")
        if state in _ALIVE:
            return None
        return f"{state}, exit code {fields.get('ExitCode', '?')} on {fields.get('NodeList', '?')}, reason {fields.get('Reason', '?')}"

    def stop(self) -> None:
        subprocess.run(["scancel", str(self._job.job_id)], capture_output=True, check=False)


class Slurm:
    """The cluster of this machine's Slurm client."""

    pause = 1.0

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self.executor = submitit.SlurmExecutor(folder=(folder / "workers").resolve(), max_num_timeout=1000)
        own: dict[str, Any] = {
            "job_name": f"mlplab-{folder.name}"[:60], "time": int(options["minutes"]), "cpus_per_task": int(options["cpus"]), "ntasks_per_node": 1,
            "nodes": 1, "signal_delay_s": 90, "use_srun": True, "stderr_to_stdout": True,
            **{key: options[key] for key in ("partition", "account", "qos") if options[key]},
        }  # fmt: skip
        if options["gpus"]:
            own["gpus_per_node"] = int(options["gpus"])
        if options["memory_gb"]:
            own["mem"] = f"{int(options['memory_gb'])}GB"
        self.executor.update_parameters(**own, additional_parameters={"requeue": True, "chdir": str(Path.cwd()), **options["extra"]})

    def start(self, command: Sequence[str], number: int, threads: int) -> Job:
        return Job(self.executor.submit(Shard(command, threads)))

    def close(self) -> None:
        """Nothing is held."""

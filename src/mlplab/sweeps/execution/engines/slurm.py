"""Workers as the tasks of one job array of a Slurm cluster, submitted by submitit. The sweep's
folder lies on a file system that all nodes share.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import submitit

from mlplab.config import cluster_options
from mlplab.io.links import make_folder
from mlplab.python_command import SAFE_PATH, python_command, safe_environment

_ALIVE = (
    "PENDING",
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "REQUEUED",
    "SUSPENDED",
    "RESIZING",
    "REQUEUE_HOLD",
    "SIGNALING",
    "STAGE_OUT",
)
_LARGEST_ARRAY = 1001
"""Slurm's own MaxArraySize, where the controller does not say."""


class Shard(submitit.helpers.Checkpointable):
    """What a Slurm job runs: a worker as a process of its own, so that a signal reaches it between
    two steps and not in the middle of one.
    """

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self.command, self.threads = list(command), threads
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        env = safe_environment({"OMP_NUM_THREADS": str(self.threads)})
        self.process = subprocess.Popen(self.command, env=env)
        while (
            code := self.process.poll()
            # `wait` holds a lock that `checkpoint`, called by a signal in the middle of it, would
            # wait for
        ) is None:
            time.sleep(0.2)
        if code:  # Slurm then calls the job failed, as it is
            raise RuntimeError(f"the worker ended with exit code {code}")
        return code

    def checkpoint(self) -> Any:
        """On preemption or the end of the time: the worker saves its population and leaves, and the
        job is queued again with the same command.
        """
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.process.pid, signal.SIGUSR2)
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Shard(self.command, self.threads))


class Submission:
    """One `sbatch`, of a job or of an array of them, and what the controller says of it: asked once
    for all its tasks, not once a task.
    """

    def __init__(self, number: str, pause: float) -> None:
        self.number, self.pause = number, pause
        self._asked = float("-inf")
        self._states: dict[str, str | None] = {}

    def ended(self, task: str) -> str | None:
        """How a task ended ("12_3", or "12" of a lone job); None while it waits or works."""
        if time.monotonic() - self._asked >= self.pause:
            self._ask()
            self._asked = time.monotonic()
        # tasks that wait have one record together
        waiting = any(state is None for name, state in self._states.items() if "[" in name)
        return self._states.get(task, None if waiting else "gone from the queue")

    def _ask(self) -> None:
        """The controller knows jobs without an accounting data base, for the minutes that it
        remembers them.
        """
        done = subprocess.run(
            ["scontrol", "-o", "show", "job", self.number],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            self._states = dict(map(state, filter(str.strip, done.stdout.splitlines())))
        elif "Invalid job id" in done.stderr:
            self._states = {}
        elif not self._states:  # the controller does not answer: whatever was known holds
            self._states = {f"{self.number}_[]": None}


def state(record: str) -> tuple[str, str | None]:
    """A line of `scontrol -o show job`: its job's name, "12_3", "12_[4-7]" or "12", and how it
    ended; None while it waits or works.
    """
    fields = dict(piece.split("=", 1) for piece in record.split() if "=" in piece)
    task = fields.get("ArrayTaskId")
    name = (
        fields.get("JobId", "?")
        if task is None
        else f"{fields.get('ArrayJobId', '?')}_{task if task.isdigit() else f'[{task}]'}"
    )
    if (word := fields.get("JobState", "UNKNOWN")) in _ALIVE:
        return name, None
    return (
        name,
        (
            f"{word}, exit code {fields.get('ExitCode', '?')} on {fields.get('NodeList', '?')},"
            f" reason {fields.get('Reason', '?')}"
        ),
    )


class Job:
    """One job of Slurm's, or one task of an array."""

    def __init__(self, number: str, submission: Submission) -> None:
        self._number, self._submission = number, submission
        self.name = f"slurm job {number}"

    def ended(self) -> str | None:
        return self._submission.ended(self._number)

    def stop(self) -> None:
        subprocess.run(["scancel", self._number], capture_output=True, check=False)


class Slurm:
    """The cluster of this machine's Slurm client."""

    pause = 1.0

    def __init__(self, options: cluster_options.Slurm, folder: Path) -> None:
        self.executor = submitit.SlurmExecutor(
            folder=make_folder(folder / "workers").resolve(),
            max_num_timeout=1000,
            python=shlex.join(python_command()),
        )
        own: dict[str, Any] = {
            "job_name": f"mlplab-{folder.name}"[:60],
            "time": options.minutes,
            "cpus_per_task": options.cpus,
            "ntasks_per_node": 1,
            "nodes": 1,
            "signal_delay_s": 90,
            "use_srun": True,
            "stderr_to_stdout": True,
            # Slurm may be told to pass no environment on
            "setup": [f"export {name}={value}" for name, value in SAFE_PATH.items()],
            **{
                key: getattr(options, key)
                for key in ("partition", "account", "qos")
                if getattr(options, key)
            },
        }
        if options.gpus:
            own["gpus_per_node"] = options.gpus
        if options.memory_gb:
            own["mem"] = f"{options.memory_gb}GB"
        self.executor.update_parameters(
            **own,
            additional_parameters={"requeue": True, "chdir": str(Path.cwd()), **options.extra},
        )

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Job]:
        """One array, all of whose tasks may run at once; several where the cluster's arrays are
        shorter. One command is a job by itself.
        """
        return [
            job
            for group in self._arrays(commands)
            for job in self._submit([Shard(command, threads) for command in group])
        ]

    def _arrays(self, commands: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
        largest = largest_array() if len(commands) > 1 else 1
        for start in range(0, len(commands), largest):
            yield commands[start : start + largest]

    def _submit(self, shards: Sequence[Shard]) -> list[Job]:
        self.executor.update_parameters(array_parallelism=len(shards))
        with self.executor.batch():
            jobs = [self.executor.submit(shard) for shard in shards]
        submission = Submission(str(jobs[0].job_id).partition("_")[0], self.pause / 2)
        return [Job(str(job.job_id), submission) for job in jobs]

    def close(self) -> None:
        """Nothing is held."""


def largest_array() -> int:
    """How many tasks an array of this cluster may have: its indices stay below MaxArraySize."""
    done = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=False
    )
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(found[1]) if found else _LARGEST_ARRAY)

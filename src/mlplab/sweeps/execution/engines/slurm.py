"""Workers as the tasks of a Slurm job array, submitted with submitit. The sweep's folder must be on
a file system that all nodes share.
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
_DEFAULT_MAX_ARRAY_SIZE = 1001
"""Slurm's default MaxArraySize, used if the controller does not report it."""


class WorkerTask(submitit.helpers.Checkpointable):
    """The callable of a Slurm job: runs a worker as a subprocess, so that a signal reaches it
    between two steps and not in the middle of one.
    """

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self.command, self.threads = list(command), threads
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self.process = subprocess.Popen(
            self.command, env=safe_environment({"OMP_NUM_THREADS": str(self.threads)})
        )
        # not `wait`, which holds a lock that `checkpoint`, called by a signal, would wait for
        while (code := self.process.poll()) is None:
            time.sleep(0.2)
        if code:  # so that Slurm reports the job as failed
            raise RuntimeError(f"the worker ended with exit code {code}")
        return code

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called on preemption or at the time limit: the worker saves its population and exits, and
        the job is queued again with the same command.
        """
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.process.pid, signal.SIGUSR2)
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(WorkerTask(self.command, self.threads))


class Submission:
    """One `sbatch` of a job or an array, and its state as the controller reports it, queried once
    for all tasks and at most every `pause` seconds.
    """

    def __init__(self, number: str, pause: float) -> None:
        self.number, self.pause = number, pause
        self._queried_at = float("-inf")
        self._states: dict[str, str | None] = {}

    def ended(self, task: str) -> str | None:
        """How the task ("12_3", or "12" without an array) ended; None while it waits or runs."""
        if time.monotonic() - self._queried_at >= self.pause:
            self._query()
            self._queried_at = time.monotonic()
        # waiting tasks share one record
        waiting = any(state is None for name, state in self._states.items() if "[" in name)
        return self._states.get(task, None if waiting else "gone from the queue")

    def _query(self) -> None:
        """Ask the controller, which needs no accounting database but remembers ended jobs only for
        some minutes.
        """
        result = subprocess.run(
            ["scontrol", "-o", "show", "job", self.number],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            self._states = dict(map(parse_record, filter(str.strip, result.stdout.splitlines())))
        elif "Invalid job id" in result.stderr:
            self._states = {}
        elif not self._states:  # the controller does not answer: keep the known states
            self._states = {f"{self.number}_[]": None}


def parse_record(record: str) -> tuple[str, str | None]:
    """Parse a line of `scontrol -o show job`: the job's name ("12_3", "12_[4-7]" or "12"), and how
    it ended, or None while it waits or runs.
    """
    fields = dict(entry.split("=", 1) for entry in record.split() if "=" in entry)
    task = fields.get("ArrayTaskId")
    name = (
        fields.get("JobId", "?")
        if task is None
        else f"{fields.get('ArrayJobId', '?')}_{task if task.isdigit() else f'[{task}]'}"
    )
    if (state := fields.get("JobState", "UNKNOWN")) in _ALIVE:
        return name, None
    return (
        name,
        (
            f"{state}, exit code {fields.get('ExitCode', '?')} on {fields.get('NodeList', '?')},"
            f" reason {fields.get('Reason', '?')}"
        ),
    )


class Job:
    """A Slurm job, or one task of a job array."""

    def __init__(self, number: str, submission: Submission) -> None:
        self._number, self._submission = number, submission
        self.name = f"slurm job {number}"

    def ended(self) -> str | None:
        return self._submission.ended(self._number)

    def stop(self) -> None:
        subprocess.run(["scancel", self._number], capture_output=True, check=False)


class Slurm:
    """Starts workers in the cluster of this machine's Slurm client."""

    pause = 1.0

    def __init__(self, options: cluster_options.Slurm, folder: Path) -> None:
        workers = make_folder(folder / "workers")
        # submitit's pickles lie here until the jobs start, and whoever writes here runs code as us
        workers.chmod(0o700)
        self.executor = submitit.SlurmExecutor(
            folder=workers.resolve(),
            max_num_timeout=1000,
            python=shlex.join(python_command()),
        )
        optional = {
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "gpus_per_node": options.gpus,
            "mem": f"{options.memory_gb}GB" if options.memory_gb else None,
        }
        self.executor.update_parameters(
            job_name=f"mlplab-{folder.name}"[:60],
            time=options.minutes,
            cpus_per_task=options.cpus,
            ntasks_per_node=1,
            nodes=1,
            signal_delay_s=90,
            use_srun=True,
            stderr_to_stdout=True,
            # Slurm may be configured not to pass the environment on
            setup=[f"export {name}={value}" for name, value in SAFE_PATH.items()],
            additional_parameters={"requeue": True, "chdir": str(Path.cwd()), **options.extra},
            **{key: value for key, value in optional.items() if value},
        )

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Job]:
        """Submit one array whose tasks may all run at once, or several if the cluster limits the
        size of arrays. A single command becomes a job without array.
        """
        return [
            job
            for group in self._arrays(commands)
            for job in self._submit([WorkerTask(command, threads) for command in group])
        ]

    def _arrays(self, commands: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
        max_size = max_array_size() if len(commands) > 1 else 1
        for start in range(0, len(commands), max_size):
            yield commands[start : start + max_size]

    def _submit(self, tasks: Sequence[WorkerTask]) -> list[Job]:
        self.executor.update_parameters(array_parallelism=len(tasks))
        with self.executor.batch():
            jobs = [self.executor.submit(task) for task in tasks]
        submission = Submission(str(jobs[0].job_id).partition("_")[0], self.pause / 2)
        return [Job(str(job.job_id), submission) for job in jobs]

    def close(self) -> None:
        """There is nothing to release."""


def max_array_size() -> int:
    """Maximum number of tasks of an array on this cluster: indices must be below MaxArraySize."""
    result = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=False
    )
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", result.stdout, re.MULTILINE)
    return max(1, int(match[1]) if match else _DEFAULT_MAX_ARRAY_SIZE)
